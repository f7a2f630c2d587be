package execution_test

import (
	"context"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
)

// slowWrites is an action cache that takes a result when it is told to.
type slowWrites struct {
	actioncache.Cache
	asked, answer chan struct{}
}

func (c *slowWrites) Put(ctx context.Context, d digest.Digest, r *repb.ActionResult) error {
	c.asked <- struct{}{}
	<-c.answer
	return c.Cache.Put(ctx, d, r)
}

// TestWhoMayShareWork is REAPI's word on merging executions, by what the first client
// and the second asked for, and how far the first one's work was.
func TestWhoMayShareWork(t *testing.T) {
	const waits, runs, published = "queued", "executing", "being published"
	for _, test := range []struct {
		name    string
		first   bool // skips the look-up
		second  bool // does
		when    string
		noCache bool
		shared  bool
	}{
		{"both look up", false, false, waits, false, true},
		{"the first skips, the second looks up", true, false, runs, false, true},
		{"the second skips what waits", false, true, waits, false, true},
		{"the second skips what runs", false, true, runs, false, true},
		{"the second looks up what is published", false, false, published, false, true},
		{"the second skips what is published", false, true, published, false, false},
		{"both skip, the first is published", true, true, published, false, false},
		{"neither is to be cached", true, true, waits, true, false},
		{"neither is to be cached, and it runs", false, false, runs, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			slow := &slowWrites{asked: make(chan struct{}, 2), answer: make(chan struct{})}
			c := startWith(t, queue.Config{}, func(ac actioncache.Cache) actioncache.Cache {
				slow.Cache = ac
				return slow
			})
			skip := func(skips bool) func(*repb.ExecuteRequest) {
				return func(r *repb.ExecuteRequest) { r.SkipCacheLookup = skips }
			}
			action := c.upload("a", func(a *repb.Action, _ *repb.Command) { a.DoNotCache = test.noCache })
			first := c.execute(action, skip(test.first))
			first.until(queued)
			if test.when != waits {
				b := c.bot("one")
				l := b.take()
				first.until(executing)
				if test.when == published {
					b.poll(briefly, done(t, l, 0))
					<-slow.asked
				}
			}
			want := executing
			if test.when == waits || !test.shared {
				want = queued
			}
			second := c.execute(action, skip(test.second))
			var record map[string]any
			for stage := cacheCheck; stage != want; {
				if stage, _, record = second.told(); stage > want {
					t.Fatalf("the second is %v, want %v", stage, want)
				}
			}
			if onto := record["deduplicated_onto"]; test.shared && onto != first.name || !test.shared && onto != nil {
				t.Errorf("the second waits for %v, want it shared: %v", onto, test.shared)
			}
			close(slow.answer)
		})
	}
}

// TestFreshResultReplacesTheOlder: who skips the look-up while a result is being
// published gets one of its own, and the cache has that afterwards.
func TestFreshResultReplacesTheOlder(t *testing.T) {
	slow := &slowWrites{asked: make(chan struct{}, 2), answer: make(chan struct{})}
	c := startWith(t, queue.Config{}, func(ac actioncache.Cache) actioncache.Cache {
		slow.Cache = ac
		return slow
	})
	action := c.upload("a")
	b := c.bot("one")
	first := c.execute(action)
	stale := b.take()
	b.poll(briefly, completed(t, stale, &repb.ActionResult{StdoutRaw: []byte("stale")}, nil))
	<-slow.asked
	second := c.execute(action)
	fresh := b.take()
	if fresh.Id == stale.Id {
		t.Fatalf("%s is offered again", stale.Id)
	}
	close(slow.answer)
	if got := first.until(completedS); string(got.Result.GetStdoutRaw()) != "stale" {
		t.Errorf("the first got %v", got)
	}
	b.poll(briefly, completed(t, fresh, &repb.ActionResult{StdoutRaw: []byte("fresh")}, nil))
	if got := second.until(completedS); string(got.Result.GetStdoutRaw()) != "fresh" {
		t.Errorf("the second got %v", got)
	}
	if got, err := c.blobs.ActionResult(t.Context(), action); err != nil || string(got.StdoutRaw) != "fresh" {
		t.Errorf("the cache has %v, %v", got, err)
	}
}
