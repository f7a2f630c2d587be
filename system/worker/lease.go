package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/proto/bots"
)

// Why a lease's context ends before its runner.
var (
	errDropped  = errors.New("the server doesn't want it any more")
	errShutdown = errors.New("the worker was shut down before the action ended")
)

// lease is one attempt at one action.
type lease struct {
	id      string
	payload *anypb.Any
	parent  string                  // traceparent of the worker span, or empty
	begun   time.Time               // when it was accepted
	stop    context.CancelCauseFunc // ends the runner

	// mu guards the fields below.
	mu     sync.Mutex
	ended  bool
	status *spb.Status
	result *anypb.Any // may be nil
}

// end records the outcome.
func (l *lease) end(status *spb.Status, result *anypb.Any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.status, l.result = true, status, result
}

// partial is what is known of a lease under way, as its result will have it; nil once it
// has ended, and the result tells. The stages in between are the runner's, which tells
// of them at its end.
func (l *lease) partial() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	data, err := proto.Marshal(&repb.ExecutedActionMetadata{WorkerStartTimestamp: timestamppb.New(l.begun)})
	if err != nil {
		panic("marshal a time: " + err.Error()) // it has no text that could be malformed
	}
	return data
}

// message is the lease as it is reported. The payload isn't sent back.
func (l *lease) message() *bots.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		return &bots.Lease{Id: l.id, State: bots.LeaseState_ACTIVE}
	}
	return &bots.Lease{Id: l.id, State: bots.LeaseState_COMPLETED, Status: l.status, Result: l.result}
}
