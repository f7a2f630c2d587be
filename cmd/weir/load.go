package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/telemetry"
)

// Exit codes of what has a verdict.
const (
	exitMissed  = 3 // an objective isn't met
	exitInvalid = 4 // the numbers say more about the generator than the target
)

// verdictError is a run that was made, and didn't pass.
type verdictError struct {
	code int
	text string
}

func (e verdictError) Error() string { return e.text }

// Files of a run folder that a load leaves.
const (
	resultsFile  = "results.json"
	scenarioFile = "scenario.yaml"
	scriptFile   = "load.js"
	progressFile = "progress.json"
	k6LogFile    = "k6.log"
)

type loadFlags struct {
	remote   remote.Config
	seed     uint64
	seeded   bool
	duration time.Duration
	format   string
	list     bool
	function string // of digests; empty is the scenario's
}

func loadCommand() *cobra.Command {
	var f loadFlags
	c := &cobra.Command{
		Use:   "load SCENARIO",
		Short: "Send the load of a scenario to a cluster, and judge what comes of it",
		Long: `Load runs a scenario for real: builds and calls begin at their intended times, and
response times count from there. SCENARIO is a file, or the name of one that comes with
weir: ` + strings.Join(scenario.Shipped(), ", ") + `.

The load goes to --target, any server of the Remote Execution API. Without it a cluster
is started here as the scenario describes it, for as long as the run takes.

The generator is weir-k6, a process of its own, found beside weir or in PATH. The run
leaves a folder in ./runs: results.json, spans.otlp, the scenario, and the k6 script.

Exit codes: 0 all objectives are met, 1 the run could not be made, 2 wrong usage,
3 an objective is missed, 4 the run is invalid: the generator was too slow to judge.`,
		Example: `  weir load smoke
  weir load cold-build --target grpc://10.0.0.5:8980 --seed 7
  weir load my.yaml --target grpcs://cluster.example.com --token token.txt
  weir load cas-mix --target grpc://10.0.0.5:8980 --digest-function BLAKE3`,
		Args: func(c *cobra.Command, arguments []string) error {
			if f.list {
				return args(cobra.NoArgs)(c, arguments)
			}
			return args(cobra.ExactArgs(1))(c, arguments)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if f.list {
				return listScenarios(c.OutOrStdout())
			}
			f.seeded = c.Flags().Changed("seed")
			if f.format != "text" && f.format != "json" {
				return usageError{fmt.Errorf("--format %q: want text or json", f.format)}
			}
			if _, err := digest.ParseFunc(f.function); f.function != "" && f.function != scenario.Auto && err != nil {
				return usageError{fmt.Errorf("--digest-function: %w, and %s: what the target takes", err, scenario.Auto)}
			}
			return runLoad(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), args[0], &f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.remote.URL, "target", "", "server to load (default a cluster of the scenario's, started here)")
	flags.StringVar(&f.remote.Instance, "instance", "", "REAPI instance name")
	flags.StringVar(&f.remote.AccessToken, "token", "", "file of a bearer token")
	flags.StringVar(&f.remote.ServerCert, "server-cert", "", "PEM file of the authority to trust (default the system's)")
	flags.StringVar(&f.remote.ClientCert, "client-cert", "", "PEM file of this client's certificate")
	flags.StringVar(&f.remote.ClientKey, "client-key", "", "PEM file of its key")
	flags.Uint64Var(&f.seed, "seed", 0, "seed, instead of the scenario's")
	durationFlag(c, &f.duration, "builds and calls")
	flags.StringVar(&f.function, "digest-function", "", "what blobs are named by, instead of the scenario's: auto, or one of "+digest.Join(digest.Funcs()))
	flags.StringVar(&f.format, "format", "text", "text, or json: results.json on standard output")
	flags.BoolVar(&f.list, "list", false, "list the scenarios that come with weir")
	return c
}

func listScenarios(out io.Writer) error {
	for _, name := range scenario.Shipped() {
		text, err := scenario.ReadShipped(name)
		if err != nil {
			return err
		}
		s, err := scenario.Parse(name, text)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-22s %s\n", name, s.Description)
	}
	return nil
}

// readScenario reads a scenario file, or one that comes with weir.
func readScenario(from string) (*scenario.Scenario, []byte, error) {
	text, err := os.ReadFile(from)
	name := strings.TrimSuffix(filepath.Base(from), filepath.Ext(from))
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(from, "/.") {
		name = from
		if text, err = scenario.ReadShipped(from); err != nil {
			return nil, nil, fmt.Errorf("scenario %s: there is no such file, and none of that name comes with weir; there are %s", from, strings.Join(scenario.Shipped(), ", "))
		}
	}
	if err != nil {
		return nil, nil, err
	}
	s, err := scenario.Parse(name, text)
	if err != nil {
		return nil, nil, fmt.Errorf("scenario %s:\n%w", from, err)
	}
	if c := s.Cluster; c != nil && c.Policy != "" {
		if _, err := queue.ParsePolicy(c.Policy); err != nil {
			return nil, nil, fmt.Errorf("scenario %s:\nline %d: cluster.policy: %w", from, c.PolicyLine, err)
		}
	}
	return s, text, nil
}

func runLoad(ctx context.Context, out, progress io.Writer, from string, f *loadFlags) error {
	s, text, err := readScenario(from)
	if err != nil {
		return err
	}
	if f.duration > 0 {
		s.Duration = f.duration
	}
	k6, err := findK6()
	if err != nil {
		return err
	}
	l := &load{scenario: s, text: text, flags: f, k6: k6, out: out, progress: progress}
	if f.remote.URL != "" {
		if err := f.remote.Validate(); err != nil {
			return usageError{fmt.Errorf("--target: %w", err)}
		}
		if l.folder, err = newRunFolder(".", os.Args, nil, 0, telemetry.Sampling{Ratio: 1}); err != nil {
			return err
		}
		return errors.Join(l.run(ctx, f.remote.URL), l.folder.close(nil))
	}
	return l.onOwnCluster(ctx)
}

// A load is one run of a scenario.
type load struct {
	scenario      *scenario.Scenario
	text          []byte
	flags         *loadFlags
	k6            string
	out, progress io.Writer
	folder        *runFolder
	crew          *crew // if workers are to be killed
}

// run runs the generator, and says what came of it.
func (l *load) run(ctx context.Context, target string) error {
	fmt.Fprintf(l.progress, "weir: %s on %s for %v, record %s\n", l.scenario.Name, target, l.scenario.Duration, l.folder.Path)
	collector, err := newCollector(l.folder.writer)
	if err != nil {
		return err
	}
	err = l.generate(ctx, target, collector.address)
	collector.stop()
	r, readErr := readResult(filepath.Join(l.folder.Path, resultsFile))
	if readErr != nil {
		// Why there is none, the generator has said.
		return cmp.Or(err, readErr)
	}
	if err != nil && !r.Run.Interrupted {
		return err
	}
	return l.tell(r)
}

func readResult(path string) (*result.Result, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := result.Read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
