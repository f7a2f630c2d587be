package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/system/proxy"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// admin is where a role that serves alone shows its health and metrics.
type adminConfig struct {
	Bind    string `yaml:"bind_addr"`          // default 127.0.0.1:8000
	Metrics string `yaml:"metricsz_bind_addr"` // default 127.0.0.1:8010
	Log     string `yaml:"log_format"`         // text or json, default json
	// Tracing says which builds leave spans; all do by default. All roles of a
	// cluster should say the same.
	Tracing proxy.Tracing `yaml:"tracing"`
}

// The configuration files of the roles: a role's own keys, and where it listens
// and shows itself.
type (
	storageFile struct {
		Listen        string `yaml:"listen_address"`
		stack.Storage `yaml:",inline"`
		Infra         adminConfig `yaml:"infra"`
	}
	executionFile struct {
		Listen          string `yaml:"listen_address"`
		stack.Execution `yaml:",inline"`
		Infra           adminConfig `yaml:"infra"`
	}
	casdFile struct {
		Listen     string     `yaml:"listen_address"`
		SocketMode stack.Mode `yaml:"socket_mode"` // of unix:PATH, default 0600
		stack.Casd `yaml:",inline"`
		Infra      adminConfig `yaml:"infra"`
	}
	workerFile struct {
		stack.Worker `yaml:",inline"`
		Infra        adminConfig `yaml:"infra"`
	}
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run one role of a cluster",
		Long: `Serve runs one role of a cluster in this process, by a YAML file. A key that it
doesn't know is an error that names the key and the line.

Every role also knows "infra": {bind_addr, metricsz_bind_addr, log_format, tracing}.
infra.tracing.sampling_probability is the share of builds that leave spans (else
OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say, else all do) and should be the
same for all roles; builds with an action that failed, was retried or took as long
as infra.tracing.slow_action (1m) are kept anyway.`,
		Example: `  weir serve storage -c storage.yaml`,
	}
	c.AddCommand(
		serveRole("proxy", "the proxy-server: authentication and routing", `listen_addresses:
  - addr: 127.0.0.1:8980
    auth_scheme: dev_only_no_auth
    allowed_service_names:
      - build.bazel.remote.execution.v2.ContentAddressableStorage
      - build.bazel.remote.execution.v2.ActionCache
      - build.bazel.remote.execution.v2.Capabilities
      - build.bazel.remote.execution.v2.Execution
      - google.bytestream.ByteStream
      - google.longrunning.Operations
      - weir.admin.v1.Admin
  - addr: 127.0.0.1:8981
    auth_scheme: dev_only_no_auth
    allowed_service_names:
      - build.bazel.remote.execution.v2.ContentAddressableStorage
      - build.bazel.remote.execution.v2.Capabilities
      - google.bytestream.ByteStream
      - google.devtools.remoteworkers.v1test2.Bots
backends:
  storage: {address: "127.0.0.1:9000"}
  execution: {address: "127.0.0.1:9001"}
default_backends: {cas: storage, action_cache: storage, execution: execution}`, serveProxy),
		serveRole("storage", "the storage-server: blobs and action results", `listen_address: 127.0.0.1:9000
instances: [""]
cas: {path: /var/lib/weir/cas, quota: 100G}
action_cache: {path: /var/lib/weir/ac, quota: 1G}`, serveStorage),
		serveRole("execution", "the execution-server: operations, scheduling, workers' sessions", `listen_address: 127.0.0.1:9001
instances: [""]
storage: grpc://127.0.0.1:9000`, serveExecution),
		serveRole("casd", "the cache on a worker's machine, which stages inputs", `listen_address: 127.0.0.1:50011
dir: /var/cache/weir
quota: 30G
remote: {url: "grpc://127.0.0.1:8981"}`, serveCasd),
		serveRole("worker", "a worker: takes leases and runs actions", `bots: {url: "grpc://127.0.0.1:8981"}
cas: {url: "grpc://127.0.0.1:50011"}
platform: [OSFamily=linux]
slots: 4
work_dir: /var/tmp/weir`, serveWorker),
	)
	return c
}

