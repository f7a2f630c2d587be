package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// Ports, as users of such clusters know them.
const (
	clientAddress  = "127.0.0.1:8980"
	workerAddress  = "127.0.0.1:8981"
	casdAddress    = "127.0.0.1:50011"
	healthAddress  = "127.0.0.1:8000"
	metricsAddress = "127.0.0.1:8010"
)

const (
	// statusInterval is how often the status line is renewed on a terminal.
	statusInterval = time.Second
	// quietInterval is how often a line is printed elsewhere, if it has changed.
	quietInterval = time.Minute
)

type upFlags struct {
	options        clusterOptions
	storage, cache string
	logFormat      string
	verbose        bool
	dir            string
	scenario       string
	runnerPool     int
	inMemory       bool
	sample         float64
	slow           time.Duration
}

func upCommand() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Start a whole cluster on this machine",
		Long: `Up starts a whole cluster in this process, and a process for each action: proxy,
storage, scheduler, workers, and the casd that stages their inputs. It listens on
loopback only, prints one line of status, and ends when interrupted: it takes no
more work, waits for what runs, and leaves the record of the run in ./runs.

Traces go to the run folder, and by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT
points, such as a Jaeger on this machine. With --trace-sample less than 1, only that
share of builds leaves spans, and those with an action that failed, was retried or
was slow. OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say the same.`,
		Example: `  weir up --workers 2 --slots 4
  bazel build //... --remote_executor=grpc://127.0.0.1:8980 --spawn_strategy=remote

  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 weir up --trace-sample 0.01

  weir up --scenario cold-build
  weir load cold-build --target grpc://127.0.0.1:8980`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runUp(c, &f) },
	}
	flags := c.Flags()
	cluster := &f.options.cluster
	flags.StringVar(&f.scenario, "scenario", "", "a scenario's cluster: its workers, runner, policy, session_timeout and no_worker_timeout")
	flags.IntVar(&cluster.Workers, "workers", 1, "number of workers")
	flags.IntVar(&cluster.Slots, "slots", runtime.NumCPU(), "actions that each worker runs at a time")
	flags.StringSliceVar(&cluster.Platform, "platform", []string{"OSFamily=linux"}, "what workers offer, key=value, repeatable")
	flags.StringVar(&cluster.Instance, "instance", "", "REAPI instance name to serve")
	flags.StringVar(&cluster.Runner, "runner", "", "program that runs actions (default "+stack.DefaultRunner+", beside weir or in PATH), or "+stack.InternalSleep)
	flags.IntVar(&f.runnerPool, "runner-pool", 0, "how many processes of a runner of ours each worker may keep for the next action; 0: each action has its own (default as many as --slots)")
	flags.StringVar(&f.dir, "dir", "", "folder for blobs, results and caches (default weir in the user's cache folder)")
	flags.BoolVar(&f.inMemory, "memory", false, "keep blobs and results in memory")
	flags.BoolVar(&cluster.NoFUSE, "no-fuse", false, "stage inputs as real files even where FUSE works")
	flags.StringVar(&f.storage, "storage-quota", "20G", "how much storage may hold")
	flags.StringVar(&f.cache, "cache-quota", "10G", "how much the workers' cache may hold")
	flags.StringVar(&cluster.Client, "listen", clientAddress, "address for clients")
	flags.StringVar(&cluster.Bots, "listen-workers", workerAddress, "address for workers")
	flags.StringVar(&cluster.Casd, "listen-casd", casdAddress, "address of casd, for runners")
	flags.StringVar(&f.options.health, "listen-health", healthAddress, "address of /healthz")
	flags.StringVar(&f.options.metrics, "listen-metrics", metricsAddress, "address of /metrics")
	flags.StringVar(&cluster.JWKSet, "jwks", "", "file of keys (JWK Set): clients must show a JWT signed by one of them")
	flags.StringVar(&cluster.Tokens, "worker-tokens", "", "file of worker tokens (JSON): workers must show one of them")
	flags.StringVar(&cluster.Token, "worker-token", "", "file of the token that this cluster's own workers show")
	flags.TextVar(&cluster.Execution.Policy, "policy", queue.Policy{}, "which task a worker gets next: "+strings.Join(queue.Presets(), ", ")+", or a tree of rules")
	flags.StringVar(&cluster.Execution.Journal.Dir, "journal", "", "folder of a journal, by which the next weir up goes on with what is queued")
	flags.DurationVar(&cluster.Execution.DefaultTimeout, "default-timeout", 0, "how long an action may run that names no timeout (default 1h)")
	flags.Float64Var(&f.sample, "trace-sample", 1, "share of builds that leave spans, from 0 to 1")
	flags.DurationVar(&f.slow, "trace-slow", telemetry.DefaultSlow, "how long an action takes that makes its build leave spans anyway")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show the log, which also is in the run folder")
	return c
}

