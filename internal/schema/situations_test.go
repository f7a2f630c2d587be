package schema_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/executionstats"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

// situations are all that a cluster can come into. Each is told of by a line of
// the test's log; none depends on another.
var situations = []struct {
	name  string
	drive func(*driver)
}{
	{"a build, cold and then cached", (*driver).coldAndCached},
	{"a client that knows nothing of traces", (*driver).untracedClient},
	{"two equal actions at a time", (*driver).deduplicated},
	{"no worker, then a busy one", (*driver).waiting},
	{"a command that fails", (*driver).failingCommand},
	{"a command that takes too long", (*driver).timeout},
	{"an action that can't be run", (*driver).missingInputs},
	{"a cancel in the queue", (*driver).cancelledInQueue},
	{"a client that comes back", (*driver).waitExecution},
	{"a result that isn't cached", (*driver).uncached},
	{"a worker that is lost", (*driver).lostWorker},
	{"a result that comes late", (*driver).lateResult},
	{"a result with everything", (*driver).fullResult},
	{"clocks that differ", (*driver).skewedClock},
	{"metadata that contradicts itself", (*driver).invalidMetadata},
	{"strangers at the door", (*driver).strangers},
}

// Cold: the client looks for blobs, uploads what is missing and executes.
// Cached: it asks the action cache itself, or executes all the same.
func (d *driver) coldAndCached() {
	action := clustertest.Action{
		Script: "tr a-z A-Z <in/00.txt >out.txt; mkdir tree; echo leaf >tree/leaf; echo to stdout; echo to stderr >&2",
		Inputs: make(map[string]string), Outputs: []string{"out.txt", "tree"}, Platform: []string{realPool},
	}
	for i := range 12 { // more than casd copies: they are mounted, where FUSE works
		action.Inputs[fmt.Sprintf("%02d.txt", i)] = fmt.Sprintf("file %d", i)
	}
	d.build(func(ctx context.Context) {
		at, blobs := action.Blobs(d)
		all := slices.Collect(func(yield func(digest.Digest) bool) {
			for blob := range blobs {
				if !yield(blob) {
					return
				}
			}
		})
		missing, err := d.client.Missing(ctx, all, nil)
		if err != nil || len(missing) != len(all) {
			d.Fatalf("%d of %d blobs are missing (%v), want all", len(missing), len(all), err)
		}
		response := d.run(as(ctx, uuid.NewString()), action)
		d.want(response, codes.OK, 0)
		if n := len(response.Result.OutputFiles) + len(response.Result.OutputDirectories); n != 2 {
			d.Errorf("%d outputs, want 2", n)
		}
		if _, err := d.client.ActionResult(ctx, at); err != nil {
			d.Error(err)
		}
		output, err := digest.FromProto(response.Result.OutputFiles[0].Digest)
		if err != nil {
			d.Fatal(err)
		}
		if data, err := d.client.ReadBlob(ctx, output); err != nil || string(data) != "FILE 0" {
			d.Errorf("the output is %q (%v)", data, err)
		}
	})
	d.build(func(ctx context.Context) {
		if response := d.run(ctx, action); !response.CachedResult {
			d.Error("the result is not the cached one")
		}
	})
}

// The proxy writes the root of its trace.
func (d *driver) untracedClient() {
	recorder, err := telemetry.New(d.Context(), telemetry.Config{Role: "untraced"})
	if err != nil {
		d.Fatal(err)
	}
	defer recorder.Shutdown(context.Background())
	client := d.client
	defer func() { d.client = client }()
	d.client = d.cluster.Dial(recorder)
	d.want(d.run(as(d.Context(), uuid.NewString()), clustertest.Action{Script: "echo untraced", Platform: []string{realPool}}), codes.OK, 0)
}

func (d *driver) deduplicated() {
	d.build(func(ctx context.Context) {
		action := d.upload(ctx, d.action("deduplicated"))
		leader, follower := d.send(ctx, action).queued(), d.send(ctx, action).queued()
		d.complete(d.bot("deduplicated"), d.result())
		d.want(leader.end(), codes.OK, 0)
		d.want(follower.end(), codes.OK, 0)
		// The work of a traced build is what a cached result links to.
		if response := d.send(ctx, action).end(); !response.CachedResult {
			d.Error("the result is not the cached one")
		}
	})
}

func (d *driver) waiting() {
	d.build(func(ctx context.Context) {
		first := d.send(ctx, d.upload(ctx, d.action("waiting"))).queued()
		bot := d.bot("waiting")
		lease := bot.Take()
		second := d.action("waiting")
		second.Script += " again"
		other := d.send(ctx, d.upload(ctx, second)).queued()
		if err := bot.Complete(lease, d.result()); err != nil {
			d.Fatal(err)
		}
		d.complete(bot, d.result())
		d.want(first.end(), codes.OK, 0)
		d.want(other.end(), codes.OK, 0)
	})
}