// serveRole is the command of one role; serve makes it from a file's content.
func serveRole(name, short, example string, serve func(ctx context.Context, data []byte, folder string) error) *cobra.Command {
	var file, below string
	c := &cobra.Command{
		Use:     name,
		Short:   "Run " + short,
		Long:    "Runs " + short + ". A configuration file to begin with:\n\n" + example,
		Example: "  weir serve " + name + " -c " + name + ".yaml",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			data, err := os.ReadFile(file)
			if err != nil {
				return usageError{err}
			}
			if err := serve(c.Context(), data, below); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	c.Flags().StringVar(&below, "runs", ".", "folder in which the record of the run is made, below runs")
	if err := c.MarkFlagRequired("config"); err != nil {
		panic(err)
	}
	return c
}

func serveProxy(ctx context.Context, data []byte, below string) error {
	config, err := proxy.ParseConfig(data)
	if err != nil {
		return usageError{err}
	}
	infra := adminConfig{Bind: config.Infra.BindAddr, Metrics: config.Infra.MetricszBindAddr, Tracing: config.Infra.Tracing}
	return serveOne(ctx, "proxy-server", infra, below, func(t *telemetry.Telemetry) (*stack.Role, error) {
		return stack.NewProxy(config, t)
	})
}

func serveStorage(ctx context.Context, data []byte, below string) error {
	var f storageFile
	if err := stack.Decode(data, &f); err != nil {
		return usageError{err}
	}
	return serveListening(ctx, "storage-server", f.Listen, 0, f.Infra, below, func(t *telemetry.Telemetry, l net.Listener) (*stack.Role, error) {
		return stack.NewStorage(f.Storage, t, l)
	})
}

func serveExecution(ctx context.Context, data []byte, below string) error {
	var f executionFile
	if err := stack.Decode(data, &f); err != nil {
		return usageError{err}
	}
	return serveListening(ctx, "execution-server", f.Listen, 0, f.Infra, below, func(t *telemetry.Telemetry, l net.Listener) (*stack.Role, error) {
		return stack.NewExecution(f.Execution, t, l)
	})
}

func serveCasd(ctx context.Context, data []byte, below string) error {
	var f casdFile
	if err := stack.Decode(data, &f); err != nil {
		return usageError{err}
	}
	return serveListening(ctx, "casd", f.Listen, f.SocketMode, f.Infra, below, func(t *telemetry.Telemetry, l net.Listener) (*stack.Role, error) {
		return stack.NewCasd(f.Casd, t, l)
	})
}

func serveWorker(ctx context.Context, data []byte, below string) error {
	var f workerFile
	if err := stack.Decode(data, &f); err != nil {
		return usageError{err}
	}
	if f.Path == "" {
		f.Path = os.Getenv("PATH")
	}
	return serveOne(ctx, "worker", f.Infra, below, func(t *telemetry.Telemetry) (*stack.Role, error) {
		return stack.NewWorker(f.Worker, t)
	})
}

func serveListening(ctx context.Context, role, address string, mode stack.Mode, infra adminConfig, below string, build func(*telemetry.Telemetry, net.Listener) (*stack.Role, error)) error {
	if address == "" {
		return usageError{errors.New("listen_address is not set: want HOST:PORT or unix:PATH")}
	}
	listener, err := stack.Listen(address, mode)
	if err != nil {
		return err
	}
	err = serveOne(ctx, role, infra, below, func(t *telemetry.Telemetry) (*stack.Role, error) { return build(t, listener) })
	listener.Close() // a server that ran has closed it already
	return err
}

// serveOne runs one role with its admin server and its run folder.
func serveOne(ctx context.Context, name string, infra adminConfig, below string, build func(*telemetry.Telemetry) (*stack.Role, error)) (err error) {
	format := telemetry.JSONLog
	if infra.Log != "" {
		if format, err = telemetry.ParseLogFormat(infra.Log); err != nil {
			return usageError{err}
		}
	}
	sampling, err := samplingOf(infra.Tracing)
	if err != nil {
		return usageError{err}
	}
	folder, err := newRunFolder(below, os.Args, os.Stderr, 0, sampling)
	if err != nil {
		return err
	}
	t, err := folder.record(ctx, format, name)
	if err != nil {
		return errors.Join(err, folder.close(nil))
	}
	role, err := build(t)
	if err != nil {
		return errors.Join(err, folder.close(nil))
	}
	var serving atomic.Bool
	admin := telemetry.NewAdmin(func() error {
		if serving.Load() {
			return nil
		}
		return errNotReady
	}, t)
	admin.AddPages(role.Pages)
	listeners, err := infra.listen()
	if err != nil {
		return errors.Join(err, folder.close(nil))
	}
	t.Logger.Info("serving", "address", role.Addr, "health", listeners[0].Addr().String(), "metrics", listeners[1].Addr().String(), "record", folder.Path)
	adminCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- admin.Serve(adminCtx, listeners...) }()
	serving.Store(true)
	err = role.Run(ctx)
	serving.Store(false)
	stop()
	t.Logger.Info("stopped")
	return errors.Join(err, <-ended, folder.close(admin.Gatherer()))
}

func (a adminConfig) listen() ([]net.Listener, error) {
	if a.Bind == "" {
		a.Bind = healthAddress
	}
	if a.Metrics == "" {
		a.Metrics = metricsAddress
	}
	bind, err := net.Listen("tcp", a.Bind)
	if err != nil {
		return nil, fmt.Errorf("infra.bind_addr: %w", err)
	}
	metrics, err := net.Listen("tcp", a.Metrics)
	if err != nil {
		bind.Close()
		return nil, fmt.Errorf("infra.metricsz_bind_addr: %w", err)
	}
	return []net.Listener{bind, metrics}, nil
}