func runUp(c *cobra.Command, f *upFlags) error {
	if err := f.complete(c.Flags().Changed("trace-sample")); err != nil {
		return usageError{err}
	}
	if c.Flags().Changed("runner-pool") {
		f.options.cluster.RunnerPool = &f.runnerPool
	}
	if f.scenario != "" {
		if err := f.fromScenario(c.Flags().Changed); err != nil {
			return err
		}
	}
	if f.verbose {
		f.options.logTo = c.ErrOrStderr()
	}
	cl, err := newCluster(c.Context(), f.options)
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	err = cl.run(c.Context(), func(ctx context.Context) error {
		fmt.Fprintf(out, "weir: cluster is up: %s\n", fleet(&f.options.cluster))
		fmt.Fprintf(out, "  clients   grpc://%s\n  workers   grpc://%s\n", cl.up.Client, cl.up.Bots)
		metrics := cl.folder.manifest.Addresses["metrics"]
		fmt.Fprintf(out, "  metrics   http://%s/metrics\n  queue     http://%s/queue\n  record    %s\n", metrics, metrics, cl.folder.Path)
		fmt.Fprintf(out, "Press Ctrl-C to drain and stop.\n")
		return showStatus(ctx, out, cl)
	})
	if err == nil {
		fmt.Fprintf(out, "weir: drained. See what happened: weir trace tree %s\n", cl.folder.Path)
		if n := cl.folder.manifest.Spans.Dropped; n > 0 {
			fmt.Fprintf(out, "weir: %d spans were lost, so that traces have holes: see %s\n", n, filepath.Join(cl.folder.Path, logFile))
		}
	}
	return err
}

// fromScenario has the cluster be a scenario's. What a flag says of the same it can't be told
// twice.
func (f *upFlags) fromScenario(given func(flag string) bool) error {
	for _, name := range []string{"workers", "slots", "platform", "runner", "policy"} {
		if given(name) {
			return usageError{fmt.Errorf("--scenario says what --%s does: give one of them", name)}
		}
	}
	s, _, err := readScenario(f.scenario)
	if err != nil {
		return err
	}
	if s.Cluster == nil {
		return usageError{fmt.Errorf("scenario %s describes no cluster; write one into it, such as cluster: {workers: [{count: 4, slots: 4}]}", s.Name)}
	}
	return asDescribed(&f.options.cluster, s)
}

// fleet says how many workers there are, and how large.
func fleet(c *stack.Cluster) string {
	if c.Groups == nil {
		return workersText(c.Workers, c.Slots)
	}
	var parts []string
	for _, g := range c.Groups {
		parts = append(parts, workersText(g.Count, g.Slots)+" ("+strings.Join(g.Platform, ", ")+")")
	}
	return strings.Join(parts, ", ")
}

func workersText(workers, slots int) string {
	text := plural(int64(workers), "worker") + " with " + plural(int64(slots), "slot")
	if workers > 1 {
		text += " each"
	}
	return text
}

// complete checks the flags and fills in what they leave open. Sampled says that
// --trace-sample was given, which wins over the environment.
func (f *upFlags) complete(sampled bool) error {
	cluster := &f.options.cluster
	if err := cluster.StorageQuota.UnmarshalText([]byte(f.storage)); err != nil {
		return fmt.Errorf("--storage-quota: %w", err)
	}
	if err := cluster.CacheQuota.UnmarshalText([]byte(f.cache)); err != nil {
		return fmt.Errorf("--cache-quota: %w", err)
	}
	if cluster.Workers < 0 || cluster.Slots < 1 {
		return fmt.Errorf("--workers %d --slots %d: want at least no worker, with one slot", cluster.Workers, cluster.Slots)
	}
	if cluster.Tokens != "" && cluster.Token == "" {
		return fmt.Errorf("--worker-tokens without --worker-token: this cluster's own workers would be refused")
	}
	sampling, err := samplingOfEnvironment()
	if err != nil {
		return err
	}
	if sampled {
		sampling.Ratio = f.sample
	}
	sampling.Slow = f.slow
	if err := sampling.Validate(); err != nil {
		return fmt.Errorf("--trace-sample, --trace-slow: %w", err)
	}
	f.options.sampling = sampling
	format, err := telemetry.ParseLogFormat(f.logFormat)
	if err != nil {
		return fmt.Errorf("--log-format: %w", err)
	}
	if f.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("%w: name a folder by --dir", err)
		}
		f.dir = filepath.Join(cache, "weir")
	}
	cluster.Dir, cluster.Memory = f.dir, f.inMemory
	f.options.logFormat, f.options.logLevel = format, slog.LevelInfo
	f.options.below, f.options.command = ".", os.Args
	return os.MkdirAll(f.dir, 0o700)
}

// showStatus keeps one line up to date until ctx is done. Where nobody watches
// it prints a line now and then instead.
func showStatus(ctx context.Context, out io.Writer, c *cluster) error {
	live := terminal(out)
	interval := quietInterval
	if live {
		interval = statusInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	start, last := time.Now(), clusterStatus{}
	for {
		select {
		case <-ctx.Done():
			if live {
				overwrite(out, "")
			}
			fmt.Fprintln(out, "weir: draining")
			return nil
		case <-ticker.C:
		}
		s, err := readStatus(c.gatherer())
		if err != nil {
			return err
		}
		switch {
		case live:
			overwrite(out, s.line(time.Since(start)))
		case fmt.Sprint(s) != fmt.Sprint(last):
			fmt.Fprintln(out, s.line(time.Since(start)))
			last = s
		}
	}
}
