package bench

import (
	"context"
	"fmt"
	"io"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/traces/tracecontext"
)

// actionsPerWorker is how many Execute calls are under way for each worker: more than
// one, so that a worker finds work when it has completed some.
const actionsPerWorker = 4

// variant is one way to run actions that do nothing.
type variant struct {
	inFlight  int  // Execute calls under way
	cached    bool // the action cache is read and written
	tracing   string
	journaled bool
}

// plain is what the other variants differ from.
var plain = variant{inFlight: 64, tracing: untraced}

func (v variant) String() string {
	return fmt.Sprintf("in-flight=%d/cache=%s/traced=%s/journal=%s", v.inFlight, onOff(v.cached), v.tracing, onOff(v.journaled))
}

func variants() []variant {
	var list []variant
	for _, cached := range []bool{false, true} {
		for _, inFlight := range []int{64, 1000, 4000} {
			list = append(list, variant{inFlight: inFlight, cached: cached, tracing: untraced})
		}
		for _, tracing := range []string{sampled, traced} {
			list = append(list, variant{inFlight: plain.inFlight, cached: cached, tracing: tracing})
		}
		list = append(list, variant{inFlight: plain.inFlight, cached: cached, tracing: untraced, journaled: true})
	}
	return list
}

// BenchmarkExecute runs actions that do nothing, on workers that complete them
// at once. cache=off forbids the action cache to be read and written, traced=yes
// writes every span to a file, traced=1% those of one build of a hundred; journal=on
// keeps the queue in a journal. The part of the floor's actions a second, with as many
// in flight in the same run, is of-floor; by the CPU time of all processes, which
// strays less where others use the machine, it is cpu-of-floor.
//
// Client and workers keep the servers' heap (see wait_test.go): the collections of a
// smaller one were a third of their time with 4,000 in flight.
func BenchmarkExecute(b *testing.B) {
	defer stack.KeepHeapFloor()()
	floors := make(map[int]measured)
	for _, v := range variants() {
		if _, ok := floors[v.inFlight]; !ok {
			floors[v.inFlight] = measured{}
			b.Run(fmt.Sprintf("target=floor/in-flight=%d", v.inFlight), func(b *testing.B) {
				floor := executeOnFloor(b, v.inFlight)
				if b.N > 1 { // else it says nothing yet
					floors[v.inFlight] = floor
				}
			})
		}
		b.Run("target=weir/"+v.String(), func(b *testing.B) {
			ours := benchmarkExecute(b, v)
			if floor := floors[v.inFlight]; floor.rate > 0 {
				b.ReportMetric(ours.rate/floor.rate, "of-floor")
				b.ReportMetric(float64(floor.cpu)/float64(ours.cpu), "cpu-of-floor")
			}
		})
	}
}

