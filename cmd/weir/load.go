package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
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

//go:embed load.js
var loadScript []byte

const (
	// progressPoll is how often the generator's progress is looked at.
	progressPoll = 250 * time.Millisecond
	// generatorPatience is how long the generator has to write its result after it was
	// told to end; its builds are cancelled at once.
	generatorPatience = time.Minute
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

// onOwnCluster runs it on a cluster that is started for it.
func (l *load) onOwnCluster(ctx context.Context) error {
	c := l.scenario.Cluster
	if c == nil {
		return usageError{fmt.Errorf("scenario %s describes no cluster: say by --target whom to load", l.scenario.Name)}
	}
	dir, err := os.MkdirTemp("", "weir-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // actions may belong to another user
		return err
	}
	options, err := ownCluster(l.scenario, dir)
	if err != nil {
		return err
	}
	groups := options.cluster.Groups
	if len(l.scenario.Faults) > 0 {
		options.cluster.Groups = []stack.WorkerGroup{}
	}
	// The cluster outlives the generator, which is told first when we are interrupted.
	lasting := context.WithoutCancel(ctx)
	cl, err := newCluster(lasting, options)
	if err != nil {
		return err
	}
	l.folder = cl.folder
	return cl.run(lasting, func(context.Context) error {
		if len(l.scenario.Faults) > 0 {
			l.crew = &crew{dir: dir, bots: cl.up.Bots, cas: cl.up.Casd, runner: options.cluster.Runner}
			return l.withCrew(ctx, cl, groups)
		}
		return l.run(ctx, "grpc://"+cl.up.Client)
	})
}

// withCrew runs it with workers of which some are to be killed.
func (l *load) withCrew(ctx context.Context, cl *cluster, groups []stack.WorkerGroup) error {
	collector, err := newCollector(l.folder.writer)
	if err != nil {
		return err
	}
	defer collector.stop()
	l.crew.collector = collector.address
	defer l.crew.stop()
	want := 0
	for _, g := range groups {
		if err := l.crew.start(g); err != nil {
			return err
		}
		want += g.Count * g.Slots
	}
	if err := cl.waitSlots(ctx, want); err != nil {
		return err
	}
	return l.run(ctx, "grpc://"+cl.up.Client)
}

// ownCluster is the cluster that a scenario describes, with its files in a folder.
func ownCluster(s *scenario.Scenario, dir string) (clusterOptions, error) {
	options := clusterOptions{
		cluster: stack.Cluster{Dir: dir, Memory: true, Client: "127.0.0.1:0", Bots: "127.0.0.1:0", Casd: "127.0.0.1:0"},
		health:  "127.0.0.1:0", metrics: "127.0.0.1:0", below: ".", command: os.Args, sampling: telemetry.Sampling{Ratio: 1},
	}
	return options, asDescribed(&options.cluster, s)
}

// asDescribed has a cluster be what a scenario describes: its workers, their runner, and the
// scheduler's policy and patience.
func asDescribed(cluster *stack.Cluster, s *scenario.Scenario) error {
	c := s.Cluster
	cluster.Runner, cluster.Groups = runnerOf(c.Runner), groupsOf(c)
	cluster.Execution.SessionTimeout = c.SessionTimeout
	cluster.Execution.NoWorkerTimeout = stack.Patience(c.NoWorkerTimeout)
	if c.Policy != "" {
		if err := cluster.Execution.Policy.UnmarshalText([]byte(c.Policy)); err != nil {
			return fmt.Errorf("scenario %s: cluster.policy: %w", s.Name, err)
		}
	}
	return nil
}

func runnerOf(name string) string {
	if name == "sleep" {
		return stack.InternalSleep
	}
	return "buildbox-run-" + name
}

func groupsOf(c *scenario.Cluster) []stack.WorkerGroup {
	var groups []stack.WorkerGroup
	for _, w := range c.Workers {
		g := stack.WorkerGroup{Count: w.Count, Slots: w.Slots, Platform: []string{"OSFamily=linux"}}
		for key, value := range w.Platform {
			g.Platform = append(g.Platform, key+"="+value)
		}
		slices.Sort(g.Platform)
		g.Platform = slices.Compact(g.Platform)
		groups = append(groups, g)
	}
	return groups
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

// generate runs weir-k6 until it ends, and shows how far it is.
func (l *load) generate(ctx context.Context, target, collector string) error {
	files := map[string][]byte{scenarioFile: l.text, scriptFile: loadScript}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(l.folder.Path, name), data, 0o644); err != nil {
			return err
		}
	}
	options, err := l.options(target)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(l.folder.Path, k6LogFile))
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, l.k6, "run", "--quiet", "--no-usage-report", "--no-thresholds", "--summary-mode=disabled", "--no-color",
		"--log-format=raw", "--address=", "--out", "reapi-report="+resultsFile, "--traces-output", "otel=http://"+collector+",proto=grpc",
		"--env", "WEIR_OPTIONS="+options, scriptFile)
	command.Dir = l.folder.Path
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_NO_USAGE_REPORT=true")
	// A terminal's interrupt reaches its whole group: the generator is told once, by us.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = generatorPatience
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	playing, stop := context.WithCancel(ctx)
	var faults errgroup.Group
	err = l.watch(ended, func(begin time.Time) {
		if l.crew != nil {
			faults.Go(func() error { return l.crew.play(playing, begin, l.scenario.Faults, groupsOf(l.scenario.Cluster)[0]) })
		}
	})
	stop()
	err = errors.Join(err, faults.Wait())
	os.Remove(filepath.Join(l.folder.Path, progressFile))
	if err != nil && ctx.Err() == nil {
		return errors.New(cmp.Or(reason(lastLine(log.Name())), "the generator failed: "+err.Error()))
	}
	return nil
}

