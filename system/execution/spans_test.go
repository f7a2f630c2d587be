package execution_test

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/executionstats"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// as makes calls part of a client's trace.
func as(ctx context.Context, parent tracecontext.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, tracecontext.Header, parent.String())
}

// traces flushes the cluster and returns its traces, which must be sound.
func (c *cluster) traces(clients ...tracecontext.Context) *lifecycle.Traces {
	c.t.Helper()
	c.flush()
	checker := lifecycle.NewChecker(lifecycle.Options{RemoteParents: clients, ClientRoots: true})
	traces := new(lifecycle.Traces)
	for spans, err := range otlpfile.Read(bytes.NewReader(c.spans.data)) {
		if err != nil {
			c.t.Fatal(err)
		}
		checker.Add(spans)
		traces.Add(spans)
	}
	for _, v := range checker.Finish().Violations {
		c.t.Error(v)
	}
	return traces
}

func actions(t *testing.T, traces *lifecycle.Traces, of tracecontext.Context) []*lifecycle.Node {
	t.Helper()
	trace := traces.Get(of.Trace)
	if trace == nil {
		t.Fatalf("there is no trace %v", of.Trace)
	}
	return lifecycle.Build(trace).Actions()
}

func TestSpansCarryTheMetadataAndTheWorkersContext(t *testing.T) {
	c := start(t, queue.Config{})
	client := tracecontext.OfInvocation("8f0e52ab-1d2c-4b5f-9a7c-3d4e5f607182")
	s := c.executeIn(as(t.Context(), client), c.upload("a"))
	s.until(queued)
	b := c.bot("one")
	l := b.take()
	offered := b.trailer.Get(tracecontext.LeasePrefix + l.Id)
	// Some microseconds in all: the call that reports them takes longer.
	at := time.Now()
	next := func() *timestamppb.Timestamp {
		at = at.Add(123 * time.Nanosecond)
		return timestamppb.New(at)
	}
	result := &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
		Worker: "host-7", WorkerStartTimestamp: next(), InputFetchStartTimestamp: next(), InputFetchCompletedTimestamp: next(),
		ExecutionStartTimestamp: next(), ExecutionCompletedTimestamp: next(), OutputUploadStartTimestamp: next(),
		OutputUploadCompletedTimestamp: next(), WorkerCompletedTimestamp: next(),
	}}
	b.poll(briefly, completed(t, l, result, nil))
	response := s.until(completedS)
	list := actions(t, c.traces(client), client)
	if len(list) != 1 {
		t.Fatalf("got %d actions, want 1", len(list))
	}
	for _, v := range lifecycle.CheckMetadata(list[0], response.Result.ExecutionMetadata) {
		t.Error(v)
	}
	for _, stage := range list[0].Children {
		if stage.Span.Name != semconv.SpanWorker {
			continue
		}
		want := tracecontext.Context{Trace: client.Trace, Span: stage.Span.ID, Sampled: true}.String()
		if len(offered) != 1 || offered[0] != want {
			t.Errorf("the lease's trailer was %v, want the worker span %s", offered, want)
		}
		if got := stage.Span.Attr(semconv.AttrWorker); got != "one" {
			t.Errorf("worker is %q, want one", got)
		}
	}
}

func TestRetriesAreSiblingAttempts(t *testing.T) {
	c := start(t, queue.Config{})
	client := tracecontext.OfInvocation("retry")
	s := c.executeIn(as(t.Context(), client), c.upload("a"))
	s.until(queued)
	c.bot("one").take()
	b := c.bot("one") // replaces the session, which loses the lease
	b.poll(briefly, done(t, b.take(), 0))
	s.until(completedS)
	var names []string
	for _, stage := range actions(t, c.traces(client), client)[0].Children {
		if strings.Contains(stage.Span.Name, "/") {
			continue // an RPC
		}
		names = append(names, stage.Span.Name)
		if reason := stage.Span.Attr(semconv.AttrRetryReason); stage.Span.Failed != (reason == "worker_left") {
			t.Errorf("%s failed: %v, for %q", stage.Span.Name, stage.Span.Failed, reason)
		}
	}
	want := []string{"load", "queued", "worker", "queued", "worker", "publish"}
	if len(names) != len(want) {
		t.Fatalf("got stages %v, want %v", names, want)
	}
	for i := range want {
		if names[i] != want[i] {
			t.Fatalf("got stages %v, want %v", names, want)
		}
	}
}

