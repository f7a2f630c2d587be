package remote

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// fullBatch is how many requests make a call worth sending while another is
	// under way.
	fullBatch = 256
	// maxCalls bounds the calls under way, so that one slow call doesn't hold
	// up all others and a slow server isn't flooded.
	maxCalls = 4
	// batchTimeout bounds a shared call, which must not end with the context of
	// the caller that happened to make it.
	batchTimeout = time.Minute
)

// A Result is what became of one request of a batch.
type Result[V any] struct {
	Value V
	Err   error
}

// Batcher makes one call for many callers at once: requests that come while a call is
// under way wait for it to end and then share the next one. Under load a call carries
// dozens of requests, alone it carries one and waits for nobody.
//
// There is no goroutine: the first caller of a batch makes the call for all.
type Batcher[K, V any] struct {
	call func(context.Context, []K) []Result[V]

	// mu guards the fields below.
	mu      sync.Mutex
	waiting []*request[K, V]
	calls   int
}

type request[K, V any] struct {
	ctx  context.Context
	key  K
	news chan struct{} // brings a turn to make the next call; closed when the result is in
	told bool          // it has had its turn, or has been sent it; Batcher.mu guards it
	Result[V]
}

// NewBatcher returns a Batcher of a call, which returns a result for each key. It is
// made by several goroutines at a time.
func NewBatcher[K, V any](call func(context.Context, []K) []Result[V]) *Batcher[K, V] {
	return &Batcher[K, V]{call: call}
}

// Do makes a request, and returns its result. A caller that makes the call for others
// stays until it is over, for a minute at most, even if its own ctx ends before.
func (b *Batcher[K, V]) Do(ctx context.Context, key K) (V, error) {
	r := &request[K, V]{ctx: ctx, key: key, news: make(chan struct{}, 1)}
	b.mu.Lock()
	b.waiting = append(b.waiting, r)
	lead := b.calls == 0 || b.calls < maxCalls && len(b.waiting) >= fullBatch
	if lead {
		b.calls++
		r.told = true
	}
	b.mu.Unlock()
	if !lead {
		select {
		case _, lead = <-r.news:
		case <-ctx.Done():
			b.leave(r)
			var none V
			return none, ctx.Err()
		}
	}
	if lead {
		b.serve()
		<-r.news // that call, or an earlier one, took r along
	}
	return r.Value, r.Err
}

// leave takes r out of the queue. A turn it was given and hasn't used goes to
// another.
func (b *Batcher[K, V]) leave(r *request[K, V]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, r); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	}
	if r.told {
		b.pass()
	}
}

// serve makes a call for all that wait, which another may have done meanwhile, and
// passes the turn on.
func (b *Batcher[K, V]) serve() {
	// Let those that are about to come join in: on an idle machine there are none
	// and this costs nothing, on a busy one it makes batches several times larger.
	runtime.Gosched()
	b.mu.Lock()
	batch := b.waiting
	b.waiting = nil
	b.mu.Unlock()
	if len(batch) > 0 {
		b.serveAll(batch)
	}
	b.mu.Lock()
	b.pass()
	b.mu.Unlock()
}

func (b *Batcher[K, V]) serveAll(batch []*request[K, V]) {
	keys := make([]K, len(batch))
	for i, r := range batch {
		keys[i] = r.key
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(batch[0].ctx), batchTimeout)
	defer cancel()
	results := b.call(ctx, keys)
	for i, r := range batch {
		r.Result = results[i]
		close(r.news)
	}
}

// pass gives the turn to one that waits for it, or ends it; mu is held.
func (b *Batcher[K, V]) pass() {
	for _, r := range b.waiting {
		if !r.told {
			r.told = true
			r.news <- struct{}{}
			return
		}
	}
	b.calls--
}
