package observe

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// DefaultTraces is how many builds leave spans: enough to find a slow one of a hundred,
	// few enough that a week's file is read in seconds.
	DefaultTraces = 300
	// DefaultSpans is how many spans are written before no further build is begun: some
	// forty megabytes.
	DefaultSpans = 250_000
	// batchSpans is how many spans are in a record, as the SDK has them.
	batchSpans = 512
)

// Tool is the name by which a simulated client goes.
const Tool = "weir-sim"

// Names of calls, which a live run's spans bear too.
const (
	executeCall = "build.bazel.remote.execution.v2.Execution/Execute"
	lookupCall  = "build.bazel.remote.execution.v2.ActionCache/GetActionResult"
)

// SpanConfig says which spans are written.
type SpanConfig struct {
	Scenario *scenario.Scenario
	// Base is when virtual time begins. It is after 2001: before that, traces know no times.
	Base time.Time
	// Run is the run's id. Ids of traces follow from it, as those of weir load do.
	Run string
	// Traces is how many builds leave spans at most; 0 is DefaultTraces, below 0 none.
	Traces int
	// Spans is how many spans are written before no further build is begun; 0 is
	// DefaultSpans. Of builds that are so large that Traces of them would have more, fewer
	// are kept.
	Spans int64
}

// Spans writes the spans of builds as a cluster's roles and its clients would, in the form
// of package otlpfile. Of many builds it writes some that are spread evenly over the run.
type Spans struct {
	deaf
	SpanConfig
	platforms []string // by stream and class
	larger    []string // likewise
	offsets   []int    // of streams in platforms
	quotas    []quota
	open      map[buildID]*openBuild
	w         *otlpfile.Writer
	batch     map[string][]*tracepb.Span // by role
	pending   int
	kept, all int
	written   int64
	err       error
}

type buildID struct{ stream, number int }

// openBuild is a build of which spans are written, and which has not ended.
type openBuild struct {
	invocation string
	root       tracecontext.Context
}

// quota is how many builds of a stream are kept, of how many that are expected; 0 if that
// isn't known. Of those that ask to be traced it is the rate.
type quota struct {
	keep, of, kept int
	rate           float64
}

// NewSpans returns an observer that writes to w.
func NewSpans(w io.Writer, c SpanConfig) *Spans {
	if c.Traces == 0 {
		c.Traces = DefaultTraces
	}
	if c.Spans == 0 {
		c.Spans = DefaultSpans
	}
	s := &Spans{SpanConfig: c, open: make(map[buildID]*openBuild), w: otlpfile.NewWriter(w), batch: make(map[string][]*tracepb.Span)}
	for i := range c.Scenario.Demand {
		d := &c.Scenario.Demand[i]
		s.offsets = append(s.offsets, len(s.platforms))
		for j := range d.Classes {
			s.platforms = append(s.platforms, platformText(d.Classes[j].Platform))
			s.larger = append(s.larger, platformText(d.Classes[j].Larger))
		}
		s.quotas = append(s.quotas, quota{of: expected(c.Scenario, d), keep: most(&c, d) / len(c.Scenario.Demand)})
	}
	s.share()
	return s
}

// maxExpected bounds how many arrivals are counted before a run.
const maxExpected = 10_000_000

// expected is how many builds of a stream will begin; 0 if that depends on the run.
func expected(s *scenario.Scenario, d *scenario.Demand) int {
	if d.Arrivals.Clients() > 0 {
		return d.Arrivals.Limit
	}
	next := d.Times(s.Seed)
	for n := 0; ; n++ {
		if at, ok := next(); !ok || at >= s.Duration || n >= maxExpected {
			return n
		}
	}
}

// spansOfAction is how many spans an action has, its client's included, if it has one
// attempt; drawnBefore is how many builds are looked at to see how large they are.
const spansOfAction, drawnBefore = 10, 20

