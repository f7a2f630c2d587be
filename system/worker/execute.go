package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/traces/semconv"
)

// maxResultBytes bounds what is read of a runner's result: as much as fits in a
// message to the server, whose limit is 4 MiB where nobody raised it, and room
// for those who did.
const maxResultBytes = 64 << 20

// execute runs a lease's action and returns what to report.
func (w *Worker) execute(ctx context.Context, l *lease) (*spb.Status, *anypb.Any) {
	result, err := w.runLease(ctx, l)
	if err != nil && !errors.Is(context.Cause(ctx), errDropped) {
		w.logger.Debug("lease has no result", "lease.id", l.id, "err", err)
	}
	var packed *anypb.Any
	if result != nil {
		if m := result.GetExecutionMetadata(); m != nil {
			if m.Worker == "" {
				m.Worker = w.cfg.Name
			}
			widen(m, l.begun, time.Now())
		}
		var packErr error
		if packed, packErr = anypb.New(result); packErr != nil {
			err = fmt.Errorf("pack result: %w", packErr)
		}
	}
	return statusOf(err), packed
}

// widen lets the worker's times in a result be those of the worker (REAPI: when
// it received the action, and when it completed it with all stages). The runner
// knows only those of its own process, and what its start and its end cost would
// belong to nobody.
func widen(m *repb.ExecutedActionMetadata, begin, end time.Time) {
	// One reading of the wall clock: see the runner's clock.
	end = begin.Add(end.Sub(begin))
	if s := m.WorkerStartTimestamp; s != nil && begin.Before(s.AsTime()) {
		m.WorkerStartTimestamp = timestamppb.New(begin)
	}
	if c := m.WorkerCompletedTimestamp; c != nil && end.After(c.AsTime()) {
		m.WorkerCompletedTimestamp = timestamppb.New(end)
	}
}

// runLease does so in a directory of its own. There may be both a result and an
// error: what an action that timed out had written.
func (w *Worker) runLease(ctx context.Context, l *lease) (*repb.ActionResult, error) {
	action, err := w.action(ctx, l.payload)
	if err != nil {
		return nil, err
	}
	if w.cfg.InProcess != nil {
		begin := time.Now()
		result, err := runner.Do(ctx, w.cfg.InProcess, runner.Options{Remote: w.cfg.CAS}, w.cas, w.logger, l.parent, action)
		w.observe(ctx, begin, err == nil)
		return result, err
	}
	dir, err := w.folders.take()
	if err != nil {
		return nil, err
	}
	well := false
	defer func() { w.folders.give(dir, well) }()
	begin := time.Now()
	exit, err := w.startRunner(ctx, dir, action, l.parent)
	w.observe(ctx, begin, err == nil && exit.code == 0)
	if err == nil && exit.code != 0 && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	well = exit.code == 0
	return readResult(exit)
}

// observe counts a runner.
func (w *Worker) observe(ctx context.Context, begin time.Time, ok bool) {
	outcome := semconv.RunnerOK
	switch {
	case !ok && ctx.Err() != nil:
		outcome = semconv.RunnerKilled
	case !ok:
		outcome = semconv.RunnerError
	}
	w.runners.WithLabelValues(outcome).Inc()
	w.runnerDuration.WithLabelValues(outcome).Observe(time.Since(begin).Seconds())
}

// startRunner has a process run an action in dir, a warm one if there are such.
func (w *Worker) startRunner(ctx context.Context, dir string, action []byte, traceParent string) (exit, error) {
	if w.pool != nil {
		return w.pool.run(ctx, runner.PoolRequest{Args: w.logArgs(dir), TraceParent: traceParent, Inline: true, Action: action})
	}
	if err := fill(dir, action); err != nil {
		return exit{}, err
	}
	e, err := w.spawn(ctx, w.fileArgs(dir), dir, traceParent)
	path := filepath.Join(dir, resultFile)
	e.result, e.reason = leftIn(path), leftIn(runner.ErrorStatusPath(path))
	return e, err
}

// action returns the serialized Action that a payload holds or names.
func (w *Worker) action(ctx context.Context, payload *anypb.Any) ([]byte, error) {
	data, d, err := parsePayload(payload)
	if err != nil || data != nil {
		return data, err
	}
	data, err = w.cas.ReadBlob(ctx, d)
	if errors.Is(err, cas.ErrNotFound) {
		return nil, &runner.MissingError{What: "action", Digest: d, Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("fetch action: %w", err)
	}
	return data, nil
}

// parsePayload returns the Action's bytes, as they are because their digest is
// its name, or if data is nil the digest of where they are.
func parsePayload(payload *anypb.Any) (data []byte, d digest.Digest, err error) {
	switch {
	case payload == nil:
		return nil, d, &payloadError{"the lease has no payload"}
	case payload.MessageIs(new(repb.Action)):
		if err := payload.UnmarshalTo(new(repb.Action)); err != nil {
			return nil, d, &payloadError{fmt.Sprintf("decode action of lease: %v", err)}
		}
		if payload.Value == nil {
			return []byte{}, d, nil
		}
		return payload.Value, d, nil
	case payload.MessageIs(new(repb.Digest)):
		p := new(repb.Digest)
		if err := payload.UnmarshalTo(p); err != nil {
			return nil, d, &payloadError{fmt.Sprintf("decode action digest of lease: %v", err)}
		}
		d, err = digest.FromProto(p)
		return nil, d, err
	}
	return nil, d, &payloadError{fmt.Sprintf("the lease's payload is a %.200q, neither an Action nor its Digest", payload.TypeUrl)}
}

// readResult returns what a runner left: a result if it exited with 0,
// otherwise an error and perhaps a result too.
func readResult(e exit) (*repb.ActionResult, error) {
	result := new(repb.ActionResult)
	resultErr := e.result.read(result)
	if e.code == 0 {
		if resultErr != nil {
			return nil, fmt.Errorf("the runner exited with 0 and left no result: %w", resultErr)
		}
		return result, nil
	}
	if resultErr != nil {
		result = nil
	}
	reason := new(spb.Status)
	if err := e.reason.read(reason); err != nil || codes.Code(reason.Code) == codes.OK {
		return result, fmt.Errorf("the runner %v without saying why; its log ends with: %s", e, e.stderr)
	}
	return result, &runnerError{reason}
}

// left is a message that a runner left: the data, or why there is none.
type left struct {
	data []byte
	err  error
}

func (l left) read(m proto.Message) error {
	if l.err != nil {
		return l.err
	}
	return proto.Unmarshal(l.data, m)
}

// leftIn is what a runner left in a file.
func leftIn(path string) left {
	info, err := os.Stat(path)
	if err != nil {
		return left{err: err}
	}
	if err := checkSize(filepath.Base(path), info.Size()); err != nil {
		return left{err: err}
	}
	data, err := os.ReadFile(path)
	return left{data, err}
}

// leftInReply is what it left in a field of its reply.
func leftInReply(name string, data []byte) left {
	if data == nil {
		return left{err: fmt.Errorf("there is no %s in its reply", name)}
	}
	return left{data, checkSize(name, int64(len(data)))}
}

func checkSize(name string, size int64) error {
	if size > maxResultBytes {
		return fmt.Errorf("%s has %d bytes, more than %d", name, size, maxResultBytes)
	}
	return nil
}
