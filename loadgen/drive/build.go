package drive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Builder runs builds as a build tool does: for each action it looks for a result, uploads
// what the server lacks, executes, and reads what the user wants to have.
type Builder struct {
	Client  *Client
	Classes []workload.Class
	Command scenario.Command
	// Download says which outputs are read, SkipCache that no result is looked for.
	Download  scenario.Download
	SkipCache bool
	// Timeout bounds each action; 0 is no bound.
	Timeout time.Duration
	// Verify is the share of results whose outputs are looked for in the storage.
	Verify float64
	// Run is the id of the run, which its invocations have in common.
	Run string
	// Trace says whether a build, by its number, asks to be traced; Tracer makes the
	// client's spans. Both may be nil.
	Trace  func(number int) bool
	Tracer trace.Tracer
	// InFlight is told of each action that begins (+1) and ends (−1).
	InFlight func(delta int64)
}

// buildRun is one build under way.
type buildRun struct {
	*Builder
	build      *workload.Build
	invocation string
	trace      string // of the trace the server will have
	toplevel   []bool // by action: nothing of the build depends on it
	// mu guards what follows.
	mu      sync.Mutex
	outputs [][]output             // by action
	have    map[digest.Digest]bool // known to be in the storage
	took    []time.Duration        // how long an action's command ran; 0 if it was cached
}

// done is an action that has ended.
type done struct {
	index   int
	outcome string
	err     error
}

// Build runs a build that was intended for a moment. What became of it is returned and
// told to the observer.
func (b *Builder) Build(ctx context.Context, build *workload.Build, intended time.Time) result.Build {
	r := &buildRun{
		Builder: b, build: build, invocation: invocationID(b.Run, build.Stream, build.Number),
		toplevel: make([]bool, len(build.Actions)), outputs: make([][]output, len(build.Actions)), have: make(map[digest.Digest]bool), took: make([]time.Duration, len(build.Actions)),
	}
	for i := range build.Actions {
		r.toplevel[i] = true
		for _, d := range build.Actions[i].Deps {
			r.toplevel[d] = false
		}
	}
	start := time.Now()
	out := result.Build{
		ID: fmt.Sprintf("%s/%d", build.Stream, build.Number), Stream: build.Stream, Invocation: r.invocation, Start: start.UTC(), Delay: start.Sub(intended), Actions: len(build.Actions),
	}
	buildCtx, end := r.begin(ctx, &out)
	if build.CancelAfter > 0 {
		// No deadline, of which the server would be told: people don't say when they will
		// lose their patience.
		var cancel context.CancelFunc
		buildCtx, cancel = context.WithCancel(buildCtx)
		defer cancel()
		defer time.AfterFunc(build.CancelAfter, cancel).Stop()
	}
	r.actions(buildCtx, intended, &out)
	ended := time.Now()
	out.Makespan = ended.Sub(intended)
	out.Cancelled = buildCtx.Err() != nil
	out.Ideal = build.Ideal(build.Jobs, func(i int) time.Duration { return r.took[i] })
	end(out.Err)
	b.Client.observer.Build(&out)
	return out
}

// invocationID is a UUID that follows from names, so that a run can be found again.
func invocationID(run, stream string, number int) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "weir %s %s %d", run, stream, number)).String()
}

// begin starts the span of a build that is traced, and says what the build's calls carry.
func (r *buildRun) begin(ctx context.Context, out *result.Build) (context.Context, func(problem string)) {
	r.trace = tracecontext.TraceOf(r.invocation).String()
	end := func(string) {}
	if r.Tracer != nil && r.Trace != nil && r.Trace(r.build.Number) {
		var span trace.Span
		ctx, span = r.Tracer.Start(ctx, semconv.SpanInvocation, trace.WithNewRoot(), trace.WithAttributes(
			attribute.String(semconv.AttrInvocationID, r.invocation), attribute.String(semconv.AttrToolName, toolName)))
		if span.SpanContext().IsSampled() {
			r.trace = span.SpanContext().TraceID().String()
		}
		end = func(problem string) {
			if problem != "" {
				span.SetStatus(otelcodes.Error, problem)
			}
			span.End()
		}
	}
	out.TraceID = r.trace
	return ctx, end
}

const toolName = "weir-load"