// most is how many builds of a stream there is room for, judged by its first ones.
func most(c *SpanConfig, d *scenario.Demand) int {
	plan, b, actions := d.Plan(c.Scenario.Seed), new(workload.Build), 0
	for i := range drawnBefore {
		plan.Draw(i, b)
		actions += len(b.Actions)
	}
	return max(1, int(c.Spans)/(1+spansOfAction*actions/drawnBefore))
}

// share gives each stream its part of the traces: an even one to each whose builds nobody
// can count before, the rest in proportion to the builds, but none more than it has room
// for.
func (s *Spans) share() {
	left, total := max(0, s.Traces), 0
	for i := range s.quotas {
		q := &s.quotas[i]
		if total += q.of; q.of == 0 {
			q.keep, q.rate = max(0, min(q.keep, s.Traces/len(s.quotas))), 1
			left -= q.keep
		}
	}
	rest := left
	for i := range s.quotas {
		if q := &s.quotas[i]; q.of > 0 {
			q.keep = min(q.keep, left, max(1, int(float64(rest)*float64(q.of)/float64(total)+0.5)))
			left -= q.keep
			if asked := float64(q.of) * s.Scenario.Client.TraceSample; asked > 0 {
				q.rate = min(1, float64(q.keep)/asked)
			}
		}
	}
}

// wants tells whether a build, by its number, is one of those that are kept. They are
// spread evenly, whatever becomes of them.
func (q *quota) wants(number int) bool {
	part := func(n int) int { return int(float64(n) * q.rate) }
	return q.kept < q.keep && (number == 0 || part(number) != part(number-1))
}

// of returns a build if its spans are kept, nil otherwise. Which those are is known once
// the first of its actions ends.
func (s *Spans) of(stream, number int) *openBuild {
	id := buildID{stream, number}
	if b := s.open[id]; b != nil {
		return b
	}
	q := &s.quotas[stream]
	if s.written >= s.SpanConfig.Spans || !q.wants(number) || !s.Scenario.Traced(number) {
		return nil
	}
	b := s.name(stream, number)
	s.open[id] = b
	q.kept++
	s.kept++
	return b
}

// name gives a build its ids.
func (s *Spans) name(stream, number int) *openBuild {
	invocation := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "weir %s %s %d", s.Run, s.Scenario.Demand[stream].Name, number)).String()
	return &openBuild{invocation, tracecontext.OfInvocation(invocation)}
}

// Trace is the id of the trace of a build that is under way, empty if it leaves none.
func (s *Spans) Trace(stream, number int) string {
	if b := s.of(stream, number); b != nil {
		return b.root.Trace.String()
	}
	return ""
}

// Kept is how many builds have left spans, of how many that have ended, and how many spans.
func (s *Spans) Kept() (builds, of int, spans int64) { return s.kept, s.all, s.written }

// latest is the last time that traces know (traces/build); what is after it is then.
var latest = time.Date(2261, 12, 31, 0, 0, 0, 0, time.UTC)

func (s *Spans) at(t des.Time) time.Time {
	if at := s.Base.Add(time.Duration(t)); at.Before(latest) {
		return at
	}
	return latest
}

// Build is of model.Observer.
func (s *Spans) Build(b *model.Build) {
	s.all++
	o := s.of(b.Stream, b.Number)
	if o == nil {
		return
	}
	delete(s.open, buildID{b.Stream, b.Number})
	s.add(Tool, build.Span{
		Name: semconv.SpanInvocation, ID: o.root, Start: s.at(b.Begun), End: s.at(b.End),
		Attributes: []build.Attribute{build.Text(semconv.AttrInvocationID, o.invocation), build.Text(semconv.AttrToolName, Tool)},
	})
}

// clientSpan is what a client has of an action: the span of its own, and those of its calls.
type clientSpan struct{ own, lookup, execute, action tracecontext.Context }

