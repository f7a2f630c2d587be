package execution

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/queue"
)

// follower sends what becomes of an operation. Where several stages have come since
// the last message, it sends the latest only: the others were over before anybody
// could see them.
type follower struct {
	op     *operation
	accept func() error // before the first message; nil if that needs no more
	send   func(*longrunningpb.Operation) error
	news   chan struct{} // one of op.waiting: holds a token when there is something to tell
	sent   int           // of op.changes
	silent atomic.Bool   // it is to be told the same again
	// patient followers have been told nothing yet, and wait for the first news.
	patient bool
}

// catchUp sends what is new and reports whether that was the last.
func (s *Server) catchUp(f *follower) (done bool, err error) {
	op := f.op
	s.shell.mu.Lock()
	select {
	case <-f.news:
	default:
	}
	if op.changes == 0 || f.sent == op.changes {
		s.shell.mu.Unlock()
		return false, nil
	}
	f.sent = op.changes
	stage, response, about := op.stage, op.response, op.progress()
	op.told = true
	if response != nil {
		op.ignore(f)
	}
	s.shell.mu.Unlock()
	// Who has the response needs the operation no more: it isn't written down.
	if f.accept != nil && response == nil {
		if err := f.accept(); err != nil {
			return false, err
		}
		f.accept = nil
	}
	if err := f.send(op.message(stage, response, &about)); err != nil {
		return false, err
	}
	return response != nil, nil
}

// ignore takes a follower off those that are told; the lock is held.
func (op *operation) ignore(f *follower) {
	op.waiting = slices.DeleteFunc(op.waiting, func(c chan struct{}) bool { return c == f.news })
}

// Numbers of fields.
var (
	operationName     = fieldNumber(new(longrunningpb.Operation), "name")
	operationMetadata = fieldNumber(new(longrunningpb.Operation), "metadata")
	operationDone     = fieldNumber(new(longrunningpb.Operation), "done")
	operationResponse = fieldNumber(new(longrunningpb.Operation), "response")
)

// message is the operation at a stage. Its response is known when it is done.
//
// It is for the wire alone: all its fields are among those that the message doesn't
// know, already as they are going to be written. As messages in messages they were five
// objects for each that is sent, and encoding them took longer than all else here.
func (op *operation) message(stage repb.ExecutionStage_Value, response []byte, about *progress) *longrunningpb.Operation {
	size := messageRoom + len(op.name) + len(about.partial) + len(about.worker) + len(about.reason) + len(about.onto)
	if stage == repb.ExecutionStage_COMPLETED {
		size += responseRoom + len(response)
	}
	b := make([]byte, 0, size)
	b = appendText(b, operationName, op.name)
	b = appendNested(b, operationMetadata, func(b []byte) []byte {
		return appendAny(b, metadataType, func(b []byte) []byte { return op.appendMetadata(b, stage, about) })
	})
	if stage == repb.ExecutionStage_COMPLETED {
		b = appendVarint(b, operationDone, 1)
		b = appendNested(b, operationResponse, func(b []byte) []byte { return appendPacked(b, responseType, response) })
	}
	m := new(longrunningpb.Operation)
	m.ProtoReflect().SetUnknown(b)
	return m
}

// messageRoom is what a message takes besides what varies much in length, responseRoom
// what is around a response.
const (
	messageRoom  = 488
	responseRoom = 80
)

// follow sends stages until the operation is done, the client leaves or the
// server stops. The operation is watched once less when it returns early.
func (s *Server) follow(ctx context.Context, f *follower) error {
	done, err := s.pump(ctx, f)
	if done {
		return err
	}
	s.locked(func(now time.Time) {
		f.op.ignore(f)
		if f.op.id == 0 {
			f.op.early--
			return
		}
		s.step(now, queue.Input{Kind: queue.Unwatch, Operation: f.op.id})
	})
	return err
}

