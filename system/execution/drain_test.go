package execution_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
)

// The server stops while clients and workers are busy: it takes nothing new, and
// what it has acknowledged reaches the action cache.
func TestDrainUnderLoad(t *testing.T) {
	for round := range 3 {
		c := start(t, queue.Config{})
		const width, each = 8, 60
		actions := make([]digest.Digest, width*each)
		for i := range actions {
			actions[i] = c.upload(fmt.Sprintf("%d/%d", round, i))
		}
		ctx, stop := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		var mu sync.Mutex
		reached := make(map[digest.Digest]bool) // results that clients have seen
		halfway := make(chan struct{})
		for w := range width {
			busy.Go(func() { completeAll(ctx, c.bots, fmt.Sprintf("bot-%d", w)) })
			busy.Go(func() {
				for _, action := range actions[w*each : (w+1)*each] {
					response, err := c.executions.Execute(ctx, &repb.ExecuteRequest{ActionDigest: action.Proto()}, nil)
					if err != nil || response.Result == nil {
						return
					}
					mu.Lock()
					reached[action] = true
					if len(reached) == width*each/4 {
						close(halfway)
					}
					mu.Unlock()
				}
			})
		}
		<-halfway
		c.halt()
		stop()
		busy.Wait()
		if len(reached) == len(actions) {
			t.Log("everything was done before the drain began")
		}
		for action := range reached {
			if _, err := c.blobs.ActionResult(t.Context(), action); err != nil {
				t.Errorf("a client has the result of %v, the cache doesn't: %v", action, err)
			}
		}
		c.flush()
	}
}

// completeAll completes every lease it is offered until ctx is done or the server
// refuses.
func completeAll(ctx context.Context, client bots.BotsClient, id string) {
	session, err := client.CreateBotSession(ctx, &bots.CreateBotSessionRequest{BotSession: &bots.BotSession{BotId: id, Status: bots.BotStatus_OK}})
	for err == nil {
		report := &bots.BotSession{Name: session.Name, BotId: id, Status: bots.BotStatus_OK}
		for _, l := range session.Leases {
			if l.State == bots.LeaseState_PENDING {
				report.Leases = append(report.Leases, okLease(l))
			}
		}
		session, err = client.UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{Name: session.Name, BotSession: report})
	}
}
