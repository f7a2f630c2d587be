package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/metadata"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// A Run is one run of one action, and what helps a Runner with it. These are called in
// this order, each at most once:
//
//	run.Fetch(ctx)          Command is known and its inputs are in Root
//	run.Exec(ctx, process)  it has run
//	run.Upload(ctx)         what it made and wrote is stored
//
// They keep the times of the action; a Runner that has other ways marks them itself, by
// MarkInputFetch and MarkOutputUpload.
type Run struct {
	// Options is the command line.
	Options Options
	// Logger names the action in each line.
	Logger *slog.Logger
	// Client is of the CAS.
	Client *remote.Client
	// CommandDigest and InputRoot are what the action names.
	CommandDigest, InputRoot digest.Digest
	// Timeout is the action's; 0 means none.
	Timeout time.Duration
	// Command is set by ReadCommand.
	Command *repb.Command
	// Metadata is that of the result.
	Metadata *repb.ExecutedActionMetadata

	clock          clock
	parent         tracecontext.Context // the worker span
	stdout, stderr *os.File             // the program's own

	platform *repb.Platform // the action's
	outputs  []output       // the Command's
	logs     *logs          // nil until executed
	tree     *tree          // nil until staged
	done     outcome
}

func newRun(begin time.Time, o Options, client *remote.Client, logger *slog.Logger, traceParent string) *Run {
	parent, err := tracecontext.Parse(traceParent)
	if err != nil && traceParent != "" {
		logger.Warn("trace context ignored", "err", err)
	}
	return &Run{Options: o, Logger: logger, Client: client, clock: clock{begin}, parent: parent}
}

// Do runs an action in this process, for runners that start none of their own: what a
// program of the runner would do with these options, but for the files. traceParent may
// be empty.
func Do(ctx context.Context, runner Runner, o Options, client *remote.Client, logger *slog.Logger, traceParent string, action []byte) (*repb.ActionResult, error) {
	r := newRun(time.Now(), o, client, logger, traceParent)
	result, err := r.do(ctx, runner, action)
	return result, errors.Join(err, r.release())
}

// do reads the action and has the runner execute it. Errors say why there is no result.
func (r *Run) do(ctx context.Context, runner Runner, action []byte) (*repb.ActionResult, error) {
	r.Logger = r.Logger.With("action.digest", digest.Of(action).String())
	if err := r.readAction(action); err != nil {
		return nil, err
	}
	r.Metadata = &repb.ExecutedActionMetadata{WorkerStartTimestamp: r.clock.at(r.clock.begin)}
	result, err := runner.Execute(ctx, r)
	if r.logs != nil {
		r.logs.close()
	}
	if result == nil && r.done.interrupt != nil {
		// Whoever sent the signal doesn't wait for uploads, but may like to know.
		result = new(repb.ActionResult)
	}
	if result != nil {
		r.Metadata.WorkerCompletedTimestamp = r.clock.now()
		result.ExecutionMetadata = r.Metadata
	}
	if err != nil {
		return result, signalOr(ctx, err)
	}
	r.Logger.Debug("action done", "exit_code", result.ExitCode, "duration", time.Since(r.clock.begin))
	return result, nil
}

// release gives up what the run holds, once the result is out.
func (r *Run) release() error {
	if r.tree == nil {
		return nil
	}
	return r.tree.release()
}

// InTree stages the inputs, runs the process that stands for the command, whose input
// root is in the absolute path root, and stores what it made.
func (r *Run) InTree(ctx context.Context, process func(root string, command *repb.Command) (Process, error)) (*repb.ActionResult, error) {
	if err := r.Fetch(ctx); err != nil {
		return nil, err
	}
	p, err := process(r.Root(), r.Command)
	if err != nil {
		return nil, err
	}
	if err := r.Exec(ctx, p); err != nil {
		return nil, err
	}
	return r.Upload(ctx)
}

// Root is where Fetch has staged the inputs.
func (r *Run) Root() string { return r.tree.path }

// Property returns what the action says of a platform property, or the Command where the
// action says nothing (REAPI: the action's count since 2.2).
func (r *Run) Property(name string) string {
	platform := r.platform
	if platform == nil {
		//lint:ignore SA1019 clients older than REAPI 2.2 say it here only
		platform = r.Command.GetPlatform()
	}
	return property(platform, name)
}