// Deduplicated and cached operations have no stages of work but a link to them.
func TestSharedAndCachedOperationsLinkToTheWork(t *testing.T) {
	c := start(t, queue.Config{})
	leader, follower, later := tracecontext.OfInvocation("leader"), tracecontext.OfInvocation("follower"), tracecontext.OfInvocation("later")
	action := c.upload("a")
	first := c.executeIn(as(t.Context(), leader), action, lookup)
	first.until(queued)
	second := c.executeIn(as(t.Context(), follower), action, lookup)
	second.until(queued)
	b := c.bot("one")
	b.poll(briefly, done(t, b.take(), 0))
	first.until(completedS)
	second.until(completedS)
	c.executeIn(as(t.Context(), later), action, lookup).until(completedS)

	traces := c.traces(leader, follower, later)
	work := actions(t, traces, leader)[0]
	links := linksOf(t, c.spans.data)
	for _, test := range []struct {
		client tracecontext.Context
		cache  string
		kind   string
		span   tracecontext.SpanID
	}{
		{follower, semconv.CacheDeduplicated, semconv.LinkDeduplicated, work.Span.ID},
		{later, semconv.CacheHit, semconv.LinkCached, workerOf(t, work)},
	} {
		got := actions(t, traces, test.client)[0]
		if cache := got.Span.Attr(semconv.AttrCacheResult); cache != test.cache {
			t.Errorf("cache result is %q, want %q", cache, test.cache)
		}
		if link := links[got.Span.ID]; link != (linkTo{leader.Trace, test.span, test.kind}) {
			t.Errorf("%s operation links to %+v, want span %v of trace %v", test.kind, link, test.span, leader.Trace)
		}
	}
}

func workerOf(t *testing.T, action *lifecycle.Node) tracecontext.SpanID {
	t.Helper()
	for _, stage := range action.Children {
		if stage.Span.Name == semconv.SpanWorker {
			return stage.Span.ID
		}
	}
	t.Fatal("the action has no worker span")
	return tracecontext.SpanID{}
}

type linkTo struct {
	trace tracecontext.TraceID
	span  tracecontext.SpanID
	kind  string
}

// linksOf returns the one link of each span that has one.
func linksOf(t *testing.T, data []byte) map[tracecontext.SpanID]linkTo {
	t.Helper()
	links := make(map[tracecontext.SpanID]linkTo)
	for resource, err := range otlpfile.Read(bytes.NewReader(data)) {
		if err != nil {
			t.Fatal(err)
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				if len(span.Links) == 1 {
					l := span.Links[0]
					links[tracecontext.SpanID(span.SpanId)] = linkTo{
						tracecontext.TraceID(l.TraceId), tracecontext.SpanID(l.SpanId), l.Attributes[0].Value.GetStringValue(),
					}
				}
			}
		}
	}
	return links
}

// The leader is cancelled, others still want the work: its trace has all of it.
func TestCancelledLeaderKeepsTheWorkInItsTrace(t *testing.T) {
	c := start(t, queue.Config{})
	leader, follower := tracecontext.OfInvocation("leader"), tracecontext.OfInvocation("follower")
	action := c.upload("a")
	first := c.executeIn(as(t.Context(), leader), action)
	first.until(queued)
	second := c.executeIn(as(t.Context(), follower), action)
	second.until(queued)
	b := c.bot("one")
	l := b.take()
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: first.name}); err != nil {
		t.Fatal(err)
	}
	first.until(completedS)
	b.poll(briefly, done(t, l, 0))
	second.until(completedS)
	got := actions(t, c.traces(leader, follower), leader)[0]
	if !got.Span.Failed {
		t.Error("the cancelled operation's span isn't marked as failed")
	}
	workerOf(t, got)
}

