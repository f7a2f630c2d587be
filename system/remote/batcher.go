package remote

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/weir-build/weir/system/digest"
)

const (
	// fullBatch is how many reads make a call worth sending while another is
	// under way.
	fullBatch = 256
	// maxCalls bounds the calls under way, so that one slow call doesn't hold
	// up all others and a slow server isn't flooded.
	maxCalls = 4
	// batchTimeout bounds a shared call, which must not end with the context of
	// the caller that happened to make it.
	batchTimeout = time.Minute
)

// Batcher reads small blobs for many callers at once: reads that come while a
// call is under way wait for it to end and then share the next one. Under load a
// call carries dozens of blobs, alone it carries one and waits for nobody.
//
// There is no goroutine: the first caller of a batch makes the call for all.
type Batcher struct {
	client *Client

	// mu guards the fields below.
	mu      sync.Mutex
	waiting []*read
	calls   int
}

type read struct {
	ctx  context.Context
	d    digest.Digest
	lead chan struct{} // a turn to make the next call
	done chan struct{} // closed when the result is in
	told bool          // lead was sent; Batcher.mu guards it
	BlobResult
}

// NewBatcher returns a Batcher over a client.
func NewBatcher(client *Client) *Batcher { return &Batcher{client: client} }

// ReadBlob is Client.ReadBlob, shared. A caller that makes the call for others
// stays until it is over, for a minute at most, even if its own ctx ends before.
func (b *Batcher) ReadBlob(ctx context.Context, d digest.Digest) ([]byte, error) {
	if d == digest.Empty {
		return nil, nil
	}
	r := &read{ctx: ctx, d: d, lead: make(chan struct{}, 1), done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, r)
	lead := b.calls == 0 || b.calls < maxCalls && len(b.waiting) >= fullBatch
	if lead {
		b.calls++
	}
	b.mu.Unlock()
	if !lead {
		select {
		case <-r.done:
			b.leave(r)
			return r.Data, r.Err
		case <-ctx.Done():
			b.leave(r)
			return nil, ctx.Err()
		case <-r.lead:
		}
	}
	b.call()
	// That call, or an earlier one, took r along.
	<-r.done
	return r.Data, r.Err
}

// leave takes r out of the queue. A turn it was given and hasn't used goes to
// another.
func (b *Batcher) leave(r *read) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, r); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	}
	if r.told {
		b.pass()
	}
}

// call reads everything that waits, which another may have done meanwhile, and
// passes the turn on.
func (b *Batcher) call() {
	// Let those that are about to read join in: on an idle machine there are none
	// and this costs nothing, on a busy one it makes batches several times larger.
	runtime.Gosched()
	b.mu.Lock()
	batch := b.waiting
	b.waiting = nil
	b.mu.Unlock()
	if len(batch) > 0 {
		b.readAll(batch)
	}
	b.mu.Lock()
	b.pass()
	b.mu.Unlock()
}

func (b *Batcher) readAll(batch []*read) {
	digests := make([]digest.Digest, len(batch))
	for i, r := range batch {
		digests[i] = r.d
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(batch[0].ctx), batchTimeout)
	defer cancel()
	results := b.client.ReadBlobs(ctx, digests)
	for i, r := range batch {
		r.BlobResult = results[i]
		close(r.done)
	}
}

// pass gives the turn to one that waits for it, or ends it; mu is held.
func (b *Batcher) pass() {
	for _, r := range b.waiting {
		if !r.told {
			r.told = true
			r.lead <- struct{}{}
			return
		}
	}
	b.calls--
}