// property returns a value of a platform, empty if it has none.
func property(platform *repb.Platform, name string) string {
	for _, p := range platform.GetProperties() {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// Traced returns a context whose calls name the span of a stage as their parent.
func (r *Run) Traced(ctx context.Context, stage string) context.Context {
	if !r.parent.Valid() {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, tracecontext.Header, r.parent.Child(stage, 0).String())
}

// MarkInputFetch marks the begin of the stage in which inputs are fetched; what it
// returns marks its end.
func (r *Run) MarkInputFetch() (end func()) {
	r.Metadata.InputFetchStartTimestamp = r.clock.now()
	return func() { r.Metadata.InputFetchCompletedTimestamp = r.clock.now() }
}

// MarkExecution does so for the command itself.
func (r *Run) MarkExecution() (end func()) {
	r.Metadata.ExecutionStartTimestamp = r.clock.now()
	return func() { r.Metadata.ExecutionCompletedTimestamp = r.clock.now() }
}

// MarkOutputUpload does so for the outputs.
func (r *Run) MarkOutputUpload() (end func()) {
	r.Metadata.OutputUploadStartTimestamp = r.clock.now()
	return func() { r.Metadata.OutputUploadCompletedTimestamp = r.clock.now() }
}

// Fetch reads the Command and has the input root staged, at the same time, and makes
// the directories that outputs go to.
func (r *Run) Fetch(ctx context.Context) error {
	defer r.MarkInputFetch()()
	ctx, cancel := context.WithCancel(r.Traced(ctx, semconv.SpanInputFetch))
	defer cancel()
	var wait sync.WaitGroup
	var commandErr error
	wait.Go(func() {
		if commandErr = r.ReadCommand(ctx); commandErr != nil {
			cancel()
		}
	})
	var stageErr error
	if r.tree, stageErr = r.stage(ctx); stageErr != nil {
		// A command that is missing too can wait: one reason is enough.
		cancel()
	}
	wait.Wait()
	// The error that came first cancelled the other's call.
	if commandErr != nil && (stageErr == nil || !errors.Is(commandErr, context.Canceled)) {
		return commandErr
	}
	if stageErr != nil {
		return stageErr
	}
	if err := checkReachable(r.tree.path, r.Options.RunAs); err != nil {
		return err
	}
	return r.tree.makeParents(r.Command.WorkingDirectory, r.outputs, r.Options.RunAs)
}

// Exec runs a process until it and everything it started are gone. A process that can't
// be started has an exit code and, in its stderr, a line that says why.
func (r *Run) Exec(ctx context.Context, p Process) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.User == nil {
		p.User = r.Options.RunAs
	}
	var err error
	if r.logs, err = openLogs(r.Options, r.stdout, r.stderr, p.User); err != nil {
		return err
	}
	if r.done, err = r.executeWithin(ctx, p); err != nil {
		return err
	}
	r.Metadata.ExecutionStartTimestamp, r.Metadata.ExecutionCompletedTimestamp = r.clock.at(r.done.start), r.clock.at(r.done.end)
	return r.done.interrupt
}

// executeWithin executes a process within the limits.
func (r *Run) executeWithin(ctx context.Context, p Process) (outcome, error) {
	l := r.Options.Limits
	if l == (Limits{}) {
		return execute(ctx, p, r.logs, r.Timeout)
	}
	g, err := newGroup(l)
	if err != nil {
		// A machine that can't is no fault of the action's.
		r.Logger.Warn("the command runs without limits", "err", err)
		return execute(ctx, p, r.logs, r.Timeout)
	}
	defer func() {
		if err := g.remove(); err != nil {
			r.Logger.Warn("control group not removed", "err", err)
		}
	}()
	files, err := g.enter(&p)
	if err != nil {
		return outcome{}, err
	}
	defer closeAll(files)
	done, err := execute(ctx, p, r.logs, r.Timeout)
	if err == nil && g.killedForMemory() {
		_, err = fmt.Fprintf(r.logs.stderr.file, "killed: the command and what it started took more memory than the limit of %d bytes\n", l.MemoryBytes)
	}
	return done, err
}

// Upload stores what the command made and wrote. Of a command that was killed for its
// timeout the outputs are unfinished and only the logs are kept: then there is both a
// result and an error.
func (r *Run) Upload(ctx context.Context) (*repb.ActionResult, error) {
	end := r.MarkOutputUpload()
	result, err := r.upload(r.Traced(ctx, semconv.SpanOutputUpload))
	if err != nil {
		return nil, err
	}
	result.ExitCode = r.done.exitCode
	if r.done.usage != nil {
		// Behind whatever else there is: the first entry is where BuildBox looks
		// for the digest of its own statistics.
		entry, err := usageRecord(r.done.usage)
		if err != nil {
			return nil, err
		}
		r.Metadata.AuxiliaryMetadata = append(r.Metadata.AuxiliaryMetadata, entry)
	}
	end()
	if r.done.timedOut {
		return result, &timeoutError{r.Timeout}
	}
	return result, nil
}

func (r *Run) upload(ctx context.Context) (*repb.ActionResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	var stdout, stderr digest.Digest
	wait.Go(func() {
		if r.logs.captured {
			var err error
			if stdout, stderr, err = r.logs.upload(ctx, r.Client); err != nil {
				cancel(err)
			}
		}
	})
	if r.Options.CollectStats && r.done.usage != nil {
		wait.Go(func() {
			entry, err := uploadStats(ctx, r.Client, r.done.usage)
			if err != nil {
				cancel(err)
				return
			}
			r.Metadata.AuxiliaryMetadata = append(r.Metadata.AuxiliaryMetadata, entry)
		})
	}
	result := new(repb.ActionResult)
	if !r.done.timedOut {
		found, err := r.tree.find(r.outputs)
		if err == nil {
			result, err = capture(ctx, r.capturer(), found)
		}
		if err != nil {
			cancel(err) // without effect if it says only that another came first
		}
	}
	wait.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if r.logs.captured {
		result.StdoutDigest, result.StderrDigest = stdout.Proto(), stderr.Proto()
	}
	return result, nil
}

// signalOr returns the signal that ended ctx, if one did, rather than the error
// it led to.
func signalOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