// Without a traceparent the trace is the invocation's, here too.
func TestDirectClientIsTracedByItsInvocation(t *testing.T) {
	c := start(t, queue.Config{})
	id := "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"
	data, _, err := digest.OfMessage(&repb.RequestMetadata{ToolInvocationId: id, ActionMnemonic: "Genrule", TargetId: "//a:b"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "build.bazel.remote.execution.v2.requestmetadata-bin", string(data))
	s := c.executeIn(ctx, c.upload("a"))
	s.until(queued)
	b := c.bot("one")
	b.poll(briefly, done(t, b.take(), 0))
	s.until(completedS)
	root := tracecontext.OfInvocation(id)
	got := actions(t, c.traces(root), root)
	if len(got) != 1 || got[0].Span.Attr(semconv.AttrActionMnemonic) != "Genrule" || got[0].Span.Attr(semconv.AttrTargetID) != "//a:b" {
		t.Errorf("got actions %+v, want one Genrule of //a:b", got)
	}
}

// What is under way when the server stops still has its spans.
func TestStoppedServerTellsOfWhatWasUnderWay(t *testing.T) {
	c := start(t, queue.Config{})
	client := tracecontext.OfInvocation("stopped")
	s := c.executeIn(as(t.Context(), client), c.upload("a"))
	s.until(queued)
	c.bot("one").take()
	s.until(executing)
	got := actions(t, c.traces(client), client)
	if len(got) != 1 || !got[0].Span.Failed {
		t.Fatalf("got actions %+v, want one that failed", got)
	}
	workerOf(t, got[0])
}

// The result of an attempt that had been given up counts; the attempt made since
// stays in the trace, with what its worker did.
func TestLateResultKeepsBothAttempts(t *testing.T) {
	c := start(t, queue.Config{SessionTimeout: 1500 * time.Millisecond})
	client := tracecontext.OfInvocation("late")
	s := c.executeIn(as(t.Context(), client), c.upload("a"))
	s.until(queued)
	late := c.bot("late")
	l := late.take()
	s.until(executing)
	s.until(queued) // its session has expired
	c.bot("second").take()
	at := timestamppb.New(time.Now())
	result := &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{WorkerStartTimestamp: at, WorkerCompletedTimestamp: at}}
	_, err := late.update(patiently, completed(t, l, result, nil))
	wantCode(t, err, codes.NotFound)
	response := s.until(completedS)
	got := actions(t, c.traces(client), client)[0]
	for _, v := range lifecycle.CheckMetadata(got, response.Result.ExecutionMetadata) {
		t.Error(v)
	}
	var workers []string
	for _, stage := range got.Children {
		if stage.Span.Name == semconv.SpanWorker {
			workers = append(workers, stage.Span.Attr(semconv.AttrWorker))
		}
	}
	if len(workers) != 2 {
		t.Errorf("got attempts by %v, want one by each", workers)
	}
}

// A cancelled leader's trace has the work as its metadata tells it.
func TestCancelledLeaderHasTheStagesOfTheWork(t *testing.T) {
	c := start(t, queue.Config{})
	leader := tracecontext.OfInvocation("leader")
	action := c.upload("a")
	first := c.executeIn(as(t.Context(), leader), action)
	first.until(queued)
	second := c.execute(action)
	second.until(queued)
	b := c.bot("one")
	l := b.take()
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: first.name}); err != nil {
		t.Fatal(err)
	}
	first.until(completedS)
	at := timestamppb.New(time.Now())
	result := &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
		WorkerStartTimestamp: at, ExecutionStartTimestamp: at, ExecutionCompletedTimestamp: at, WorkerCompletedTimestamp: at,
	}}
	b.poll(briefly, completed(t, l, result, nil))
	response := second.until(completedS)
	for _, v := range lifecycle.CheckMetadata(actions(t, c.traces(leader), leader)[0], response.Result.ExecutionMetadata) {
		t.Error(v)
	}
}