// executeOnFloor makes the same calls to the floor, and returns what an action takes.
func executeOnFloor(b *testing.B, inFlight int) measured {
	s := start(b, "floor")
	conns := dial(b, s)
	actions := noops(b, nil, b.N, true)
	return measure(b, "actions/s", 1, []*server{s}, func() {
		parallel(b, b.N, inFlight, func(w, i int) error {
			conn := conns[w%connections]
			if _, err := bots.NewBotsClient(conn).UpdateBotSession(context.Background(), &bots.UpdateBotSessionRequest{
				BotSession: &bots.BotSession{BotId: "b"},
			}); err != nil {
				return err
			}
			_, err := execute(context.Background(), conn, actions[i], true)
			return err
		})
	})
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func benchmarkExecute(b *testing.B, v variant) measured {
	storage := start(b, "memory", "-")
	s := startExecution(b, storage, v)
	startCrew(b, s.conns, max(1, v.inFlight/actionsPerWorker))
	actions := noops(b, storage, b.N, !v.cached)
	before := s.cpu(b)
	m := measure(b, "actions/s", 1, []*server{s.server, storage}, func() { s.run(b, actions) })
	b.ReportMetric(float64((s.cpu(b)-before).Microseconds())/float64(b.N), "execution-µs/op")
	return m
}

// execution is an execution-server and a client of it.
type execution struct {
	*server
	variant
	conns []*grpc.ClientConn
}

// startExecution starts one that ends with the test.
func startExecution(b testing.TB, storage *server, v variant) *execution {
	b.Helper()
	s := &execution{server: start(b, "execution", storage.address, v.tracing, onOff(v.journaled), b.TempDir()), variant: v}
	s.conns = dial(b, s.server)
	return s
}

// actionsOfBuild is how many actions are of one build: clients that build one after
// the other.
const actionsOfBuild = 100

// run executes actions, with as many in flight as the variant says.
func (s *execution) run(b testing.TB, actions []*repb.Digest) {
	contexts := s.contexts(b, len(actions))
	parallel(b, len(actions), s.inFlight, func(w, i int) error {
		_, err := s.execute(contexts[i/actionsOfBuild], w, actions[i])
		return err
	})
}

// execute runs an action to its end, over one of the connections.
func (s *execution) execute(ctx context.Context, conn int, action *repb.Digest) (*repb.ExecuteResponse, error) {
	response, err := execute(ctx, s.conns[conn%connections], action, !s.cached)
	if err == nil && response.GetResult() == nil {
		err = fmt.Errorf("no result: %v", response)
	}
	return response, err
}

// contexts returns those of the builds that n actions are of. Calls come as they would
// from a proxy: with RequestMetadata and, if it traces, with a traceparent that says
// whether the build is sampled.
func (s *execution) contexts(b testing.TB, n int) []context.Context {
	contexts := make([]context.Context, (n+actionsOfBuild-1)/actionsOfBuild)
	for i := range contexts {
		invocation := uuid.NewString()
		m, err := proto.Marshal(&repb.RequestMetadata{
			ToolDetails:      &repb.ToolDetails{ToolName: "bazel", ToolVersion: "9.0.0"},
			ToolInvocationId: invocation, ActionId: "a", ActionMnemonic: "CppCompile", TargetId: "//bench:noop",
		})
		if err != nil {
			b.Fatal(err)
		}
		headers := []string{"build.bazel.remote.execution.v2.requestmetadata-bin", string(m)}
		if s.tracing != untraced {
			root := tracecontext.OfInvocation(invocation)
			root.Sampled = s.tracing == traced || i%sampledBuilds == sampledBuilds/2
			headers = append(headers, tracecontext.Header, root.String())
		}
		contexts[i] = metadata.AppendToOutgoingContext(context.Background(), headers...)
	}
	return contexts
}

// noops makes n different actions and stores them, unless storage is nil.
func noops(b testing.TB, storage *server, n int, noCache bool) []*repb.Digest {
	b.Helper()
	// Those of another call may be in the action cache.
	different := uuid.NewString()
	actions := make([]*repb.Digest, n)
	blobs := make(map[digest.Digest][]byte, 2*n)
	for i := range actions {
		command, commandDigest, err := digest.OfMessage(&repb.Command{Arguments: []string{"/bin/true", different, fmt.Sprint(i)}})
		if err != nil {
			b.Fatal(err)
		}
		action, d, err := digest.OfMessage(&repb.Action{
			CommandDigest: commandDigest.Proto(), InputRootDigest: digest.Empty.Proto(), DoNotCache: noCache,
		})
		if err != nil {
			b.Fatal(err)
		}
		blobs[commandDigest], blobs[d] = command, action
		actions[i] = d.Proto()
	}
	if storage != nil {
		upload(b, storage, blobs)
	}
	return actions
}

// execute runs an action to its end. The response is nil if there was none.
func execute(ctx context.Context, conn *grpc.ClientConn, action *repb.Digest, skip bool) (*repb.ExecuteResponse, error) {
	stream, err := repb.NewExecutionClient(conn).Execute(ctx, &repb.ExecuteRequest{ActionDigest: action, SkipCacheLookup: skip})
	if err != nil {
		return nil, err
	}
	var response *repb.ExecuteResponse
	for {
		op, err := stream.Recv()
		if err == io.EOF {
			return response, nil
		}
		if err != nil {
			return nil, err
		}
		if op.Done {
			response = new(repb.ExecuteResponse)
			if err := op.GetResponse().UnmarshalTo(response); err != nil {
				return nil, err
			}
		}
	}
}