func (d *driver) failingCommand() {
	d.build(func(ctx context.Context) {
		d.want(d.run(ctx, clustertest.Action{Script: "echo no >&2; exit 3", Platform: []string{realPool}}), codes.OK, 3)
	})
}

func (d *driver) timeout() {
	d.build(func(ctx context.Context) {
		response := d.run(ctx, clustertest.Action{Script: "sleep 1000", Timeout: 50 * time.Millisecond, Platform: []string{realPool}})
		if got := codes.Code(response.Status.GetCode()); got != codes.DeadlineExceeded {
			d.Errorf("got %v, want DEADLINE_EXCEEDED", response)
		}
	})
}

// The action is there, its command isn't.
func (d *driver) missingInputs() {
	d.build(func(ctx context.Context) {
		action, blobs := d.action("missing").Blobs(d)
		if err := d.client.WriteBlobs(ctx, map[digest.Digest][]byte{action: blobs[action]}); err != nil {
			d.Fatal(err)
		}
		response := d.send(ctx, action).end()
		if got := codes.Code(response.Status.GetCode()); got != codes.FailedPrecondition {
			d.Errorf("got %v, want FAILED_PRECONDITION", response)
		}
	})
}

func (d *driver) cancelledInQueue() {
	d.build(func(ctx context.Context) {
		o := d.send(ctx, d.upload(ctx, d.action("cancelled"))).queued()
		if _, err := longrunningpb.NewOperationsClient(d.client.Conn()).CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: o.name}); err != nil {
			d.Fatal(err)
		}
		d.want(o.end(), codes.Canceled, 0)
	})
}

func (d *driver) waitExecution() {
	d.build(func(ctx context.Context) {
		leaving, leave := context.WithCancel(ctx)
		o := d.send(leaving, d.upload(ctx, d.action("wait"))).queued()
		stream, err := repb.NewExecutionClient(d.client.Conn()).WaitExecution(ctx, &repb.WaitExecutionRequest{Name: o.name})
		if err != nil {
			d.Fatal(err)
		}
		back := (&operation{d: d, stream: stream}).queued()
		leave()
		d.complete(d.bot("wait"), d.result())
		d.want(back.end(), codes.OK, 0)
	})
}

func (d *driver) uncached() {
	d.build(func(ctx context.Context) {
		action := d.action("uncached")
		action.NoCache = true
		at := d.upload(ctx, action)
		bot := d.bot("uncached")
		for range 2 {
			o := d.send(ctx, at, skipLookup)
			d.complete(bot, d.result())
			if response := o.end(); response.CachedResult {
				d.Error("the result is a cached one")
			}
		}
	})
}

// Another session of the same bot replaces the first, which loses what it held.
func (d *driver) lostWorker() {
	d.build(func(ctx context.Context) {
		o := d.send(ctx, d.upload(ctx, d.action("lost"))).queued()
		d.bot("lost").Take()
		d.complete(d.bot("lost"), d.result())
		d.want(o.end(), codes.OK, 0)
	})
}

// The first session has a result after all, while the second is at it again.
func (d *driver) lateResult() {
	d.build(func(ctx context.Context) {
		o := d.send(ctx, d.upload(ctx, d.action("late"))).queued()
		first := d.bot("late")
		lease := first.Take()
		d.bot("late").Take()
		if err := first.Complete(lease, d.result()); status.Code(err) != codes.NotFound {
			d.Errorf("a session that was replaced is told %v, want NOT_FOUND", err)
		}
		d.want(o.end(), codes.OK, 0)
	})
}

// The result has each thing that a worker may tell: times of all stages with
// gaps between them, outputs, and what the command cost.
func (d *driver) fullResult() {
	d.build(func(ctx context.Context) {
		stdout := d.store(ctx, []byte("out"))
		stats, err := anypb.New(&executionstats.ExecutionStatistics{CommandRusage: &executionstats.ExecutionStatistics_ProcessResourceUsage{
			Utime: durationpb.New(time.Second), Stime: durationpb.New(time.Millisecond),
			Maxrss: 1000, Minflt: 2, Majflt: 3, Inblock: 4, Oublock: 5, Nvcsw: 6, Nivcsw: 7,
		}})
		if err != nil {
			d.Fatal(err)
		}
		data, at, err := digest.OfMessage(stats)
		if err != nil {
			d.Fatal(err)
		}
		if err := d.client.WriteBlob(ctx, at, data); err != nil {
			d.Fatal(err)
		}
		auxiliary, err := anypb.New(at.Proto())
		if err != nil {
			d.Fatal(err)
		}
		o := d.send(ctx, d.upload(ctx, d.action("full"))).queued()
		bot := d.bot("full")
		lease := bot.Take()
		result := d.result()
		result.StdoutDigest = stdout
		result.StderrRaw = []byte("err")
		result.OutputFiles = []*repb.OutputFile{{Path: "out", Digest: stdout}}
		result.ExecutionMetadata.AuxiliaryMetadata = []*anypb.Any{auxiliary}
		if err := bot.Complete(lease, result); err != nil {
			d.Fatal(err)
		}
		d.want(o.end(), codes.OK, 0)
	})
}

