package execution_test

import (
	"fmt"
	"testing"

	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/semconv"
)

// TestLookUpsThatWaitShareACall holds the first look-up, and lets others come.
func TestLookUpsThatWaitShareACall(t *testing.T) {
	for _, traced := range []bool{false, true} {
		t.Run(fmt.Sprintf("traced=%v", traced), func(t *testing.T) {
			c, slow := startSlow(t, queue.Config{}, func(config *execution.Config) {
				if !traced {
					config.Record = nil
				}
			})
			const others = 20
			streams := []*stream{c.execute(c.upload("first"), lookup)}
			<-slow.asked
			for i := range others {
				streams = append(streams, c.execute(c.upload(fmt.Sprint(i)), lookup))
			}
			for _, s := range streams {
				s.until(cacheCheck) // it has waited for its answer for a while
			}
			close(slow.answer)
			for range others {
				<-slow.asked
			}
			for _, s := range streams {
				s.until(queued)
			}
			single := c.count(semconv.RPCClientDuration, map[string]string{"rpc_method": "build.bazel.remote.execution.v2.ActionCache/GetActionResult"})
			batches := c.count(semconv.RPCClientDuration, map[string]string{"rpc_method": "weir.batch.v1.ActionCache/BatchFindActions"})
			if wantSingle, wantBatches := map[bool]float64{false: 0, true: 1 + others}[traced], map[bool]float64{false: 2, true: 0}[traced]; single != wantSingle || batches != wantBatches {
				t.Errorf("%v calls for one result and %v for many, want %v and %v", single, batches, wantSingle, wantBatches)
			}
		})
	}
}
