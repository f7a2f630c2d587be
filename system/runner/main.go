package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner/early"
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
	// inline, unless it is nil, is given what there is to write, and action is the one to
	// run: no files are used.
	inline *PoolReply
	action []byte
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return "killed by signal: " + e.signal.String() }

// Main runs a program and returns its exit code. It takes the whole process for
// its own: it handles SIGINT and SIGTERM, adopts orphans and reaps all children.
func Main(ctx context.Context, p Program) int {
	if code, done := early.Run(p.Args, p.Env, p.Stdout, p.Stderr, p.New().Capabilities()); done {
		return code // of a program that hasn't asked early itself
	}
	if len(p.Args) == 1 && p.Args[0] == PoolArg {
		return p.servePool(ctx)
	}
	return p.once(ctx, time.Now())
}

// once does what the command line asks for.
func (p Program) once(ctx context.Context, begin time.Time) int {
	runner := p.New()
	o, err := ParseArgs(p.Args, runner.Options()...)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
		writeUsage(p.Stderr, p.Name, runner.Options())
		return 1
	}
	switch o.Task {
	case ShowHelp:
		writeUsage(p.Stderr, p.Name, runner.Options())
		return 0
	case ShowVersion:
		fmt.Fprintf(p.Stdout, "%s %s\n", p.Name, p.Version)
		return 0
	case ShowCapabilities:
		fmt.Fprint(p.Stdout, early.Lines(runner.Capabilities()))
		return 0
	}
	if err := runner.Check(); err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
		return 1
	}
	if o.Task == ValidateParameters {
		fmt.Fprintf(p.Stderr, "%s: parameters are valid\n", p.Name)
		return 0
	}
	log, closeLog, err := options.OpenLog(p.Name, o.LogDirectory, p.Stderr)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", p.Name, err)
		return 1
	}
	defer closeLog()
	ctx, stop := untilSignal(ctx)
	defer stop()
	err = p.run(ctx, runner, begin, o, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: o.LogLevel})))
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
func (p Program) run(ctx context.Context, runner Runner, begin time.Time, o Options, logger *slog.Logger) error {
	if err := proctree.BecomeSubreaper(); err != nil {
		logger.Warn("processes that leave their parent can't be tracked", "err", err)
	}
	dial := p.dial
	if dial == nil {
		dial = func(c remote.Config) (*remote.Client, error) { return remote.Dial(c) }
	}
	client, err := dial(o.Remote)
	if err != nil {
		return p.fail(o, logger, fmt.Errorf("connect to casd: %w", err))
	}
	if p.dial == nil {
		defer client.Close()
	}
	r := newRun(begin, o, client, logger, p.TraceParent)
	r.stdout, r.stderr = p.Stdout, p.Stderr
	action, err := p.readAction(o)
	if err != nil {
		return p.fail(o, logger, fmt.Errorf("read action: %w", err))
	}
	result, err := r.do(ctx, runner, action)
	if result != nil {
		if writeErr := p.writeResult(o, result); writeErr != nil {
			err = errors.Join(err, fmt.Errorf("write result: %w", writeErr))
		}
	}
	if err != nil {
		err = p.fail(o, r.Logger, err)
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
	if err := p.writeStatus(o, StatusOf(err)); err != nil {
		logger.Error("error status not written", "err", err)
	}
	return err
}

// readAction returns the serialized Action.
func (p Program) readAction(o Options) ([]byte, error) {
	if p.inline != nil {
		return p.action, nil
	}
	return os.ReadFile(o.Action)
}

// writeResult hands the result out, to whoever wants it.
func (p Program) writeResult(o Options, result *repb.ActionResult) (err error) {
	switch {
	case p.inline != nil:
		p.inline.Result, err = marshal(result)
	case o.ActionResult != "":
		err = writeMessage(o.ActionResult, result)
	}
	return err
}

// writeStatus does so for the reason why there is none.
func (p Program) writeStatus(o Options, reason *spb.Status) (err error) {
	switch {
	case p.inline != nil:
		p.inline.Status, err = marshal(reason)
	case o.ActionResult != "":
		err = writeMessage(ErrorStatusPath(o.ActionResult), reason)
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