// At the end even a leader that was cancelled, whose work goes on for others, has
// its spans.
func TestStoppedServerTellsOfCancelledLeaders(t *testing.T) {
	c := start(t, queue.Config{})
	leader := tracecontext.OfInvocation("leader")
	action := c.upload("a")
	first := c.executeIn(as(t.Context(), leader), action)
	first.until(queued)
	second := c.execute(action)
	second.until(queued)
	c.bot("one").take()
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: first.name}); err != nil {
		t.Fatal(err)
	}
	first.until(completedS)
	workerOf(t, actions(t, c.traces(leader), leader)[0])
}

// stuckCache is an action cache that takes no results until it is told to.
type stuckCache struct {
	actioncache.Cache
	take chan struct{}
}

func (c *stuckCache) Put(ctx context.Context, d digest.Digest, result *repb.ActionResult) error {
	<-c.take
	return c.Cache.Put(ctx, d, result)
}

// What a command used is on its span even if the server that was told of it died before
// the result was published, and whether the next one has it of a step or of a snapshot.
func TestCommandsUseOutlivesTheServer(t *testing.T) {
	stuck := &stuckCache{take: make(chan struct{})}
	c := startWith(t, queue.Config{}, func(ac actioncache.Cache) actioncache.Cache {
		stuck.Cache = ac
		return stuck
	}, journaled(filepath.Join(t.TempDir(), "journal")))
	client := tracecontext.OfInvocation("use")
	s := c.executeIn(as(t.Context(), client), c.upload("a"))
	s.until(queued)
	b := c.bot("one")
	l := b.take()
	record, err := structpb.NewStruct(map[string]any{semconv.AttrUserTime: 7e6})
	if err != nil {
		t.Fatal(err)
	}
	now := timestamppb.Now()
	b.poll(briefly, completed(t, l, &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
		WorkerStartTimestamp: now, ExecutionStartTimestamp: now, ExecutionCompletedTimestamp: now, WorkerCompletedTimestamp: now,
		AuxiliaryMetadata: []*anypb.Any{pack(t, record)},
	}}, nil))
	second := c.after(c.folder, queue.Config{})
	if err := second.server.Snapshot(); err != nil {
		t.Fatal(err)
	}
	third := second.after(second.folder, queue.Config{})
	close(stuck.take)
	for what, next := range map[string]*cluster{"steps": second, "a snapshot": third} {
		next.wait(s.name).until(completedS)
		if got := used(next, client); got != 7e6 {
			t.Errorf("from %s: the command used %d ns, want 7e6", what, got)
		}
	}
}

