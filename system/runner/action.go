package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// maxCommandBytes bounds the Command, of which the digest only claims a size. A
// command line can't exceed the few megabytes that execve takes.
const maxCommandBytes = 64 << 20

// action is one run of one action.
type action struct {
	runner         Runner
	options        Options
	logger         *slog.Logger
	clock          clock
	parent         tracecontext.Context // the worker span
	stdout, stderr *os.File             // the program's own

	client *remote.Client // nil until connected
	casd   localcas.LocalContentAddressableStorageClient
	tree   *tree // nil until staged
}

// request is what there is to do.
type request struct {
	inputRoot, commandDigest digest.Digest
	timeout                  time.Duration // 0 means none
	command                  *repb.Command
	outputs                  []output
}

// run returns the result, or why there is none. Both, if the command ran and
// didn't end by itself: then the result holds its output so far.
func (a *action) run(ctx context.Context) (*repb.ActionResult, error) {
	r, err := a.read()
	if err != nil {
		return nil, err
	}
	if a.client, err = remote.Dial(a.options.Remote); err != nil {
		return nil, fmt.Errorf("connect to casd: %w", err)
	}
	a.casd = localcas.NewLocalContentAddressableStorageClient(a.client.Conn())
	logs, err := openLogs(a.options, a.stdout, a.stderr)
	if err != nil {
		return nil, err
	}
	defer logs.close()

	meta := &repb.ExecutedActionMetadata{WorkerStartTimestamp: a.clock.at(a.clock.begin)}
	meta.InputFetchStartTimestamp = a.clock.now()
	if err := a.fetch(a.traced(ctx, semconv.SpanInputFetch), r); err != nil {
		return nil, signalOr(ctx, err)
	}
	meta.InputFetchCompletedTimestamp = a.clock.now()

	process, err := a.prepare(r)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	done, err := execute(ctx, process, logs, r.timeout)
	if err != nil {
		return nil, err
	}
	meta.ExecutionStartTimestamp, meta.ExecutionCompletedTimestamp = a.clock.at(done.start), a.clock.at(done.end)
	if done.interrupt != nil {
		// Whoever sent the signal doesn't wait for uploads.
		meta.WorkerCompletedTimestamp = a.clock.now()
		return &repb.ActionResult{ExecutionMetadata: meta}, done.interrupt
	}

	meta.OutputUploadStartTimestamp = a.clock.now()
	result, err := a.upload(a.traced(ctx, semconv.SpanOutputUpload), r, logs, done, meta)
	if err != nil {
		return nil, signalOr(ctx, err)
	}
	if done.usage != nil {
		// Behind whatever else there is: the first entry is where BuildBox looks
		// for the digest of its own statistics.
		entry, err := usageRecord(done.usage)
		if err != nil {
			return nil, err
		}
		meta.AuxiliaryMetadata = append(meta.AuxiliaryMetadata, entry)
	}
	meta.OutputUploadCompletedTimestamp = a.clock.now()
	meta.WorkerCompletedTimestamp = a.clock.now()
	result.ExitCode, result.ExecutionMetadata = done.exitCode, meta
	if done.timedOut {
		return result, &timeoutError{r.timeout}
	}
	a.logger.Debug("action done", "exit_code", done.exitCode, "duration", time.Since(a.clock.begin))
	return result, nil
}

// release gives up what run holds, once the result is out.
func (a *action) release() error {
	var err error
	if a.tree != nil {
		err = a.tree.release()
	}
	if a.client != nil {
		a.client.Close()
	}
	return err
}

// read reads the Action.
func (a *action) read() (*request, error) {
	data, err := os.ReadFile(a.options.Action)
	if err != nil {
		return nil, fmt.Errorf("read action: %w", err)
	}
	d := digest.Of(data)
	a.logger = a.logger.With("action.digest", d.String())
	return parseAction(data)
}

func parseAction(data []byte) (*request, error) {
	action := new(repb.Action)
	if err := proto.Unmarshal(data, action); err != nil {
		return nil, inputErrorf("decode action %v: %s", digest.Of(data), err)
	}
	r := new(request)
	var err error
	if r.commandDigest, err = digest.FromProto(action.CommandDigest); err != nil {
		return nil, fmt.Errorf("command of action %v: %w", digest.Of(data), err)
	}
	if r.commandDigest.SizeBytes > maxCommandBytes {
		return nil, inputErrorf("command %v is larger than %d bytes", r.commandDigest, maxCommandBytes)
	}
	if r.inputRoot, err = digest.FromProto(action.InputRootDigest); err != nil {
		return nil, fmt.Errorf("input root of action %v: %w", digest.Of(data), err)
	}
	if action.Timeout != nil {
		r.timeout = action.Timeout.AsDuration()
		if err := action.Timeout.CheckValid(); err != nil || r.timeout < 0 {
			return nil, inputErrorf("timeout of action %v is not a valid duration", digest.Of(data))
		}
	}
	return r, nil
}