// actions runs all actions: as many at a time as the build has jobs, each when those it
// depends on have ended, the first in the build's order first.
func (r *buildRun) actions(ctx context.Context, intended time.Time, out *result.Build) {
	order := r.build.Order()
	// With room for all, so that none that ends has to wait.
	ended := make(chan done, min(r.build.Jobs, len(r.build.Actions)))
	running, stopped := 0, false
	// due is the moment that made the next action possible: a result, or the beginning.
	due := intended
	for running > 0 || order.Ready() > 0 && !stopped {
		for order.Ready() > 0 && running < r.build.Jobs && !stopped {
			i, _ := order.Take()
			running++
			at := due
			go func() { ended <- r.action(ctx, i, at) }()
		}
		d := <-ended
		running--
		due = time.Now()
		switch {
		case d.outcome == result.Cached:
			out.CacheHits++
		case d.outcome == result.ActionStopped:
			stopped = true
			continue
		case d.outcome != result.Executed && d.outcome != result.Merged:
			out.FailedCount++
			if d.err != nil && out.Err == "" {
				out.Err = d.err.Error()
			}
			// What depends on it never becomes ready.
			stopped = stopped || !r.build.KeepGoing
			continue
		}
		order.Done(d.index)
	}
}

// action runs one action and tells the observer.
func (r *buildRun) action(ctx context.Context, i int, intended time.Time) done {
	if r.InFlight != nil {
		r.InFlight(1)
		defer r.InFlight(-1)
	}
	a := &r.build.Actions[i]
	class := &r.Classes[a.Class]
	name := fmt.Sprintf("//%s:%s-%d", r.build.Stream, class.Name, i)
	told := &result.Action{
		ActionKey: result.ActionKey{Class: class.Name, Stream: r.build.Stream, Platform: result.PlatformName(class.Platform)}, Name: fmt.Sprintf("%s build %d", name, r.build.Number),
		Intended: intended, Sent: time.Now(), TraceID: r.trace,
	}
	build := ctx
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	request := r.Client.newRequest(class, a, r.depOutputs(a), r.Command)
	ctx = withMetadata(ctx, &repb.RequestMetadata{
		ToolDetails: &repb.ToolDetails{ToolName: toolName}, ToolInvocationId: r.invocation, CorrelatedInvocationsId: r.Run,
		ActionId: request.digest.Hex(), ActionMnemonic: cmp.Or(class.Mnemonic, class.Name), TargetId: name,
	})
	var span trace.Span
	if parent := trace.SpanContextFromContext(ctx); parent.IsSampled() {
		ctx, span = r.Tracer.Start(ctx, name)
		ctx = withTraceparent(ctx)
	}
	l := labelOf(ctx)
	l.trace = r.trace
	err := r.perform(l.on(ctx), i, request, told)
	told.End = time.Now()
	if err != nil {
		told.Outcome = result.ActionError
		told.GRPCode, told.Message = codeName(status.Code(err)), err.Error()
		if build.Err() != nil {
			told.Outcome = result.ActionStopped
		}
	}
	if span != nil {
		if told.Outcome == result.ActionError {
			span.SetStatus(otelcodes.Error, told.Message)
		}
		span.End()
	}
	r.Client.observer.Action(told)
	return done{i, told.Outcome, err}
}

// depOutputs returns the outputs of what an action depends on.
func (r *buildRun) depOutputs(a *workload.Action) []output {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []output
	for _, d := range a.Deps {
		all = append(all, r.outputs[d]...)
	}
	return all
}

// perform does what a build tool does for one action, and fills in what came of it.
func (r *buildRun) perform(ctx context.Context, i int, request *request, told *result.Action) error {
	if !r.SkipCache {
		cached, err := r.Client.ActionResult(ctx, request.digest)
		if err != nil {
			return err
		}
		if cached != nil {
			told.Outcome = result.Cached
			return r.take(ctx, i, cached)
		}
	}
	if err := r.upload(ctx, request); err != nil {
		return err
	}
	e, err := r.Client.Execute(ctx, request.digest, r.SkipCache, r.build.Actions[i].Priority)
	if err != nil {
		return err
	}
	if code := codes.Code(e.Response.GetStatus().GetCode()); code != codes.OK {
		return status.ErrorProto(e.Response.Status)
	}
	executed := e.Response.GetResult()
	if executed == nil {
		r.Client.observer.Violation("wrong_answer", fmt.Sprintf("operation %s ended with status OK and without a result", e.Operation))
		return status.Error(codes.Internal, "the response has no result")
	}
	told.Worker = executed.GetExecutionMetadata().GetWorker()
	want := 0
	if r.build.Actions[i].Fails {
		want = 1
	}
	switch {
	case e.Response.CachedResult:
		told.Outcome = result.Cached
	case executed.ExitCode != 0:
		told.Outcome = result.ActionFailed
		stages(executed.GetExecutionMetadata(), told)
		if int(executed.ExitCode) != want {
			return r.wrongExit(executed, want)
		}
		return nil
	case r.Client.runs.merged(request.digest, executed.GetExecutionMetadata()):
		told.Outcome = result.Merged
		stages(executed.GetExecutionMetadata(), told)
	default:
		told.Outcome = result.Executed
		stages(executed.GetExecutionMetadata(), told)
	}
	// Of one that was under way already, only the rest counts.
	r.took[i] = min(told.Run, time.Since(told.Sent))
	return r.take(ctx, i, executed)
}

