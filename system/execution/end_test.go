package execution_test

import (
	"errors"
	"io"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/semconv"
)

// ends reads a stream to its end and returns the response, of which there must be one.
func (s *stream) ends() *repb.ExecuteResponse {
	s.t.Helper()
	var last *repb.ExecuteResponse
	for {
		op, err := s.recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.t.Fatalf("after %v: %v", last, err)
		}
		if last != nil {
			s.t.Fatalf("%v comes after the response", op)
		}
		_, last = parse(s.t, op)
	}
	if last == nil {
		s.t.Fatal("the stream ended without a response")
	}
	return last
}

// TestCancelInEachStage cancels an operation twice. Every stream gets one response, at
// once, and so does who comes later, until the operation is deleted.
func TestCancelInEachStage(t *testing.T) {
	type situation struct {
		*cluster
		lookups *slowCache
		writes  *slowWrites
		bot     *bot
	}
	queue1 := func(c *situation) *stream {
		s := c.execute(c.upload("a"))
		s.until(queued)
		return s
	}
	execute := func(c *situation) (*stream, func(exit int32)) {
		s := queue1(c)
		c.bot = c.cluster.bot("one")
		l := c.bot.take()
		s.until(executing)
		return s, func(exit int32) { c.bot.poll(briefly, done(t, l, exit)) }
	}
	for name, test := range map[string]struct {
		reach func(c *situation) *stream
		want  codes.Code
	}{
		"being looked up": {func(c *situation) *stream {
			s := c.execute(c.upload("a"), lookup)
			s.until(cacheCheck)
			return s
		}, codes.Canceled},
		"queued":    {queue1, codes.Canceled},
		"executing": {func(c *situation) *stream { s, _ := execute(c); return s }, codes.Canceled},
		"joined": {func(c *situation) *stream {
			execute(c)
			s := c.execute(c.upload("a"))
			s.until(executing)
			return s
		}, codes.Canceled},
		"joined by another": {func(c *situation) *stream {
			s, _ := execute(c)
			c.execute(c.upload("a")).until(executing)
			return s
		}, codes.Canceled},
		"being published": {func(c *situation) *stream {
			s, complete := execute(c)
			complete(0)
			<-c.writes.asked
			return s
		}, codes.Canceled},
		"done": {func(c *situation) *stream {
			s, complete := execute(c)
			complete(1)
			c.wait(s.name).ends()
			return s
		}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			c := &situation{
				lookups: &slowCache{asked: make(chan struct{}, 1), answer: make(chan struct{})},
				writes:  &slowWrites{asked: make(chan struct{}, 1), answer: make(chan struct{})},
			}
			c.cluster = startWith(t, queue.Config{}, func(ac actioncache.Cache) actioncache.Cache {
				c.writes.Cache, c.lookups.Cache = ac, c.writes
				return c.lookups
			})
			s := test.reach(c)
			w := c.wait(s.name)
			w.next()
			for range 2 {
				c.cancel(s.name)
			}
			got := s.ends()
			if codes.Code(got.Status.GetCode()) != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			late := c.wait(s.name)
			for who, other := range map[string]*stream{"waits": w, "comes later": late} {
				if test.want == codes.OK && other == w {
					continue // it has had its response
				}
				if response := other.ends(); !proto.Equal(response, got) {
					t.Errorf("who %s gets %v, want %v", who, response, got)
				}
			}
			// What was under way for it comes to its end, and changes nothing.
			close(c.lookups.answer)
			close(c.writes.answer)
			if response := c.wait(s.name).ends(); !proto.Equal(response, got) {
				t.Errorf("afterwards it is %v, want %v", response, got)
			}
			if _, err := c.ops.DeleteOperation(t.Context(), &longrunningpb.DeleteOperationRequest{Name: s.name}); err != nil {
				t.Fatal(err)
			}
			_, err := c.ops.DeleteOperation(t.Context(), &longrunningpb.DeleteOperationRequest{Name: s.name})
			wantCode(t, err, codes.NotFound)
			wantCode(t, c.wait(s.name).failure().Err(), codes.NotFound)
		})
	}
}

// TestCancelledWhileLookedUpIsAccountedFor: its look-up goes on after its end, and who
// finds a result is too late. It leaves one count and no task.
func TestCancelledWhileLookedUpIsAccountedFor(t *testing.T) {
	for _, hit := range []bool{true, false} {
		c, slow := startSlow(t, queue.Config{})
		action := c.upload("a")
		if hit {
			if err := c.blobs.UpdateActionResult(t.Context(), action, new(repb.ActionResult)); err != nil {
				t.Fatal(err)
			}
		}
		s := c.execute(action, lookup)
		s.until(cacheCheck)
		c.cancel(s.name)
		got := make(chan *repb.ExecuteResponse, 1)
		go func() { got <- s.ends() }()
		w := c.wait(s.name).ends()
		close(slow.answer)
		if r := <-got; codes.Code(r.Status.GetCode()) != codes.Canceled || !proto.Equal(r, w) {
			t.Errorf("hit %v: the client gets %v, who waits %v", hit, r, w)
		}
		if leases := c.bot("one").poll(briefly); len(leases) != 0 {
			t.Errorf("hit %v: it is leased: %v", hit, leases)
		}
		eventually(t, "the operation is counted", func() bool { return c.count(semconv.Operations, nil) == 1 })
		c.flush()
		if n := c.count(semconv.Operations, nil); n != 1 {
			t.Errorf("hit %v: it is counted %v times", hit, n)
		}
	}
}