// traced returns a context whose calls name the span of a stage as their parent.
func (a *action) traced(ctx context.Context, stage string) context.Context {
	if !a.parent.Valid() {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, tracecontext.Header, a.parent.Child(stage, 0).String())
}

// fetch reads the Command and has the input root staged, at the same time.
func (a *action) fetch(ctx context.Context, r *request) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	var commandErr error
	wait.Go(func() {
		if commandErr = a.readCommand(ctx, r); commandErr != nil {
			cancel()
		}
	})
	var stageErr error
	a.tree, stageErr = stage(ctx, a.casd, &localcas.StageTreeRequest{
		InstanceName:      a.options.Remote.Instance,
		RootDigest:        r.inputRoot.Proto(),
		Path:              a.options.Workspace,
		AccessCredentials: &localcas.StageTreeRequest_Credentials{Uid: int64(os.Getuid()), Gid: int64(os.Getgid())},
		StagingMode:       a.options.StagingMode,
	}, r.inputRoot)
	if stageErr != nil {
		// A command that is missing too can wait: one reason is enough.
		cancel()
	}
	wait.Wait()
	// The error that came first cancelled the other's call.
	if commandErr != nil && !errors.Is(commandErr, context.Canceled) {
		return commandErr
	}
	if stageErr != nil {
		return stageErr
	}
	return commandErr
}

// readCommand fetches and checks the Command.
func (a *action) readCommand(ctx context.Context, r *request) error {
	data, err := readBlob(ctx, a.client, r.commandDigest)
	if errors.Is(err, cas.ErrNotFound) {
		return &MissingError{What: "command", Digest: r.commandDigest, Err: err}
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("fetch command from %s: %w", a.options.Remote.URL, err)
	}
	r.command = new(repb.Command)
	if err := proto.Unmarshal(data, r.command); err != nil {
		return inputErrorf("decode command %v: %s", r.commandDigest, err)
	}
	if err := checkCommand(r.command); err != nil {
		return err
	}
	r.outputs, err = outputs(r.command)
	return err
}

// readBlob reads a blob over ByteStream: one round trip, where a batch would
// first ask for the server's limits.
func readBlob(ctx context.Context, client *remote.Client, d digest.Digest) ([]byte, error) {
	if d == digest.Empty {
		return nil, nil
	}
	reader, err := client.Open(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	data := make([]byte, 0, d.SizeBytes)
	for {
		piece, err := reader.Next(maxCommandBytes)
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
}

// prepare makes the staged tree ready for the command.
func (a *action) prepare(r *request) (Process, error) {
	if err := a.tree.makeParents(r.command.WorkingDirectory, r.outputs); err != nil {
		return Process{}, err
	}
	return a.runner.Process(a.tree.path, r.command)
}

// upload stores what the command made and wrote. Of a command that was killed
// for its timeout the outputs are unfinished and only the logs are kept.
func (a *action) upload(ctx context.Context, r *request, logs *logs, done outcome, meta *repb.ExecutedActionMetadata) (*repb.ActionResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	var stdout, stderr digest.Digest
	wait.Go(func() {
		if logs.captured {
			var err error
			if stdout, stderr, err = logs.upload(ctx, a.client); err != nil {
				cancel(err)
			}
		}
	})
	if a.options.CollectStats && done.usage != nil {
		wait.Go(func() {
			entry, err := uploadStats(ctx, a.client, done.usage)
			if err != nil {
				cancel(err)
				return
			}
			meta.AuxiliaryMetadata = append(meta.AuxiliaryMetadata, entry)
		})
	}
	result := new(repb.ActionResult)
	if !done.timedOut {
		found, err := a.tree.find(r.outputs)
		if err == nil {
			c := capturer{casd: a.casd, instance: a.options.Remote.Instance, root: a.tree.path, command: r.command}
			result, err = c.capture(ctx, found)
		}
		if err != nil {
			cancel(err) // without effect if it says only that another came first
		}
	}
	wait.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if logs.captured {
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
