package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// gate holds calls of BatchReadBlobs until the test lets them go, and tells what
// each asked for.
type gate struct {
	arrived chan int      // number of digests
	release chan struct{} // one for each call
}

func newGate() *gate { return &gate{arrived: make(chan int), release: make(chan struct{})} }

func (g *gate) intercept(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if batch, ok := request.(*repb.BatchReadBlobsRequest); ok {
		g.arrived <- len(batch.Digests)
		<-g.release
	}
	return handler(ctx, request)
}

type batcher = remote.Batcher[digest.Digest, []byte]

// newBatcher returns a Batcher of reads.
func newBatcher(client *remote.Client) *batcher {
	return remote.NewBatcher(client.ReadBlobs)
}

// gatedBatcher returns a Batcher over a server that holds n small blobs.
func gatedBatcher(t *testing.T, n int) (*batcher, *gate, []digest.Digest) {
	t.Helper()
	g := newGate()
	server := newStorage(t, 0, grpc.ChainUnaryInterceptor(g.intercept))
	return newBatcher(dial(t, server.address, "main")), g, fill(t, server, n)
}

func fill(t *testing.T, server *storageServer, n int) []digest.Digest {
	t.Helper()
	digests := make([]digest.Digest, n)
	for i := range digests {
		data, d := castest.Blob(uint64(i), 100)
		if err := server.blobs.Write(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
		digests[i] = d
	}
	return digests
}

// readers runs reads in the background and checks what comes back.
type readers struct {
	t       *testing.T
	batcher *batcher
	sync.WaitGroup
}

// start reads d; with ctx cancelled, an error of ctx is right, too.
func (r *readers) start(ctx context.Context, d digest.Digest) {
	r.Go(func() {
		data, err := r.batcher.Do(ctx, d)
		switch {
		case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		case err != nil || digest.Of(data) != d:
			r.t.Errorf("read %v: %d bytes, error %v", d, len(data), err)
		}
	})
}

// awaitWaiting returns once n reads wait.
func awaitWaiting(b *batcher, n int) {
	for b.Waiting() != n {
		runtime.Gosched()
	}
}

func TestReadsThatWaitShareTheNextCall(t *testing.T) {
	batcher, gate, digests := gatedBatcher(t, 101)
	r := readers{t: t, batcher: batcher}
	r.start(t.Context(), digests[0])
	first := <-gate.arrived
	for _, d := range digests[1:] {
		r.start(t.Context(), d)
	}
	awaitWaiting(batcher, 100)
	gate.release <- struct{}{}
	second := <-gate.arrived
	gate.release <- struct{}{}
	r.Wait()
	if first != 1 || second != 100 {
		t.Errorf("two calls for %d and %d blobs, want 1 and 100", first, second)
	}
}

// A full batch doesn't wait for the call under way, up to the number of calls
// that may be.
func TestFullBatchGoesAtOnce(t *testing.T) {
	const calls = remote.MaxCalls
	batcher, gate, digests := gatedBatcher(t, 1+calls*remote.FullBatch)
	r := readers{t: t, batcher: batcher}
	r.start(t.Context(), digests[0])
	if got := <-gate.arrived; got != 1 {
		t.Errorf("the first call is for %d blobs, want 1", got)
	}
	rest := digests[1:]
	for range calls - 1 {
		for _, d := range rest[:remote.FullBatch] {
			r.start(t.Context(), d)
		}
		rest = rest[remote.FullBatch:]
		if got := <-gate.arrived; got != remote.FullBatch {
			t.Errorf("a call for %d blobs, want %d", got, remote.FullBatch)
		}
	}
	for _, d := range rest {
		r.start(t.Context(), d)
	}
	awaitWaiting(batcher, remote.FullBatch) // one call too many
	gate.release <- struct{}{}
	if got := <-gate.arrived; got != remote.FullBatch {
		t.Errorf("the last call is for %d blobs, want %d", got, remote.FullBatch)
	}
	for range calls {
		gate.release <- struct{}{}
	}
	r.Wait()
}

func TestCancelledWaiterLeavesTheQueue(t *testing.T) {
	batcher, gate, digests := gatedBatcher(t, 3)
	r := readers{t: t, batcher: batcher}
	r.start(t.Context(), digests[0])
	<-gate.arrived
	ctx, cancel := context.WithCancel(t.Context())
	r.start(ctx, digests[1])
	awaitWaiting(batcher, 1)
	cancel()
	awaitWaiting(batcher, 0)
	r.start(t.Context(), digests[2])
	awaitWaiting(batcher, 1)
	gate.release <- struct{}{}
	if got := <-gate.arrived; got != 1 {
		t.Errorf("a call for %d blobs, want 1: the cancelled one is gone", got)
	}
	gate.release <- struct{}{}
	r.Wait()
}

// The caller that makes the call for others may lose interest; they don't.
func TestCancelledLeaderServesTheOthers(t *testing.T) {
	batcher, gate, digests := gatedBatcher(t, 3)
	r := readers{t: t, batcher: batcher}
	r.start(t.Context(), digests[0])
	<-gate.arrived
	ctx, cancel := context.WithCancel(t.Context())
	r.start(ctx, digests[1]) // the first that waits makes the next call
	awaitWaiting(batcher, 1)
	r.start(t.Context(), digests[2])
	awaitWaiting(batcher, 2)
	gate.release <- struct{}{}
	if got := <-gate.arrived; got != 2 {
		t.Errorf("a call for %d blobs, want 2", got)
	}
	cancel()
	gate.release <- struct{}{}
	r.Wait()
}

// A waiter may be given the turn to make the next call and be cancelled in the
// same moment: then it hands the turn on. Cancelled in the goroutine that is
// about to give the turn, it nearly always is; a lost turn would hang the read
// that comes last.
func TestCancelledWaiterHandsItsTurnOn(t *testing.T) {
	server := newStorage(t, 0)
	digests := fill(t, server, 3)
	var beforeReturn func() // of the next call
	hook := func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		err := invoke(ctx, method, request, reply, conn, options...)
		if _, ok := request.(*repb.BatchReadBlobsRequest); ok && beforeReturn != nil {
			now := beforeReturn
			beforeReturn = nil
			now()
		}
		return err
	}
	client := dialConfig(t, remote.Config{URL: "grpc://" + server.address, Instance: "main", RetryLimit: -1}, grpc.WithUnaryInterceptor(hook))
	batcher := newBatcher(client)
	for range 100 {
		r := readers{t: t, batcher: batcher}
		ctx, cancel := context.WithCancel(t.Context())
		beforeReturn = func() {
			r.start(ctx, digests[1])
			awaitWaiting(batcher, 1)
			cancel()
		}
		r.start(t.Context(), digests[0])
		r.Wait()
		if _, err := batcher.Do(t.Context(), digests[2]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryReaderHearsOfAFailedCall(t *testing.T) {
	fake := &fakeBlobs{read: func(*repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
		return nil, status.Error(codes.PermissionDenied, "no")
	}}
	batcher := newBatcher(dialFake(t, fake))
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if _, err := batcher.Do(t.Context(), digest.Of(fmt.Append(nil, i))); status.Code(err) != codes.PermissionDenied {
				t.Errorf("error %v, want PERMISSION_DENIED", err)
			}
		})
	}
	group.Wait()
}