// wrongExit says what to do, too: a worker that runs programs makes errors of commands
// that only the sleep runner knows.
func (r *buildRun) wrongExit(executed *repb.ActionResult, want int) error {
	hint := ""
	if r.Command == scenario.Synthetic {
		hint = "; the command is one of the sleep runner's: for workers that run programs set client.command: shell"
	}
	return fmt.Errorf("exit code %d, want %d%s %.200s", executed.ExitCode, want, hint, executed.StderrRaw)
}

// stages reads the times of an execution. A time that isn't given leaves its stage at 0.
func stages(m *repb.ExecutedActionMetadata, told *result.Action) {
	between := func(from, to interface {
		AsTime() time.Time
		IsValid() bool
	}) time.Duration {
		if !from.IsValid() || !to.IsValid() {
			return 0
		}
		return max(0, to.AsTime().Sub(from.AsTime()))
	}
	told.Queue = between(m.GetQueuedTimestamp(), m.GetWorkerStartTimestamp())
	told.Fetch = between(m.GetInputFetchStartTimestamp(), m.GetInputFetchCompletedTimestamp())
	told.Run = between(m.GetExecutionStartTimestamp(), m.GetExecutionCompletedTimestamp())
	told.Upload = between(m.GetOutputUploadStartTimestamp(), m.GetOutputUploadCompletedTimestamp())
}

// upload stores what the server lacks of an action. What this build has asked for before
// isn't asked for again, as in Bazel.
func (r *buildRun) upload(ctx context.Context, request *request) error {
	var unknown []digest.Digest
	r.mu.Lock()
	for d := range request.messages {
		if !r.have[d] && !d.IsEmpty() {
			unknown = append(unknown, d)
		}
	}
	for d := range request.files {
		if !r.have[d] && !d.IsEmpty() {
			unknown = append(unknown, d)
		}
	}
	r.mu.Unlock()
	if err := r.Client.store(ctx, request, unknown); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range unknown {
		r.have[d] = true
	}
	return nil
}

// take notes the outputs of a result and reads those that the user wants.
func (r *buildRun) take(ctx context.Context, i int, executed *repb.ActionResult) error {
	a := &r.build.Actions[i]
	var made []output
	var digests []digest.Digest
	for _, file := range executed.OutputFiles {
		d, err := r.Client.Function().FromProto(file.Digest)
		if err != nil {
			r.Client.observer.Violation("wrong_answer", fmt.Sprintf("output %s of action %d: %v", file.Path, i, err))
			return err
		}
		made = append(made, output{fmt.Sprintf("d%06d", i), d})
		digests = append(digests, d)
	}
	if want := min(1, a.Output.Size); int64(len(made)) != want && executed.ExitCode == 0 {
		r.Client.observer.Violation("incomplete_result", fmt.Sprintf("action %d of %s/%d has %d outputs, want %d", i, r.build.Stream, r.build.Number, len(made), want))
	}
	r.mu.Lock()
	r.outputs[i] = made
	for _, d := range digests {
		r.have[d] = true
	}
	r.mu.Unlock()
	if len(digests) == 0 {
		return nil
	}
	if r.Download == scenario.DownloadAll || r.Download == scenario.DownloadToplevel && r.toplevel[i] {
		for _, err := range r.Client.Check(ctx, digests) {
			if errors.Is(err, cas.ErrNotFound) {
				r.incomplete(i, err.Error())
			}
			if err != nil {
				return fmt.Errorf("read output of action: %w", err)
			}
		}
		return nil
	}
	if !sampled(a.Key.Lo, r.Verify) {
		return nil
	}
	missing, err := r.Client.Missing(ctx, digests)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		r.incomplete(i, missing[0].String()+" is missing")
	}
	return nil
}

// incomplete tells that a result has an output that isn't in the storage.
func (r *buildRun) incomplete(i int, why string) {
	r.Client.observer.Violation("incomplete_result", fmt.Sprintf("action %d of %s/%d: %s", i, r.build.Stream, r.build.Number, why))
}

// sampled tells whether something is in a share of all, by a number that is evenly spread.
func sampled(number uint64, share float64) bool {
	return share >= 1 || float64(number>>11)/(1<<53) < share
}
