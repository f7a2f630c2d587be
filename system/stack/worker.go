package stack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/system/worker"
	"github.com/weir-build/weir/traces/semconv"
)

// DefaultRunner is the program that runs actions unless the configuration names
// another.
const DefaultRunner = "buildbox-run-hosttools"

// InternalSleep is the name of the runner that does what synthetic commands say in the
// worker's own process: what buildbox-run-sleep does in one of its own.
const InternalSleep = "internal:sleep"

// Worker configures a worker.
type Worker struct {
	// BotID names the worker; empty makes one of the host's name.
	BotID string `yaml:"bot_id"`
	// Instance is the REAPI instance it takes work from.
	Instance string `yaml:"instance"`
	// Bots is where it takes work from, CAS what its runners talk to.
	Bots Remote `yaml:"bots"`
	CAS  Remote `yaml:"cas"`
	// Runner is the program that runs an action: a path, or a name that is
	// looked up beside weir and then in PATH. Empty means DefaultRunner, InternalSleep
	// is no program.
	Runner     string   `yaml:"runner"`
	RunnerArgs []string `yaml:"runner_args"`
	// RunnerPool is how many processes of a runner of ours may be kept for the next action;
	// none given means as many as Slots, 0 a process for each action.
	RunnerPool *int `yaml:"runner_pool"`
	// Path is the PATH of runners, which look up their own tools in it. The
	// environment of actions is their Command's alone.
	Path string `yaml:"path"`
	// Platform is what it offers, as key=value.
	Platform []string `yaml:"platform"`
	// Slots is how many actions it runs at a time; 0 means 1.
	Slots int `yaml:"slots"`
	// WorkDir is for the files of leases.
	WorkDir          string        `yaml:"work_dir"`
	GracefulShutdown time.Duration `yaml:"graceful_shutdown"`
	PollTimeout      time.Duration `yaml:"poll_timeout"`
	// StopAfter ends the worker when it has done so many actions; 0 means never.
	StopAfter int `yaml:"stop_after"`
	// StatusFile is a file whose line "botStatus: unhealthy" takes the worker out of
	// service, and "botStatus: ok" puts it back.
	StatusFile string `yaml:"status_file"`
}

// NewWorker returns a worker. Several can share one telemetry: their metrics are
// told apart by the label worker.
func NewWorker(c Worker, t *telemetry.Telemetry) (*Role, error) {
	var path string
	var inProcess runner.Runner
	if c.Runner == InternalSleep {
		inProcess = runner.Sleep{}
	} else {
		var err error
		if path, err = FindRunner(c.Runner); err != nil {
			return nil, err
		}
	}
	platform, err := parsePlatform(c.Platform)
	if err != nil {
		return nil, err
	}
	if c.BotID == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		c.BotID = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	client, err := c.Bots.dial(c.Instance, t)
	if err != nil {
		return nil, err
	}
	w, err := worker.New(worker.Config{
		BotID: c.BotID, Instance: c.Instance,
		Bots: client.Conn(), PollTimeout: c.PollTimeout,
		CAS: c.CAS.config(c.Instance), RunnerPath: path, InProcess: inProcess, RunnerArgs: c.RunnerArgs, RunnerPool: c.RunnerPool, Path: c.Path,
		Platform: platform, Slots: c.Slots, WorkDir: c.WorkDir, GracefulShutdown: c.GracefulShutdown, StopAfter: c.StopAfter, StatusFile: c.StatusFile,
		Logger:     t.Logger.With("worker.id", c.BotID),
		Registerer: prometheus.WrapRegistererWith(prometheus.Labels{semconv.Worker: c.BotID}, t.Registerer),
	})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Role{Name: "worker", Telemetry: t, run: w.Run, close: client.Close}, nil
}

func parsePlatform(words []string) ([]worker.Property, error) {
	var list []worker.Property
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("platform property %q: want key=value", word)
		}
		list = append(list, worker.Property{Key: key, Value: value})
	}
	return list, nil
}

// FindRunner returns the path of a runner program.
func FindRunner(name string) (string, error) {
	if name == "" {
		name = DefaultRunner
	}
	if strings.Contains(name, "/") {
		return filepath.Abs(name)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("runner %s is neither beside weir nor in PATH: run `make build`, or name its path", name)
	}
	return path, nil
}
