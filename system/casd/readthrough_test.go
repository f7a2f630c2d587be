package casd

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/storage"
)

// newStore returns a store over a fresh folder, before a fresh remote if far
// isn't nil.
func newStore(t *testing.T, far cas.Store) *readThrough {
	t.Helper()
	local, err := cas.OpenDisk(t.TempDir(), cas.DiskConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { local.Close() })
	counter := func(name string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name})
	}
	var client *remote.Client
	if far != nil {
		client = newRemote(t, far)
	}
	return newReadThrough(local, client, counter("fetched"), counter("uploaded"))
}

// newRemote serves a store and returns a client of it.
func newRemote(t *testing.T, far cas.Store) *remote.Client {
	t.Helper()
	server, err := storage.New(storage.Config{Functions: cas.Functions, Instances: map[string]storage.Instance{
		"": {CAS: far, AC: actioncache.NewMemory(actioncache.MemoryConfig{})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes))
	server.Register(g)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(listener) })
	t.Cleanup(func() {
		g.Stop()
		serving.Wait()
		server.Close()
	})
	client, err := remote.Dial(remote.Config{URL: "grpc://" + listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestReadThroughIsAStore(t *testing.T) {
	t.Run("with remote", func(t *testing.T) {
		castest.Run(t, func(t *testing.T) cas.Store {
			return newStore(t, cas.NewMemory(cas.MemoryConfig{}))
		})
	})
	t.Run("alone", func(t *testing.T) {
		castest.Run(t, func(t *testing.T) cas.Store { return newStore(t, nil) })
	})
}

// gate is a remote whose reads wait until it is opened.
type gate struct {
	*cas.Memory
	opened chan struct{}

	// mu guards reads.
	mu      sync.Mutex
	reads   int
	arrived chan struct{} // gets a value at each read
}

func newGate() *gate {
	return &gate{Memory: cas.NewMemory(cas.MemoryConfig{}), opened: make(chan struct{}), arrived: make(chan struct{}, 100)}
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	g.reads++
	g.mu.Unlock()
	g.arrived <- struct{}{}
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) Read(ctx context.Context, d digest.Digest) ([]byte, error) {
	if err := g.pass(ctx); err != nil {
		return nil, err
	}
	return g.Memory.Read(ctx, d)
}

func (g *gate) Open(ctx context.Context, d digest.Digest, offset int64) (cas.Reader, error) {
	if err := g.pass(ctx); err != nil {
		return nil, err
	}
	return g.Memory.Open(ctx, d, offset)
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reads
}

func TestBlobIsFetchedOnceForManyReaders(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "large": 3 << 20} {
		t.Run(name, func(t *testing.T) {
			far := newGate()
			data := make([]byte, size)
			d := digest.Of(data)
			if err := far.Write(t.Context(), d, data); err != nil {
				t.Fatal(err)
			}
			s := newStore(t, far)
			var readers sync.WaitGroup
			for i := range 20 {
				readers.Go(func() {
					if i%2 == 0 {
						if got, err := s.Read(t.Context(), d); err != nil || digest.Of(got) != d {
							t.Errorf("read: %v", err)
						}
						return
					}
					if missing, err := s.ensure(t.Context(), []digest.Digest{d}); err != nil || len(missing) > 0 {
						t.Errorf("ensure: %v, %v", missing, err)
					}
				})
			}
			<-far.arrived
			close(far.opened)
			readers.Wait()
			if got := far.count(); got != 1 {
				t.Errorf("reads at the remote: got %d, want 1", got)
			}
		})
	}
}

// Who waits for somebody else's fetch gets the blob, even if that one gives up.
func TestFetchOfOneThatGivesUpIsTakenOver(t *testing.T) {
	far := newGate()
	data := []byte("data")
	d := digest.Of(data)
	if err := far.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, far)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := s.Read(ctx, d); first <- err }()
	<-far.arrived

	f, mine := s.flights.join(d)
	if mine {
		t.Fatal("no fetch is under way, want one")
	}
	second := make(chan error, 1)
	go func() { second <- s.await(t.Context(), wanted{d, f}) }()
	cancel()
	if err := <-first; err == nil {
		t.Error("the one that gave up: got no error")
	}
	<-far.arrived // the second takes over
	close(far.opened)
	if err := <-second; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
}

func TestMissingAnswersForTheRemote(t *testing.T) {
	far := cas.NewMemory(cas.MemoryConfig{})
	s := newStore(t, far)
	data := []byte("only here")
	d := digest.Of(data)
	if err := s.local.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if missing, err := s.Missing(t.Context(), []digest.Digest{d}, nil); err != nil || len(missing) != 1 {
		t.Errorf("a blob that only the local cache has: got missing %v, %v, want that it is", missing, err)
	}
	if err := s.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Read(t.Context(), d); err != nil {
		t.Errorf("the remote after a write: %v", err)
	}
}

func TestEnsureTellsWhatIsMissing(t *testing.T) {
	far := cas.NewMemory(cas.MemoryConfig{})
	s := newStore(t, far)
	var all, lost []digest.Digest
	for i := range 50 {
		data := make([]byte, 100_000*(i%3)+i+1)
		d := digest.Of(data)
		all = append(all, d, d)
		if i%10 == 0 {
			lost = append(lost, d)
		} else if err := far.Write(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
	}
	missing, err := s.ensure(t.Context(), all)
	if err != nil || len(missing) != len(lost) {
		t.Fatalf("got %v, %v, want %v", missing, err, lost)
	}
	for i := range lost {
		if missing[i] != lost[i] {
			t.Errorf("missing[%d]: got %v, want %v", i, missing[i], lost[i])
		}
	}
	here, err := s.local.Missing(t.Context(), all, nil)
	if err != nil || len(here) != 2*len(lost) {
		t.Errorf("not in the local cache: got %d, %v, want %d", len(here), err, 2*len(lost))
	}
}

func TestCorruptBlobOfTheRemoteIsNotKept(t *testing.T) {
	far := liar{cas.NewMemory(cas.MemoryConfig{})}
	s := newStore(t, far)
	for _, size := range []int{10, 3 << 20} {
		d := digest.Of(make([]byte, size))
		var corrupt *cas.CorruptError
		if _, err := s.Read(t.Context(), d); !errors.As(err, &corrupt) {
			t.Errorf("%d bytes: got %v, want a *cas.CorruptError", size, err)
		}
		if missing, err := s.local.Missing(t.Context(), []digest.Digest{d}, nil); err != nil || len(missing) != 1 {
			t.Errorf("%d bytes: the local cache keeps it", size)
		}
	}
}

// liar is a remote that has every blob, of the right size and full of ones.
type liar struct{ *cas.Memory }

func (l liar) ones(d digest.Digest) []byte {
	data := make([]byte, d.SizeBytes)
	for i := range data {
		data[i] = 1
	}
	return data
}

func (l liar) Read(_ context.Context, d digest.Digest) ([]byte, error) { return l.ones(d), nil }

func (l liar) Open(ctx context.Context, d digest.Digest, offset int64) (cas.Reader, error) {
	data := l.ones(d)
	m := cas.NewMemory(cas.MemoryConfig{})
	other := digest.Of(data)
	if err := m.Write(ctx, other, data); err != nil {
		return nil, err
	}
	return m.Open(ctx, other, offset)
}
