package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner/proctree"
)

// A Program is a runner as its main function sees it.
type Program struct {
	Name, Version string
	// New returns the runner, for one action.
	New func() Runner
	// Args is the command line without the program's name.
	Args []string
	// Env is the program's environment: of it only commands see anything that a runner
	// becomes itself.
	Env []string
	// TraceParent is the value of the environment variable tracecontext.Env:
	// the worker span that this run belongs to. May be empty.
	TraceParent    string
	Stdout, Stderr *os.File

	// dial connects to casd; nil means for this action alone.
	dial func(remote.Config) (*remote.Client, error)
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return "killed by signal: " + e.signal.String() }

// Main runs a program and returns its exit code. It takes the whole process for
// its own: it handles SIGINT and SIGTERM, adopts orphans and reaps all children.
func Main(ctx context.Context, p Program) int {
	if code, ok := p.inside(); ok {
		return code
	}
	if len(p.Args) == 1 && p.Args[0] == PoolArg {
		return p.servePool(ctx)
	}
	return p.once(ctx, time.Now())
}

// once does what the command line asks for.
func (p Program) once(ctx context.Context, begin time.Time) int {
	runner := p.New()
	options, err := ParseArgs(p.Args, runner.Options()...)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
		writeUsage(p.Stderr, p.Name, runner.Options())
		return 1
	}
	switch options.Task {
	case ShowHelp:
		writeUsage(p.Stderr, p.Name, runner.Options())
		return 0
	case ShowVersion:
		fmt.Fprintf(p.Stdout, "%s %s\n", p.Name, p.Version)
		return 0
	case ShowCapabilities:
		for _, line := range append([]string{"no-logs-capture", RunAsCapability, PoolCapability}, runner.Capabilities()...) {
			fmt.Fprintln(p.Stdout, line)
		}
		return 0
	}
	if err := runner.Check(); err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
		return 1
	}
	if options.Task == ValidateParameters {
		fmt.Fprintf(p.Stderr, "%s: parameters are valid\n", p.Name)
		return 0
	}
	log, closeLog, err := p.openLog(options)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
		return 1
	}
	defer closeLog()
	ctx, stop := untilSignal(ctx)
	defer stop()
	err = p.run(ctx, runner, begin, options, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: options.LogLevel})))
	var killed *signalError
	switch {
	case errors.As(err, &killed):
		return int(killed.signal)
	case err != nil:
		return 1
	}
	return 0
}

// run runs the action. Errors have been logged and written when it returns.
func (p Program) run(ctx context.Context, runner Runner, begin time.Time, options Options, logger *slog.Logger) error {
	if err := proctree.BecomeSubreaper(); err != nil {
		logger.Warn("processes that leave their parent can't be tracked", "err", err)
	}
	dial := p.dial
	if dial == nil {
		dial = func(c remote.Config) (*remote.Client, error) { return remote.Dial(c) }
	}
	client, err := dial(options.Remote)
	if err != nil {
		return p.fail(options, logger, fmt.Errorf("connect to casd: %w", err))
	}
	if p.dial == nil {
		defer client.Close()
	}
	r := newRun(begin, options, client, logger, p.TraceParent)
	r.stdout, r.stderr = p.Stdout, p.Stderr
	action, err := os.ReadFile(options.Action)
	if err != nil {
		return p.fail(options, logger, fmt.Errorf("read action: %w", err))
	}
	result, err := r.do(ctx, runner, action)
	if result != nil && options.ActionResult != "" {
		if writeErr := writeMessage(options.ActionResult, result); writeErr != nil {
			err = errors.Join(err, fmt.Errorf("write result: %w", writeErr))
		}
	}
	if err != nil {
		err = p.fail(options, r.Logger, err)
	}
	// Last, because nobody has to wait for it but the machine.
	if releaseErr := r.release(); releaseErr != nil {
		r.Logger.Warn("input root may not be cleaned up", "err", releaseErr)
	}
	return err
}

// fail logs and writes down why there is no result, and returns it. A signal is no
// failure.
func (p Program) fail(o Options, logger *slog.Logger, err error) error {
	var killed *signalError
	if errors.As(err, &killed) {
		return err
	}
	logger.Error("action has no result", "err", err)
	if o.ActionResult != "" {
		if err := writeMessage(ErrorStatusPath(o.ActionResult), StatusOf(err)); err != nil {
			logger.Error("error status not written", "err", err)
		}
	}
	return err
}

// untilSignal returns a context that SIGINT and SIGTERM end, with a signalError
// as cause. stop waits for its goroutine.
func untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case s := <-signals:
			cancel(&signalError{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		wait.Wait()
	}
}

// openLog returns where to log: stderr, or a file in the directory asked for,
// named as BuildBox's are.
func (p Program) openLog(o Options) (io.Writer, func(), error) {
	if o.LogDirectory == "" {
		return p.Stderr, func() {}, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	name := fmt.Sprintf("%s.%s.%d.log.INFO.%s.%d", p.Name, host, os.Getuid(), time.Now().Format("20060102.150405"), os.Getpid())
	file, err := os.OpenFile(filepath.Join(o.LogDirectory, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("option --log-directory: %w", err)
	}
	return file, func() { file.Close() }, nil
}
