package analysis_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// A script is a build as tests write it: times are milliseconds since epoch.
type script struct {
	name    string // of the invocation; the trace id derives from it
	end     int
	actions []build.Action
	extra   []build.Span
	// lost says which spans are missing from the record.
	lost func(*build.Span) bool
}

func (s *script) root() tracecontext.Context {
	return tracecontext.OfInvocation(cmp.Or(s.name, "build"))
}

// action adds one that is received at some time, and returns it to be filled in.
func (s *script) action(mnemonic, target string, received, done int) *build.Action {
	root := s.root()
	s.actions = append(s.actions, build.Action{
		Context: root.Child(semconv.SpanAction, uint64(len(s.actions))), Parent: root.Span, Received: at(received), Done: at(done),
		Attributes: []build.Attribute{
			build.Text(semconv.AttrActionMnemonic, mnemonic), build.Text(semconv.AttrTargetID, target),
			build.Text(semconv.AttrActionDigest, digestOf(target)), build.Text(semconv.AttrInvocationID, cmp.Or(s.name, "build")),
			build.Text(semconv.AttrOperation, "operations/"+target),
		},
	})
	return &s.actions[len(s.actions)-1]
}

// digestOf makes a digest of a target: equal for equal ones.
func digestOf(target string) string {
	id := tracecontext.OfInvocation(target).Trace
	return id.String() + id.String() + "/7"
}

// ran adds an action that went through every stage, without holes between them.
func (s *script) ran(mnemonic, target, worker string, received, leased, started, fetched, executed, uploaded, done int) *build.Action {
	a := s.action(mnemonic, target, received, done)
	a.Attributes = append(a.Attributes, build.Text(semconv.AttrCacheResult, semconv.CacheMiss))
	try := build.Attempt{Queued: at(received), Leased: at(leased), Ended: at(done), Worker: worker, Counts: true}
	if leased > received {
		try.QueueReason = semconv.ReasonBusy
	}
	a.Attempts = append(a.Attempts, try)
	a.Result = result(worker, started, fetched, executed, uploaded)
	return a
}

func result(worker string, started, fetched, executed, uploaded int) *repb.ActionResult {
	stamp := func(ms int) *timestamppb.Timestamp { return timestamppb.New(at(ms)) }
	return &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
		Worker: worker, WorkerStartTimestamp: stamp(started), WorkerCompletedTimestamp: stamp(uploaded),
		InputFetchStartTimestamp: stamp(started), InputFetchCompletedTimestamp: stamp(fetched),
		ExecutionStartTimestamp: stamp(fetched), ExecutionCompletedTimestamp: stamp(executed),
		OutputUploadStartTimestamp: stamp(executed), OutputUploadCompletedTimestamp: stamp(uploaded),
	}}
}

// hit adds an action that the cache answered.
func (s *script) hit(mnemonic, target string, received, done int) *build.Action {
	a := s.action(mnemonic, target, received, done)
	a.CacheCheck = build.Interval{Start: at(received), End: at(done)}
	a.Attributes = append(a.Attributes, build.Text(semconv.AttrCacheResult, semconv.CacheHit))
	a.Link, a.LinkKind = tracecontext.OfInvocation("before"), semconv.LinkCached
	return a
}

// joined adds an action whose work another build had begun.
func (s *script) joined(mnemonic, target string, received, done int) {
	a := s.action(mnemonic, target, received, done)
	a.Joined = at(received)
	a.Attributes = append(a.Attributes, build.Text(semconv.AttrCacheResult, semconv.CacheDeduplicated))
	a.Link, a.LinkKind = tracecontext.OfInvocation("other"), semconv.LinkDeduplicated
}

// tree records the build and returns its tree, which keeps to the rules: tests check
// that, benchmarks have no time to.
func (s *script) tree(t testing.TB) *lifecycle.Tree {
	t.Helper()
	root := build.Span{
		Name: semconv.SpanInvocation, ID: s.root(), Start: at(0), End: at(s.end),
		Attributes: []build.Attribute{build.Text(semconv.AttrInvocationID, cmp.Or(s.name, "build")), build.Text(semconv.AttrToolName, "bazel")},
	}
	spans := append([]build.Span{root}, s.extra...)
	for i := range s.actions {
		spans = build.Spans(&s.actions[i], spans)
	}
	if s.lost != nil {
		spans = slices.DeleteFunc(spans, func(p build.Span) bool { return s.lost(&p) })
	}
	rs := recorded(spans)
	if _, large := t.(*testing.B); !large && s.lost == nil {
		checker := lifecycle.NewChecker(lifecycle.Options{})
		checker.Add(rs)
		for _, v := range checker.Finish().Violations {
			t.Error(v)
		}
	}
	var traces lifecycle.Traces
	traces.Add(rs)
	return lifecycle.Build(traces.Get(s.root().Trace))
}