// What a command used is on its span, as our runner tells it and as BuildBox's does,
// of commands that fail too. Our record is no part of the result that clients get.
func TestCommandsUseIsOnItsSpan(t *testing.T) {
	ours := func(*cluster) *anypb.Any {
		record, err := structpb.NewStruct(map[string]any{semconv.AttrUserTime: 7e6})
		if err != nil {
			t.Fatal(err)
		}
		return pack(t, record)
	}
	buildBox := func(c *cluster) *anypb.Any {
		statistics := pack(t, &executionstats.ExecutionStatistics{CommandRusage: &executionstats.ExecutionStatistics_ProcessResourceUsage{
			Utime: durationpb.New(7 * time.Millisecond), Maxrss: 100,
		}})
		data, d := message(t, statistics)
		if err := c.blobs.WriteBlobs(t.Context(), map[digest.Digest][]byte{d: data}); err != nil {
			t.Fatal(err)
		}
		return pack(t, d.Proto())
	}
	missing := func(*cluster) *anypb.Any {
		_, d := message(t, &repb.Command{Arguments: []string{"nowhere"}})
		return pack(t, d.Proto())
	}
	for _, c := range []struct {
		name     string
		entry    func(*cluster) *anypb.Any
		exitCode int32
		want     int64
		entries  int // of the client's result: the origin's included
	}{
		{"ours", ours, 0, 7e6, 1}, {"ours, failed", ours, 3, 7e6, 1},
		{"BuildBox's", buildBox, 0, 7e6, 2}, {"BuildBox's, failed", buildBox, 3, 7e6, 2},
		{"a blob that isn't there", missing, 0, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := start(t, queue.Config{})
			client := tracecontext.OfInvocation("use")
			s := cluster.executeIn(as(t.Context(), client), cluster.upload("a"))
			s.until(queued)
			b := cluster.bot("one")
			l := b.take()
			now := timestamppb.Now()
			result := &repb.ActionResult{ExitCode: c.exitCode, ExecutionMetadata: &repb.ExecutedActionMetadata{
				WorkerStartTimestamp: now, ExecutionStartTimestamp: now, ExecutionCompletedTimestamp: now, WorkerCompletedTimestamp: now,
				AuxiliaryMetadata: []*anypb.Any{c.entry(cluster)},
			}}
			b.poll(briefly, completed(t, l, result, nil))
			response := s.until(completedS)
			if n := len(response.Result.ExecutionMetadata.AuxiliaryMetadata); n != c.entries {
				t.Errorf("the client's result has %d entries of auxiliary metadata, want %d", n, c.entries)
			}
			if got := used(cluster, client); got != c.want {
				t.Errorf("the command used %d ns, want %d", got, c.want)
			}
		})
	}
}

// used is the time that the command of a trace's one action used, by its span.
func used(c *cluster, client tracecontext.Context) (nanoseconds int64) {
	for node := range lifecycle.Build(c.traces(client).Get(client.Trace)).All() {
		if node.Span.Name == semconv.SpanExecute {
			nanoseconds = node.Span.IntAttr(semconv.AttrUserTime)
		}
	}
	return nanoseconds
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	packed, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// The reason of a wait is that of its beginning.
func TestReasonOfTheWait(t *testing.T) {
	c := start(t, policy(t, "tenant=fair task=priority"))
	client := tracecontext.OfInvocation("reasons")
	urgent := func(priority int32) func(*repb.ExecuteRequest) {
		return func(r *repb.ExecuteRequest) { r.ExecutionPolicy = &repb.ExecutionPolicy{Priority: priority} }
	}
	execute := func(word string, priority int32) *stream {
		t.Helper()
		s := c.executeIn(as(t.Context(), client), c.upload(word), urgent(priority))
		s.until(queued)
		return s
	}
	streams := []*stream{execute("before any worker", 0)}
	if _, err := c.admin().Drain(t.Context(), &admin.DrainRequest{Which: &admin.DrainRequest_Property{Property: &admin.Property{Key: "drained", Value: "yes"}}}); err != nil {
		t.Fatal(err)
	}
	c.bot("drained", "drained", "yes")
	streams = append(streams, execute("drained", 0))
	b := c.bot("one")
	l := b.take()
	streams = append(streams, execute("busy", 0), execute("less urgent", 9))
	for range streams[1:] {
		l = b.take(done(t, l, 0))
	}
	b.poll(briefly, done(t, l, 0))
	for _, s := range streams {
		s.until(completedS)
	}
	got := make(map[string]int)
	for _, action := range actions(t, c.traces(client), client) {
		for _, stage := range action.Children {
			if stage.Span.Name == semconv.SpanQueued {
				got[stage.Span.Attr(semconv.AttrQueueReason)]++
			}
		}
	}
	want := map[string]int{semconv.ReasonNoWorker: 1, semconv.ReasonDrained: 1, semconv.ReasonBusy: 1, semconv.ReasonPriority: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons, -want +got:\n%s", diff)
	}
}
