package casd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
)

// counter is a remote that counts what it is sent, and refuses one blob.
type counter struct {
	*cas.Memory
	refused digest.Digest
	mute    error         // why it can't say what it lacks
	arrived chan struct{} // gets a value at each write

	mu     sync.Mutex
	writes map[digest.Digest]int
}

func newCounter() *counter {
	return &counter{Memory: cas.NewMemory(cas.MemoryConfig{}), arrived: make(chan struct{}, 100), writes: make(map[digest.Digest]int)}
}

func (c *counter) Missing(ctx context.Context, digests, dst []digest.Digest) ([]digest.Digest, error) {
	if c.mute != nil {
		return nil, c.mute
	}
	return c.Memory.Missing(ctx, digests, dst)
}

func (c *counter) Write(ctx context.Context, d digest.Digest, data []byte) error {
	defer func() { c.arrived <- struct{}{} }()
	if d == c.refused {
		return fmt.Errorf("%w for it", cas.ErrNoSpace)
	}
	c.mu.Lock()
	c.writes[d]++
	c.mu.Unlock()
	return c.Memory.Write(ctx, d, data)
}

// offerMany offers blobs of 1 MiB that the cache hasn't, each twice, and returns their digests.
func offerMany(ctx context.Context, u *uploads, count int) (digests []digest.Digest) {
	for i := range count {
		data, d := castest.Blob(uint64(i), smallBytes)
		u.offer(ctx, d, data)
		u.offer(ctx, d, data)
		digests = append(digests, d)
	}
	return digests
}

func TestOfferedBlobsAreSentWhileOthersAreFound(t *testing.T) {
	far := newCounter()
	u := newStore(t, far).newUploads()
	digests := offerMany(t.Context(), u, 8)
	for range 6 {
		<-far.arrived
	}
	// One of which the remote has heard nothing comes from the cache.
	data, kept := castest.Blob(100, 1000)
	if err := u.store.local.Write(t.Context(), kept, data); err != nil {
		t.Fatal(err)
	}
	failed, err := u.finish(t.Context(), append(digests, kept, digests[0]))
	if err != nil || len(failed) > 0 {
		t.Fatalf("%v, %v", failed, err)
	}
	want := map[digest.Digest]int{kept: 1}
	for _, d := range digests {
		want[d] = 1
	}
	if !maps.Equal(far.writes, want) {
		t.Errorf("written %v, want each once of %v", far.writes, want)
	}
}

func TestOfferedBlobThatIsRefusedFailsAlone(t *testing.T) {
	far := newCounter()
	_, far.refused = castest.Blob(1, smallBytes)
	u := newStore(t, far).newUploads()
	failed, err := u.finish(t.Context(), offerMany(t.Context(), u, 8))
	if err != nil || len(failed) != 1 || !errors.Is(failed[far.refused], cas.ErrNoSpace) {
		t.Errorf("failed %v, %v; want %v", failed, err, far.refused)
	}
}

func TestUploadFailsIfTheRemoteCannotBeAsked(t *testing.T) {
	for _, count := range []int{1, 8} {
		far := newCounter()
		far.mute = errors.New("mute")
		u := newStore(t, far).newUploads()
		if failed, err := u.finish(t.Context(), offerMany(t.Context(), u, count)); err == nil {
			t.Errorf("of %d blobs %v failed, and no error", count, failed)
		}
	}
}

// What was captured of a path that can't be captured after all.
func TestOfferedBlobsThatNobodyWantsAreLeftOut(t *testing.T) {
	far := newCounter()
	u := newStore(t, far).newUploads()
	digests := offerMany(t.Context(), u, 2)
	if failed, err := u.finish(t.Context(), digests[1:]); err != nil || len(failed) > 0 {
		t.Fatalf("%v, %v", failed, err)
	}
	if want := map[digest.Digest]int{digests[1]: 1}; !maps.Equal(far.writes, want) {
		t.Errorf("written %v, want %v", far.writes, want)
	}
}