func (b *openBuild) client(index int) clientSpan {
	c := clientSpan{own: b.root.Leaf("client", uint64(index))}
	c.lookup, c.execute = c.own.Leaf("lookup", 0), c.own.Leaf("execute", 0)
	c.action = c.execute.Child(semconv.SpanAction, 0)
	return c
}

// Action is of model.Observer.
func (s *Spans) Action(a *model.Action) {
	b := s.of(a.Stream, a.Build)
	if b == nil {
		return
	}
	d := &s.Scenario.Demand[a.Stream]
	class := &d.Classes[a.Class]
	ids := b.client(a.Index)
	target := fmt.Sprintf("//%s:%s-%d", d.Name, class.Name, a.Index)
	due, end := s.at(a.Due), s.at(a.End)
	tree := &build.Action{
		Context: ids.action, Parent: ids.execute.Span, Received: due, Done: end,
		Attributes: s.attributes(a, b, d, target, cmp.Or(class.Mnemonic, class.Name)),
	}
	code, problem := "OK", ""
	switch a.Ended {
	case model.Stopped:
		code, problem = "CANCELLED", "the build was given up"
	case model.Errored:
		code, problem = "ABORTED", "the scheduler gave it up"
	}
	if code != "OK" {
		tree.ErrorType, tree.Error = code, code+": "+problem
	}
	s.add(Tool, build.Span{Name: target, ID: ids.own, Parent: b.root.Span, Start: due, End: end, Error: problem})
	if !d.SkipCache {
		found := "NOT_FOUND"
		if a.Ended == model.Cached {
			found = "OK"
		}
		s.add(semconv.RoleStorage, call(lookupCall, ids.lookup, ids.own, due, due, found))
	}
	if a.Ended == model.Cached {
		return
	}
	s.add(semconv.RoleExecution, call(executeCall, ids.execute, ids.own, due, end, "OK")) // an error is in the operation
	s.work(a, tree)
	s.add(semconv.RoleExecution, build.Spans(tree, nil)...)
}

// call is a call that a role has served.
func call(name string, id, parent tracecontext.Context, start, end time.Time, code string) build.Span {
	return build.Span{
		Name: name, Kind: build.Server, ID: id, Parent: parent.Span, Start: start, End: end,
		Attributes: []build.Attribute{
			build.Text(semconv.AttrRPCSystem, semconv.RPCSystem), build.Text(semconv.AttrRPCMethod, name), build.Text(semconv.AttrRPCStatusCode, code),
		},
	}
}

func (s *Spans) attributes(a *model.Action, b *openBuild, d *scenario.Demand, target, mnemonic string) []build.Attribute {
	digest := digestOf(a)
	id, _, _ := strings.Cut(digest, "/")
	operation := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "weir %s %d", b.invocation, a.Index)).String()
	cache := semconv.CacheMiss
	switch {
	case a.Task != 0 && !isAsker(a):
		cache = semconv.CacheDeduplicated
	case d.SkipCache:
		cache = semconv.CacheSkipped
	}
	list := []build.Attribute{
		build.Text(semconv.AttrActionDigest, digest), build.Text(semconv.AttrCacheResult, cache),
		build.Text(semconv.AttrOperation, operation), build.Text(semconv.AttrInvocationID, b.invocation), build.Text(semconv.AttrActionID, id),
		build.Text(semconv.AttrActionMnemonic, mnemonic), build.Text(semconv.AttrTargetID, target),
	}
	if d.Instance != "" {
		list = append(list, build.Text(semconv.AttrInstance, d.Instance))
	}
	platforms := s.platforms
	if a.Moved {
		platforms = s.larger
	}
	if platform := platforms[s.offsets[a.Stream]+a.Class]; platform != "" {
		list = append(list, build.Text(semconv.AttrPlatform, platform))
	}
	return list
}

// digestOf stands for an action's digest: that of its key, which says all of it that the
// simulation knows.
func digestOf(a *model.Action) string {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:8], a.Key.Hi)
	binary.BigEndian.PutUint64(key[8:], a.Key.Lo)
	return fmt.Sprintf("%x/%d", sha256.Sum256(key[:]), len(key))
}