// watch counts one more stream that waits for an operation; follow gives it back.
func (s *Server) watch(op *operation, send func(*longrunningpb.Operation) error) *follower {
	f := &follower{op: op, send: send, news: make(chan struct{}, 1)}
	s.locked(func(now time.Time) {
		op.waiting = append(op.waiting, f.news)
		if op.id == 0 {
			op.early++
			return
		}
		s.step(now, queue.Input{Kind: queue.Watch, Operation: op.id})
	})
	return f
}

// pump tells of all that happens, and of nothing now and then, so that what is in
// between doesn't take the stream for dead.
func (s *Server) pump(ctx context.Context, f *follower) (done bool, err error) {
	var silence *time.Timer
	if s.config.Heartbeat > 0 {
		silence = time.AfterFunc(s.config.Heartbeat, func() {
			f.silent.Store(true)
			nudge(f.news)
		})
		defer silence.Stop()
	}
	for {
		before := f.sent
		if f.patient {
			f.patient = false
		} else if done, err = s.catchUp(f); done || err != nil {
			return done, err
		}
		if silence != nil && f.sent != before {
			silence.Reset(s.config.Heartbeat)
		}
		if s.isStopping() {
			if done, err := s.catchUp(f); done || err != nil {
				return done, err
			}
			return false, status.Error(codes.Unavailable, "the server is shutting down: wait for "+f.op.name+" at another")
		}
		// Whatever else there is comes as news: to wait for more channels costs more,
		// and there is a stream for each action.
		select {
		case <-f.news:
		case <-ctx.Done():
			return false, toStatus(ctx.Err())
		}
		if f.silent.Swap(false) {
			f.sent = -1
		}
	}
}

// nudge leaves a token, unless there is one.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// stop brings polls and streams to an end.
func (s *Server) stop() {
	close(s.stopping)
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	for _, op := range s.shell.names {
		op.signal()
	}
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// recent are operations of which there is something new since a moment ago, short of
// their end. Their clients are told after that moment, and at once when they end: an
// action that is over by then costs one message instead of three.
type recent struct {
	some       chan struct{} // holds a token when there are any again
	last, then []*operation
}

// tellDelay is that moment, at least, and twice as long at most: far below what
// starting a process takes, or what anybody would notice.
const tellDelay = 5 * time.Millisecond

// enter notes a stage, of which who waits is told in a moment; the lock is held.
func (s *shell) enter(op *operation, stage repb.ExecutionStage_Value) {
	op.stage = stage
	op.changes++
	if op.recent {
		return
	}
	op.recent = true
	s.recent.last = append(s.recent.last, op)
	if len(s.recent.last) == 1 {
		nudge(s.recent.some)
	}
}

// enterAll notes a stage of all operations of a task; the lock is held.
func (s *shell) enterAll(t *task, stage repb.ExecutionStage_Value) {
	for _, op := range t.attached {
		s.enter(op, stage)
	}
}

// tellRecent tells the clients of recent operations, until quit is closed. What they
// are told of is brought to disk for all of them at once.
func (s *Server) tellRecent(ctx context.Context, quit <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.shell.recent.some:
		case <-quit:
			return
		}
		for more := true; more; {
			timer.Reset(tellDelay)
			select {
			case <-timer.C:
			case <-quit:
				return
			}
			if s.log != nil {
				s.shell.mu.Lock()
				place, some := s.shell.place, len(s.shell.recent.then) > 0
				s.shell.mu.Unlock()
				if some {
					_ = s.kept(s.log.Sync(ctx, place)) // whoever is told asks again
				}
			}
			more = s.shell.tellRecent()
		}
	}
}

// tellRecent tells of what was there the last time, and reports whether there is
// more.
func (s *shell) tellRecent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.recent
	for _, op := range r.then {
		op.recent = false
		if op.response == nil {
			op.signal()
		}
	}
	clear(r.then)
	r.last, r.then = r.then[:0], r.last
	return len(r.then) > 0
}
