// Package worker takes work from a Bots server and has runners do it.
//
// A [Worker] holds one bot session. It has exactly one poll of it under way,
// which reports every lease it holds and brings the server's view of them in
// return: leases offered (PENDING), wanted (ACTIVE), or not wanted any more
// (CANCELLED, or just absent), whose runner is then killed. When a runner ends,
// the poll under way is given up and one that reports the result sent at once;
// what the lost reply may have held, the server offers again.
//
// Trouble with the server is no reason to lose work: polls back off, sessions
// are opened anew and report what still runs. Actions run in processes of a runner, so
// that trouble with an action is none of the worker's: a runner of ours runs one after
// the other, if it is let ([Config.RunnerPool]), any other a single one.
//
// One goroutine owns the session, the leases and every decision; each lease and
// the poll have one more, which only tell it how they ended.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

// A Worker takes leases and runs them.
type Worker struct {
	cfg    Config
	logger *slog.Logger
	bots   bots.BotsClient
	cas    *remote.Client
	pool   *pool // nil: a process for each action, started when it comes

	folders folders

	leaseCount     *prometheus.GaugeVec
	runners        *prometheus.CounterVec
	runnerDuration *prometheus.HistogramVec
	sessions       *prometheus.CounterVec
	pollErrors     *prometheus.CounterVec
}

// New returns a worker that isn't running yet.
func New(cfg Config) (*Worker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	var err error
	if cfg.WorkDir, err = filepath.Abs(cfg.WorkDir); err != nil {
		return nil, fmt.Errorf("work directory: %w", err)
	}
	if cfg.InProcess == nil {
		// Absolute, because runners start in directories of their own.
		if cfg.RunnerPath, err = filepath.Abs(cfg.RunnerPath); err != nil {
			return nil, fmt.Errorf("runner: %w", err)
		}
		if err := absolute(&cfg.CAS); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.WorkDir, 0o700); err != nil {
		return nil, fmt.Errorf("work directory: %w", err)
	}
	cas, err := remote.Dial(cfg.CAS)
	if err != nil {
		return nil, err
	}
	return &Worker{
		cfg:            cfg,
		folders:        folders{below: cfg.WorkDir, keep: cfg.Slots},
		logger:         cfg.Logger,
		bots:           bots.NewBotsClient(cfg.Bots),
		cas:            cas,
		leaseCount:     telemetry.NewGauge(cfg.Registerer, semconv.WorkerLeases),
		runners:        telemetry.NewCounter(cfg.Registerer, semconv.WorkerRunners),
		runnerDuration: telemetry.NewHistogram(cfg.Registerer, semconv.WorkerRunnerDuration),
		sessions:       telemetry.NewCounter(cfg.Registerer, semconv.WorkerSessions),
		pollErrors:     telemetry.NewCounter(cfg.Registerer, semconv.WorkerPollErrors),
	}, nil
}

// absolute makes the files that a connection needs mean the same to runners, which start
// in directories of their own and look for programs elsewhere.
func absolute(c *remote.Config) (err error) {
	if c.CredentialHelper != "" {
		if c.CredentialHelper, err = exec.LookPath(c.CredentialHelper); err != nil {
			return fmt.Errorf("credential helper: %w", err)
		}
	}
	for _, path := range []*string{&c.CredentialHelper, &c.AccessToken, &c.ServerCert, &c.ClientKey, &c.ClientCert} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return nil
}

// Run works until ctx ends, which starts the end: no new leases, those under way
// may go on for Config.GracefulShutdown, the rest is killed, and everything is
// reported. Then it returns nil. It returns an error if the runner doesn't take
// its parameters. Run is called once.
func (w *Worker) Run(ctx context.Context) error {
	defer w.cas.Close()
	defer w.folders.remove()
	if err := w.validateRunner(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var err error
	if w.pool, err = w.openPool(ctx); err != nil {
		return err
	}
	if w.pool != nil {
		defer w.pool.close() // when all leases have ended
	}
	// Work outlives ctx by design; hard ends it.
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	var leases sync.WaitGroup
	defer leases.Wait()
	defer kill()
	s := &session{
		Worker:   w,
		hard:     hard,
		running:  &leases,
		leases:   make(map[string]*lease),
		finished: make(chan *lease, w.cfg.Slots),
		polled:   make(chan reply, 1),
		status:   bots.BotStatus_OK,
	}
	if w.cfg.StatusFile != "" {
		s.file = &statusFile{path: w.cfg.StatusFile}
		if s.status, _, err = s.file.changed(); err != nil {
			return fmt.Errorf("bot status: %w", err)
		}
	}
	w.logger.Info("worker started", "bot.id", w.cfg.BotID, "instance", w.cfg.Instance, "slots", w.cfg.Slots, "runner", w.cfg.RunnerPath)
	s.loop(ctx)
	w.logger.Info("worker stopped")
	return nil
}

// openPool returns the pool that the configuration wants, of processes that are kept or
// of such that run one action each; nil if the runner can do neither.
func (w *Worker) openPool(ctx context.Context) (*pool, error) {
	if w.cfg.InProcess != nil {
		return nil, nil
	}
	capabilities, err := runner.CapabilitiesOf(ctx, w.cfg.RunnerPath)
	able := err == nil && slices.Contains(capabilities, runner.PoolCapability)
	wanted := w.cfg.RunnerPool
	if !able && wanted != nil && *wanted > 0 {
		return nil, fmt.Errorf("runner %s can't be kept for the next action, only runners of ours and of this version can: choose one of them, or do without a pool of runners", w.cfg.RunnerPath)
	}
	if !able {
		return nil, nil
	}
	p := &pool{
		path: w.cfg.RunnerPath, env: append(w.runnerEnv(""), oneProcessor), dir: w.cfg.WorkDir, size: w.cfg.Slots,
		maxIdle: maxIdle, warmUp: w.logArgs(w.cfg.WorkDir),
	}
	if wanted != nil {
		p.size = *wanted
	}
	if p.size == 0 {
		p.size, p.once = 1, true
	}
	p.startAhead()
	return p, nil
}

// backoff returns how long to wait after so many failures in a row: doubling,
// and somewhere in the upper half, so that workers that lost their server at the
// same moment don't come back at the same moment.
func backoff(failures int, random float64) time.Duration {
	d := min(minBackoff<<min(failures-1, 16), maxBackoff)
	return d/2 + time.Duration(random*float64(d/2))
}

// Limits of the back-off: quick enough for a server's restart not to be felt,
// slow enough for an overloaded one to recover.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
)