// work says who did an action's work, and when.
func (s *Spans) work(a *model.Action, tree *build.Action) {
	if a.Task == 0 {
		return // it was refused, or nothing is known of it any more
	}
	done := a.Ended == model.Executed || a.Ended == model.Merged || a.Ended == model.Failed
	if done {
		tree.Result = s.result(a)
	}
	if !isAsker(a) {
		tree.Joined = tree.Received
		tree.Link = s.name(a.Asker.Stream, a.Asker.Build).client(a.Asker.Index).action
		tree.LinkKind = semconv.LinkDeduplicated
		return
	}
	for _, t := range a.Lost {
		tree.Attempts = append(tree.Attempts, build.Attempt{
			Queued: s.at(t.Queued), Leased: s.at(t.Leased), Ended: s.at(t.Ended), Worker: WorkerName(t.Worker),
			QueueReason: t.Held.String(), RetryReason: t.Reason.String(),
		})
	}
	last := build.Attempt{Queued: s.at(a.Waited), Ended: tree.Done, QueueReason: a.Held.String()}
	switch leased := a.Attempts > len(a.Lost); {
	case done:
		last.Leased, last.Worker, last.Counts = s.at(a.Leased), WorkerName(a.Worker), true
	case leased:
		last.Leased, last.Worker, last.RetryReason = s.at(a.Leased), WorkerName(a.Worker), semconv.EndedCancelled
	case a.Ended == model.Errored && len(a.Lost) > 0:
		return // nothing was waited for any more
	}
	tree.Attempts = append(tree.Attempts, last)
}

// result is what a worker would have reported.
func (s *Spans) result(a *model.Action) *repb.ActionResult {
	stamp := func(t des.Time) *timestamppb.Timestamp { return timestamppb.New(s.at(t)) }
	r := &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
		Worker: WorkerName(a.Worker), QueuedTimestamp: stamp(a.Queued),
		WorkerStartTimestamp: stamp(a.Leased), WorkerCompletedTimestamp: stamp(a.Uploaded),
		InputFetchStartTimestamp: stamp(a.Leased), InputFetchCompletedTimestamp: stamp(a.Fetched),
		ExecutionStartTimestamp: stamp(a.Fetched), ExecutionCompletedTimestamp: stamp(a.Ran),
		OutputUploadStartTimestamp: stamp(a.Ran), OutputUploadCompletedTimestamp: stamp(a.Uploaded),
	}}
	if a.Ended == model.Failed {
		r.ExitCode = 1
	} else {
		r.OutputFiles = []*repb.OutputFile{{Path: "out", Digest: &repb.Digest{SizeBytes: a.OutputBytes}}}
	}
	return r
}

// add adds spans of a role to the record that is written next.
func (s *Spans) add(role string, spans ...build.Span) {
	s.batch[role] = append(s.batch[role], build.OTLP(spans)...)
	s.written += int64(len(spans))
	if s.pending += len(spans); s.pending >= batchSpans {
		s.flush()
	}
}

// roles are who writes spans, in the order in which a record has them.
var roles = [...]string{Tool, semconv.RoleStorage, semconv.RoleExecution}

func (s *Spans) flush() {
	var record []*tracepb.ResourceSpans
	for _, role := range roles {
		if spans := s.batch[role]; len(spans) > 0 {
			record = append(record, &tracepb.ResourceSpans{
				Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text(semconv.AttrServiceName, role), text(semconv.AttrServiceInstanceID, s.Run)}},
				ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: Tool}, Spans: spans}},
			})
			s.batch[role] = nil
		}
	}
	s.pending = 0
	if err := s.w.Write(record); err != nil && s.err == nil {
		s.err = err
	}
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

// Close writes what is left. Spans of builds that haven't ended are without a root.
func (s *Spans) Close() error {
	s.flush()
	return s.err
}
