package drive_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// heard keeps the calls that an observer is told of.
type heard struct {
	drive.Observers
	mu    sync.Mutex // guards calls
	calls []*result.Call
}

func (h *heard) Call(c *result.Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
}

// of are the calls of a method, when no other goroutine makes any.
func (h *heard) of(method string) []*result.Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*result.Call
	for _, c := range h.calls {
		if c.Method == method {
			out = append(out, c)
		}
	}
	return out
}

// observe returns a client that repeats calls at once, and what its observer is told.
func observe(t *testing.T, url string) (*drive.Client, *heard) {
	t.Helper()
	told := new(heard)
	client, err := drive.Dial(remote.Config{URL: url, RetryDelay: time.Millisecond}, 1, told)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client, told
}

const findMissing = "ContentAddressableStorage/FindMissingBlobs"

// attempts is how often gRPC tries: once, and four times more.
const attempts = 5

func checkAttempts(t *testing.T, calls []*result.Call, begun time.Time) {
	t.Helper()
	if len(calls) != attempts {
		t.Fatalf("told of %d calls, want %d", len(calls), attempts)
	}
	for i, c := range calls {
		if c.Status != "UNAVAILABLE" || !c.Failed || c.Message == "" || c.Sent.Before(begun) || c.End.Before(c.Sent) {
			t.Errorf("attempt %d: %+v", i, c)
		}
		begun = c.End // of the next, which begins after the pause
	}
}

func TestEachAttemptIsTold(t *testing.T) {
	s := server(t, fake.Config{Faults: map[fake.Fault]float64{fake.Unavailable: 1}})
	client, told := observe(t, s.URL)
	digests := []digest.Digest{digest.Of([]byte("a"))}
	begun := time.Now()
	if _, err := client.Missing(t.Context(), digests); err == nil {
		t.Error("a server that isn't available answered")
	}
	calls := told.of(findMissing)
	checkAttempts(t, calls, begun)
	request := &repb.FindMissingBlobsRequest{BlobDigests: digest.Protos(digests), DigestFunction: repb.DigestFunction_SHA256}
	for i, c := range calls {
		if want := int64(proto.Size(request) + 5); c.BytesSent != want || c.BytesReceived != 0 || c.Blobs != 1 {
			t.Errorf("attempt %d sent %d bytes of %d blobs and received %d, want %d of 1 and none", i, c.BytesSent, c.Blobs, c.BytesReceived, want)
		}
	}
}

func TestAttemptsWithoutAConnectionAreTold(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close() // connections are refused
	client, told := observe(t, "grpc://"+listener.Addr().String())
	begun := time.Now()
	if _, err := client.Missing(t.Context(), []digest.Digest{digest.Of([]byte("a"))}); err == nil {
		t.Error("nobody answered")
	}
	checkAttempts(t, told.of(findMissing), begun)
}

func TestCallsThatNeverGetAConnectionAreToldOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // it says nothing to who connects
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, told := observe(t, "grpc://"+listener.Addr().String())
	action := digest.Of([]byte("a"))
	for method, do := range map[string]func(ctx context.Context) error{
		findMissing:         func(ctx context.Context) error { _, err := client.Missing(ctx, []digest.Digest{action}); return err },
		"Execution/Execute": func(ctx context.Context) error { _, err := client.Execute(ctx, action, false, 0); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := do(ctx)
		cancel()
		calls := told.of(method)
		if err == nil || len(calls) != 1 || calls[0].Status != "DEADLINE_EXCEEDED" || !calls[0].Failed {
			t.Errorf("%s: %v, told of %d calls, want one: %+v", method, err, len(calls), calls)
		}
	}
}

// TestBytesAreThoseOfMessages: of batches, whose answers are read by hand, and of streams.
func TestBytesAreThoseOfMessages(t *testing.T) {
	s := server(t, fake.Config{})
	client, told := observe(t, s.URL)
	corpus := workload.Corpus{Blobs: 1, Sizes: workload.Constant(1000), Ratio: 1}
	blob := corpus.At(1, 0)
	if err := client.PutAll(t.Context(), []workload.Blob{blob}); err != nil {
		t.Fatal(err)
	}
	for _, err := range client.Check(t.Context(), []digest.Digest{client.Digest(blob)}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Run(t.Context(), &drive.Command{Arguments: []string{"/bin/true"}}, false, 0); err != nil {
		t.Fatal(err)
	}
	d := client.Digest(blob).Proto()
	function := repb.DigestFunction_SHA256
	read := int64(proto.Size(&repb.BatchReadBlobsRequest{Digests: []*repb.Digest{d}, DigestFunction: function}) + 5)
	for _, want := range []struct {
		method                         string
		sent, leastSent, leastReceived int64 // sent 0 is anything
	}{
		{method: "ContentAddressableStorage/BatchReadBlobs", sent: read, leastReceived: 1000 + 64 + 5},
		{method: "ContentAddressableStorage/BatchUpdateBlobs", leastSent: 1000 + 64 + 5, leastReceived: 64 + 5},
		{method: "Execution/Execute", leastSent: 64 + 5, leastReceived: 3 * 5},
	} {
		calls := told.of(want.method)
		if len(calls) == 0 {
			t.Errorf("%s: not told of it", want.method)
			continue
		}
		c := calls[0]
		if c.Status != "OK" || want.sent > 0 && c.BytesSent != want.sent || c.BytesSent < want.leastSent || c.BytesReceived < want.leastReceived {
			t.Errorf("%s: %+v, want %+v", want.method, c, want)
		}
	}
}