// One worker's clock is ahead. Another worker says that it has worked for longer
// than the server has waited.
func (d *driver) skewedClock() {
	d.report("ahead", func(m *repb.ExecutedActionMetadata) {
		for _, t := range timestamps(m) {
			*t = timestamppb.New((*t).AsTime().Add(3 * time.Second))
		}
	})
	d.report("longer", func(m *repb.ExecutedActionMetadata) {
		for i, t := range timestamps(m) {
			*t = timestamppb.New((*t).AsTime().Add(time.Duration(i-4) * time.Minute))
		}
	})
}

func (d *driver) invalidMetadata() {
	d.report("reversed", func(m *repb.ExecutedActionMetadata) {
		m.ExecutionStartTimestamp, m.ExecutionCompletedTimestamp = m.ExecutionCompletedTimestamp, m.ExecutionStartTimestamp
	})
	d.report("incomplete", func(m *repb.ExecutedActionMetadata) { m.WorkerCompletedTimestamp = nil })
}

// report runs an action whose worker reports changed metadata.
func (d *driver) report(name string, change func(*repb.ExecutedActionMetadata)) {
	d.build(func(ctx context.Context) {
		o := d.send(ctx, d.upload(ctx, d.action(name))).queued()
		bot := d.bot(name)
		lease := bot.Take()
		result := d.result()
		change(result.ExecutionMetadata)
		if err := bot.Complete(lease, result); err != nil {
			d.Fatal(err)
		}
		d.want(o.end(), codes.OK, 0)
	})
}

// A worker without a token, one with a wrong one, and a client that calls what
// there isn't.
func (d *driver) strangers() {
	if _, err := d.cluster.TryBot("stranger", ""); status.Code(err) != codes.Unauthenticated {
		d.Errorf("a worker without a token is told %v, want UNAUTHENTICATED", err)
	}
	bad := d.token + ".bad"
	d.write(bad, []byte("bad"))
	recorder := d.cluster.Recorder(semconv.RoleWorker)
	role, err := stack.NewWorker(stack.Worker{
		BotID: "stranger", Instance: instance, Bots: stack.Remote{URL: "grpc://" + d.cluster.Up.Bots, AccessToken: bad},
		CAS: stack.Remote{URL: "grpc://" + d.cluster.Up.Casd}, Runner: "/bin/true", Slots: 1, WorkDir: d.TempDir(),
	}, recorder)
	if err != nil {
		d.Fatal(err)
	}
	ctx, stop := context.WithCancel(d.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := role.Run(ctx); err != nil {
			d.Error(err)
		}
	})
	d.eventually("a worker with a bad token is refused", func() bool {
		families, err := recorder.Registry.Gather()
		if err != nil {
			d.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == semconv.WorkerPollErrors.Name {
				return true
			}
		}
		return false
	})
	stop()
	running.Wait()

	client, err := remote.Dial(remote.Config{URL: "grpc://" + d.cluster.Up.Client})
	if err != nil {
		d.Fatal(err)
	}
	defer client.Close()
	err = client.Conn().Invoke(d.Context(), "/no.such.Service/NoSuchMethod", new(repb.Digest), new(repb.Digest), grpc.WaitForReady(true))
	if status.Code(err) != codes.Unimplemented {
		d.Errorf("a call of no method is answered %v, want UNIMPLEMENTED", err)
	}
}

// action is one that only the bots of a situation run.
func (d *driver) action(name string) clustertest.Action {
	return clustertest.Action{Script: "true " + name, Platform: []string{pool + strings.Fields(name)[0]}}
}

func (d *driver) store(ctx context.Context, data []byte) *repb.Digest {
	d.Helper()
	at := digest.Of(data)
	if err := d.client.WriteBlob(ctx, at, data); err != nil {
		d.Fatal(err)
	}
	return at.Proto()
}

// result is what a good worker reports now: its times are after the lease's offer
// and, since they are some nanoseconds in all, before the report's arrival.
func (d *driver) result() *repb.ActionResult {
	metadata := &repb.ExecutedActionMetadata{Worker: "bot"}
	at := time.Now()
	for _, t := range timestamps(metadata) {
		at = at.Add(123 * time.Nanosecond)
		*t = timestamppb.New(at)
	}
	return &repb.ActionResult{ExecutionMetadata: metadata}
}

// timestamps returns the worker's timestamps in the order of what they time.
func timestamps(m *repb.ExecutedActionMetadata) []**timestamppb.Timestamp {
	return []**timestamppb.Timestamp{
		&m.WorkerStartTimestamp, &m.InputFetchStartTimestamp, &m.InputFetchCompletedTimestamp, &m.ExecutionStartTimestamp,
		&m.ExecutionCompletedTimestamp, &m.OutputUploadStartTimestamp, &m.OutputUploadCompletedTimestamp, &m.WorkerCompletedTimestamp,
	}
}
