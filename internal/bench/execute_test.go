package bench

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	spb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/traces/tracecontext"
)

// inFlight is how many Execute calls are under way. There are fewer workers, so
// that one finds work when it has completed some.
const (
	inFlight    = 64
	fakeWorkers = 16
)

// BenchmarkExecute runs actions that do nothing, on workers that complete them
// at once. cache=off forbids the action cache to be read and written, traced=yes
// writes every span to a file, traced=1% those of one build of a hundred.
func BenchmarkExecute(b *testing.B) {
	b.Run("target=floor", func(b *testing.B) {
		s := start(b, "floor")
		conns := dial(b, s)
		actions := noops(b, nil, b.N, true)
		measure(b, "actions/s", 1, []*server{s}, func() {
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
	})
	for _, tracing := range []string{untraced, sampled, traced} {
		for _, cached := range []bool{false, true} {
			name := fmt.Sprintf("target=weir/cache=%s/traced=%s", onOff(cached), tracing)
			b.Run(name, func(b *testing.B) { benchmarkExecute(b, cached, tracing) })
		}
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func benchmarkExecute(b *testing.B, cached bool, tracing string) {
	storage := start(b, "memory", "-")
	s := startExecution(b, storage, cached, tracing)
	actions := noops(b, storage, b.N, !cached)
	before := s.cpu(b)
	measure(b, "actions/s", 1, []*server{s.server, storage}, func() { s.run(b, actions) })
	b.ReportMetric(float64((s.cpu(b)-before).Microseconds())/float64(b.N), "execution-µs/op")
}

// execution is an execution-server with workers that complete leases at once, and
// a client.
type execution struct {
	*server
	conns   []*grpc.ClientConn
	cached  bool
	tracing string
}

// startExecution starts one that ends with the test.
func startExecution(b testing.TB, storage *server, cached bool, tracing string) *execution {
	b.Helper()
	role := []string{"execution", storage.address}
	if tracing != untraced {
		role = append(role, tracing, b.TempDir())
	}
	s := &execution{server: start(b, role...), cached: cached, tracing: tracing}
	s.conns = dial(b, s.server)
	ctx, cancel := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for w := range fakeWorkers {
		workers.Go(func() {
			if err := work(ctx, s.conns[w%connections], fmt.Sprintf("bot-%d", w)); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	b.Cleanup(func() {
		cancel()
		workers.Wait()
	})
	return s
}

// actionsOfBuild is how many actions are of one build: clients that build one after
// the other.
const actionsOfBuild = 100

// run executes actions. They come as they would from a proxy: with RequestMetadata
// and, if it traces, with a traceparent that says whether the build is sampled.
func (s *execution) run(b testing.TB, actions []*repb.Digest) {
	contexts := make([]context.Context, (len(actions)+actionsOfBuild-1)/actionsOfBuild)
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
	parallel(b, len(actions), inFlight, func(w, i int) error {
		response, err := execute(contexts[i/actionsOfBuild], s.conns[w%connections], actions[i], !s.cached)
		if err == nil && response.GetResult() == nil {
			err = fmt.Errorf("no result: %v", response)
		}
		return err
	})
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

// work is a worker that completes every lease at once, with all the timestamps
// a real one would report.
func work(ctx context.Context, conn *grpc.ClientConn, id string) error {
	client := bots.NewBotsClient(conn)
	session, err := client.CreateBotSession(ctx, &bots.CreateBotSessionRequest{BotSession: &bots.BotSession{BotId: id, Status: bots.BotStatus_OK}})
	if err != nil {
		return err
	}
	for {
		report := &bots.BotSession{Name: session.Name, BotId: id, Status: bots.BotStatus_OK}
		for _, l := range session.Leases {
			if l.State != bots.LeaseState_PENDING {
				continue
			}
			now := timestamppb.New(time.Now())
			result, err := anypb.New(&repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
				Worker: id, WorkerStartTimestamp: now, WorkerCompletedTimestamp: now,
				InputFetchStartTimestamp: now, InputFetchCompletedTimestamp: now,
				ExecutionStartTimestamp: now, ExecutionCompletedTimestamp: now,
				OutputUploadStartTimestamp: now, OutputUploadCompletedTimestamp: now,
			}})
			if err != nil {
				return err
			}
			report.Leases = append(report.Leases, &bots.Lease{Id: l.Id, State: bots.LeaseState_COMPLETED, Status: &spb.Status{}, Result: result})
		}
		if session, err = client.UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{Name: session.Name, BotSession: report}); err != nil {
			return err
		}
	}
}