// recorded returns spans as a file has them.
func recorded(spans []build.Span) *tracepb.ResourceSpans {
	list := make([]*tracepb.Span, len(spans))
	for i := range spans {
		s := &spans[i]
		p := &tracepb.Span{
			TraceId: s.ID.Trace[:], SpanId: s.ID.Span[:], Name: s.Name,
			StartTimeUnixNano: uint64(s.Start.UnixNano()), EndTimeUnixNano: uint64(s.End.UnixNano()),
		}
		if s.Parent != (lifecycle.SpanID{}) {
			p.ParentSpanId = s.Parent[:]
		}
		if s.Error != "" {
			p.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: s.Error}
		}
		if s.Link.Valid() {
			kind := &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s.LinkKind}}
			p.Links = []*tracepb.Span_Link{{TraceId: s.Link.Trace[:], SpanId: s.Link.Span[:],
				Attributes: []*commonpb.KeyValue{{Key: semconv.AttrLinkKind, Value: kind}}}}
		}
		for _, a := range s.Attributes {
			v := &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: a.Text}}
			if a.IsNumber {
				v = &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: a.Number}}
			}
			p.Attributes = append(p.Attributes, &commonpb.KeyValue{Key: a.Key, Value: v})
		}
		list[i] = p
	}
	return &tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: list}}}
}

// ms is a number of milliseconds.
func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// mixed is a build in which everything happens:
//
//	//a  ran at once                        0 … 1000
//	//b  waited for //a's slot              0 … 2000
//	//c  lost its worker and ran again   1000 … 3000
//	//d  was in the cache                2000 … 2010
//	//e  joined another build's work     2000 … 2800
//	//f  ran, and its operation failed   3000 … 3500
//	//g  was given up in the queue       3000 … 3400
//	//h  nothing is known of how it ran  3500 … 3600
func mixed() *script {
	s := &script{name: "mixed", end: 4000}
	a := s.ran("CppCompile", "//a", "w-1", 0, 0, 10, 100, 900, 990, 1000)
	a.Usage = []build.Attribute{
		build.Number(semconv.AttrUserTime, int64(ms(600))), build.Number(semconv.AttrSystemTime, int64(ms(100))),
		build.Number(semconv.AttrMaxRSS, 5<<20), build.Number(semconv.AttrMajorFaults, 3), build.Number(semconv.AttrVoluntarySwitches, 12),
	}
	a.Result.OutputFiles = []*repb.OutputFile{{Digest: &repb.Digest{SizeBytes: 1000}}, {Digest: &repb.Digest{SizeBytes: 2000}}}
	s.ran("CppCompile", "//b", "w-1", 0, 1000, 1010, 1100, 1900, 1990, 2000).Result.ExitCode = 1

	c := s.ran("CppLink", "//c", "w-2", 1000, 2000, 2020, 2100, 2800, 2980, 3000)
	c.Attempts[0].Queued = at(1500)
	c.Attempts = append([]build.Attempt{{Queued: at(1000), Leased: at(1000), Ended: at(1500), Worker: "w-1", RetryReason: "worker_lost"}}, c.Attempts...)

	s.hit("CppLink", "//d", 2000, 2010)
	s.joined("CppLink", "//e", 2000, 2800)

	f := s.ran("TestRunner", "//f", "w-2", 3000, 3000, 3010, 3020, 3400, 3490, 3500)
	f.Error, f.ErrorType = "the result could not be stored", "INTERNAL"
	g := s.action("TestRunner", "//g", 3000, 3400)
	g.Error = "cancelled"
	g.Attempts = []build.Attempt{{Queued: at(3000), Ended: at(3400), QueueReason: semconv.ReasonNoWorker}}
	s.action("TestRunner", "//h", 3500, 3600)

	// A client's span between, and calls below the command of //a.
	execute := build.Worker(s.actions[0].Context, 1).Child(semconv.SpanInputFetch, 0)
	for i := range 3 {
		s.extra = append(s.extra, build.Span{
			Name: "google.bytestream.ByteStream/Read", ID: execute.Child("read", uint64(i)), Parent: execute.Span, Start: at(200 + 10*i), End: at(205 + 12*i),
		})
	}
	client := s.root().Child("client", 0)
	s.extra = append(s.extra, build.Span{Name: "//a", ID: client, Parent: s.root().Span, Start: at(0), End: at(1000)})
	s.actions[0].Parent = client.Span
	return s
}