func TestOneMissingBlobIsNobodyElsesError(t *testing.T) {
	batcher, gate, digests := gatedBatcher(t, 2)
	r := readers{t: t, batcher: batcher}
	r.start(t.Context(), digests[0])
	<-gate.arrived
	r.start(t.Context(), digests[1])
	var missingErr error
	r.Go(func() { _, missingErr = batcher.Do(t.Context(), digest.Of([]byte("missing"))) })
	awaitWaiting(batcher, 2)
	gate.release <- struct{}{}
	<-gate.arrived
	gate.release <- struct{}{}
	r.Wait()
	if !errors.Is(missingErr, cas.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", missingErr)
	}
}

func TestEmptyBlobTakesNoCall(t *testing.T) {
	server := newStorage(t, 0)
	if data, err := dial(t, server.address, "main").ReadBlob(t.Context(), digest.Empty); err != nil || len(data) != 0 {
		t.Errorf("got %d bytes, error %v", len(data), err)
	}
	if got := server.all(); len(got) != 0 {
		t.Errorf("it took %v", got)
	}
}

// Whoever cancels whenever, all others get their blob: a read that is forgotten
// would hang this test. The seeds decide who cancels; when, only the scheduler.
func TestCancellationLosesNoOtherRead(t *testing.T) {
	server := newStorage(t, 0)
	digests := fill(t, server, 40)
	batcher := newBatcher(dial(t, server.address, "main"))
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := readers{t: t, batcher: batcher}
		for range 30 {
			d := digests[random.IntN(len(digests))]
			if random.IntN(2) == 0 {
				r.start(t.Context(), d)
				continue
			}
			ctx, cancel := context.WithCancel(t.Context())
			r.start(ctx, d)
			yields := random.IntN(40)
			r.Go(func() {
				for range yields {
					runtime.Gosched()
				}
				cancel()
			})
		}
		r.Wait()
		if got := batcher.Waiting(); got != 0 {
			t.Fatalf("seed %d: %d reads still wait", seed, got)
		}
	}
	// The turn was handed back each time: a read alone goes at once.
	data, err := batcher.Do(t.Context(), digests[0])
	if want, _ := castest.Blob(0, 100); err != nil || !bytes.Equal(data, want) {
		t.Errorf("read %d bytes, error %v", len(data), err)
	}
	if got := server.of("BatchReadBlobs"); got >= 150*30 {
		t.Errorf("%d calls for %d reads, want fewer", got, 150*30)
	}
}