// options are what the script passes on to the generator.
func (l *load) options(target string) (string, error) {
	r := &l.flags.remote
	o := map[string]any{
		"target": target, "run": l.folder.manifest.ID, "name": l.scenario.Name, "progress": progressFile, "metrics": "none",
		"sharesMachine": l.flags.remote.URL == "", // then the cluster is ours
		"environment":   map[string]string{"weir": version()},
	}
	if l.flags.seeded {
		o["seed"] = l.flags.seed
	}
	if l.flags.duration > 0 {
		o["duration"] = l.flags.duration.String()
	}
	for key, path := range map[string]string{"tokenFile": r.AccessToken, "serverCert": r.ServerCert, "clientCert": r.ClientCert, "clientKey": r.ClientKey} {
		if path == "" {
			continue
		}
		// The generator runs in the run folder.
		absolute, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		o[key] = absolute
	}
	if l.flags.function != "" {
		o["digestFunction"] = l.flags.function
	}
	if notes := notesOn(l.scenario); l.flags.remote.URL != "" && notes != nil {
		o["notes"] = notes
	}
	if r.Instance != "" {
		o["instanceName"] = r.Instance
	}
	text, err := json.Marshal(o)
	return string(text), err
}

// watch shows the generator's progress until it has ended, and tells once when the measured
// part began.
func (l *load) watch(ended <-chan error, began func(time.Time)) error {
	ticker := time.NewTicker(progressPoll)
	defer ticker.Stop()
	live := terminal(l.progress)
	shown := time.Time{}
	for {
		select {
		case err := <-ended:
			if live {
				fmt.Fprint(l.progress, "\r\033[K")
			}
			return err
		case <-ticker.C:
		}
		data, err := os.ReadFile(filepath.Join(l.folder.Path, progressFile))
		var p drive.Progress
		if err != nil || json.Unmarshal(data, &p) != nil {
			continue
		}
		if !p.Begin.IsZero() && began != nil {
			began(p.Begin)
			began = nil
		}
		switch {
		case live:
			overwrite(l.progress, progressLine(p, l.scenario.Duration))
		case time.Since(shown) >= quietProgress:
			fmt.Fprintln(l.progress, progressLine(p, l.scenario.Duration))
			shown = time.Now()
		}
	}
}

// quietProgress is how often a line is printed where nobody watches.
const quietProgress = 10 * time.Second

const barWidth = 20

func progressLine(p drive.Progress, duration time.Duration) string {
	if p.Phase == "preparing" {
		return fmt.Sprintf("preparing: %d blobs stored", p.Prepared)
	}
	filled := barWidth
	if duration > 0 {
		filled = min(barWidth, int(float64(barWidth)*float64(p.Elapsed)/float64(duration)))
	}
	bar := strings.Repeat("█", filled) + strings.Repeat("░", barWidth-filled)
	line := fmt.Sprintf("%s %s %s", p.Phase, bar, p.Elapsed.Round(time.Second))
	if p.Failed > 0 || p.Dropped > 0 { // first, since a narrow terminal cuts the end
		line += fmt.Sprintf("  %d failed, %d dropped", p.Failed, p.Dropped)
	}
	if p.Actions > 0 || p.Builds > 0 {
		line += fmt.Sprintf("  %s, %s (%d cached)", plural(p.Builds, "build"), plural(p.Actions, "action"), p.Cached)
	}
	if p.P99 > 0 { // else nothing has ended lately
		line += fmt.Sprintf("  p50 %v p99 %v", result.Round(p.P50), result.Round(p.P99))
	}
	return line + fmt.Sprintf("  %d in flight  %s", p.InFlight, plural(p.Calls, "call"))
}

// lastLine is what a program said last.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, line := range slices.Backward(lines) {
		// k6 shows where in the script it was, after what it was.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "at ") {
			return line
		}
	}
	return ""
}

// reason is what our module said, without what k6 says around it.
func reason(line string) string {
	line, _, _ = strings.Cut(line, " at default (file://")
	if _, after, ok := strings.Cut(line, "runScenario: "); ok {
		return after
	}
	return line
}

// findK6 finds weir-k6 beside this program, or in PATH.
func findK6() (string, error) {
	const name = "weir-k6"
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("%s is neither beside weir nor in PATH: build it by make build, or go build -o bin/ github.com/weir-build/weir/cmd/weir-k6", name)
}
