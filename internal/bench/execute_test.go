package bench

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	spb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
)

// inFlight is how many Execute calls are under way. There are fewer workers, so
// that one finds work when it has completed some.
const (
	inFlight    = 64
	fakeWorkers = 16
)

// BenchmarkExecute runs actions that do nothing, on workers that complete them
// at once. cache=off forbids the action cache to be read and written, traced=yes
// writes every span to a file.
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
				_, err := execute(conn, actions[i], true)
				return err
			})
		})
	})
	for _, traced := range []bool{false, true} {
		for _, cached := range []bool{false, true} {
			name := fmt.Sprintf("target=weir/cache=%s/traced=%s", onOff(cached), yesNo(traced))
			b.Run(name, func(b *testing.B) { benchmarkExecute(b, cached, traced) })
		}
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func benchmarkExecute(b *testing.B, cached, traced bool) {
	storage := start(b, "memory", "-")
	role := []string{"execution", storage.address}
	if traced {
		role = append(role, "traced", b.TempDir())
	}
	s := start(b, role...)
	conns := dial(b, s)
	actions := noops(b, storage, b.N, !cached)
	ctx, cancel := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for w := range fakeWorkers {
		workers.Go(func() {
			if err := work(ctx, conns[w%connections], fmt.Sprintf("bot-%d", w)); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	defer workers.Wait()
	defer cancel()
	before := s.cpu(b)
	measure(b, "actions/s", 1, []*server{s, storage}, func() {
		parallel(b, b.N, inFlight, func(w, i int) error {
			response, err := execute(conns[w%connections], actions[i], !cached)
			if err == nil && response.GetResult() == nil {
				err = fmt.Errorf("no result: %v", response)
			}
			return err
		})
	})
	b.ReportMetric(float64((s.cpu(b)-before).Microseconds())/float64(b.N), "execution-µs/op")
}

// noops makes n different actions and stores them, unless storage is nil.
func noops(b *testing.B, storage *server, n int, noCache bool) []*repb.Digest {
	b.Helper()
	actions := make([]*repb.Digest, n)
	blobs := make(map[digest.Digest][]byte, 2*n)
	for i := range actions {
		command, commandDigest, err := digest.OfMessage(&repb.Command{Arguments: []string{"/bin/true", fmt.Sprint(i)}})
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
func execute(conn *grpc.ClientConn, action *repb.Digest, skip bool) (*repb.ExecuteResponse, error) {
	stream, err := repb.NewExecutionClient(conn).Execute(context.Background(), &repb.ExecuteRequest{ActionDigest: action, SkipCacheLookup: skip})
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
