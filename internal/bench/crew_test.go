package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/proto/bots"
)

// pollHeld is how long the server holds a poll while it has nothing to say.
const pollHeld = 20 * time.Second

// crew is workers of one slot that complete leases at once. They share connections,
// as they do behind a proxy.
type crew struct {
	// woken counts the polls that were answered while the server held them: with a
	// lease, or for nothing before their time was over.
	woken atomic.Int64
	// leased counts the leases.
	leased atomic.Int64
}

// startCrew starts workers, each with a session when it returns, that end with the
// test.
func startCrew(b testing.TB, conns []*grpc.ClientConn, n int) *crew {
	b.Helper()
	c := new(crew)
	ctx, cancel := context.WithCancel(context.Background())
	var connected, working sync.WaitGroup
	connected.Add(n)
	for w := range n {
		working.Go(func() {
			if err := c.work(ctx, conns[w%len(conns)], fmt.Sprintf("bot-%d", w), connected.Done); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	b.Cleanup(func() {
		cancel()
		working.Wait()
	})
	connected.Wait()
	return c
}

// work is one worker. It calls connected once, when it has a session or can't get one.
func (c *crew) work(ctx context.Context, conn *grpc.ClientConn, id string, connected func()) error {
	client := bots.NewBotsClient(conn)
	session, err := client.CreateBotSession(ctx, &bots.CreateBotSessionRequest{BotSession: &bots.BotSession{BotId: id, Status: bots.BotStatus_OK}})
	connected()
	if err != nil {
		return err
	}
	for {
		report, err := completeAll(session)
		if err != nil {
			return err
		}
		c.leased.Add(int64(len(report.Leases)))
		begin := time.Now()
		if session, err = client.UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{Name: session.Name, BotSession: report}); err != nil {
			return err
		}
		if held := len(report.Leases) == 0; held && (len(session.Leases) > 0 || time.Since(begin) < pollHeld*9/10) {
			c.woken.Add(1)
		}
	}
}

// completeAll is the report of a worker that has completed what it was just told of,
// with all the timestamps a real one would give.
func completeAll(session *bots.BotSession) (*bots.BotSession, error) {
	report := &bots.BotSession{Name: session.Name, BotId: session.BotId, Status: bots.BotStatus_OK}
	for _, l := range session.Leases {
		if l.State != bots.LeaseState_PENDING {
			continue
		}
		now := timestamppb.New(time.Now())
		result, err := anypb.New(&repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
			Worker: session.BotId, WorkerStartTimestamp: now, WorkerCompletedTimestamp: now,
			InputFetchStartTimestamp: now, InputFetchCompletedTimestamp: now,
			ExecutionStartTimestamp: now, ExecutionCompletedTimestamp: now,
			OutputUploadStartTimestamp: now, OutputUploadCompletedTimestamp: now,
		}})
		if err != nil {
			return nil, err
		}
		report.Leases = append(report.Leases, &bots.Lease{Id: l.Id, State: bots.LeaseState_COMPLETED, Status: &spb.Status{}, Result: result})
	}
	return report, nil
}
