package drive

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// A Client talks to a target over one or several connections, and has each of its RPCs
// observed. What it makes is named by SHA-256, unless SetFunction says otherwise. It is safe for concurrent use.
type Client struct {
	clients  []*remote.Client
	next     atomic.Uint32
	calls    atomic.Int64
	observer Observer
	digests  digestCache
	runs     executions
}

// Windows and buffers are larger than gRPC's, 64 KiB and 32 KiB, so that a blob of some
// megabytes doesn't wait for its sender to be told to go on, and costs fewer system calls.
const (
	streamWindow = 1 << 20
	connWindow   = 4 << 20
	ioBuffer     = 128 << 10
)

// Dial returns a client with so many connections, of which calls take one after the
// other. It connects when first used.
func Dial(c remote.Config, connections int, observer Observer) (*Client, error) {
	client := &Client{observer: observer}
	client.digests.init(digest.SHA256)
	c.Balancer = observed
	meter := &meter{observer: observer, calls: &client.calls}
	options := []grpc.DialOption{
		grpc.WithUnaryInterceptor(meter.unary), grpc.WithStreamInterceptor(meter.stream), grpc.WithUserAgent("weir-load"),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithReadBufferSize(ioBuffer), grpc.WithWriteBufferSize(ioBuffer),
	}
	for range max(1, connections) {
		one, err := remote.Dial(c, options...)
		if err != nil {
			client.Close()
			return nil, err
		}
		client.clients = append(client.clients, one)
	}
	return client, nil
}

// Close closes the connections.
func (c *Client) Close() error {
	var errs []error
	for _, one := range c.clients {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// ForInstance returns a client of another instance on the same connections, which stay
// the property of c.
func (c *Client) ForInstance(instance string) *Client {
	if instance == c.clients[0].Instance() {
		return c
	}
	other := &Client{observer: c.observer}
	other.digests.init(c.Function())
	for _, one := range c.clients {
		other.clients = append(other.clients, one.ForInstance(instance))
	}
	return other
}

// SetFunction has the client name by another digest function what it makes. It comes before
// everything that makes something.
func (c *Client) SetFunction(f digest.Func) { c.digests.init(f) }

// Function is the digest function of what the client makes.
func (c *Client) Function() digest.Func { return c.digests.function }

// Remote returns the client of a connection, the next each time.
func (c *Client) Remote() *remote.Client {
	if len(c.clients) == 1 {
		return c.clients[0]
	}
	return c.clients[c.next.Add(1)%uint32(len(c.clients))]
}

// Capabilities asks what the target can do.
func (c *Client) Capabilities(ctx context.Context) (*repb.ServerCapabilities, error) {
	return c.Remote().Capabilities(ctx)
}

// Missing returns those of digests that the target lacks.
func (c *Client) Missing(ctx context.Context, digests []digest.Digest) ([]digest.Digest, error) {
	l := labelOf(ctx)
	l.blobs = len(digests)
	return c.Remote().Missing(l.on(ctx), digests, nil)
}

// Put stores blobs, whether or not the target has them; the small ones in batches.
func (c *Client) Put(ctx context.Context, digests []digest.Digest, data func(digest.Digest) []byte) error {
	l := labelOf(ctx)
	l.blobs, l.size = len(digests), largest(digests)
	return c.Remote().PutBlobs(l.on(ctx), digests, data)
}

// largest is what decides the size class of a batch.
func largest(digests []digest.Digest) int64 {
	size := int64(-1)
	for _, d := range digests {
		size = max(size, d.SizeBytes)
	}
	return size
}

// Check reads blobs, the small ones in batches, and checks their digests.
func (c *Client) Check(ctx context.Context, digests []digest.Digest) []error {
	l := labelOf(ctx)
	l.blobs, l.size = len(digests), largest(digests)
	errs := c.Remote().CheckBlobs(l.on(ctx), digests)
	for _, err := range errs {
		c.corrupt(err)
	}
	return errs
}

// corrupt tells of a blob that isn't what its digest says.
func (c *Client) corrupt(err error) {
	if corrupt, ok := errors.AsType[*cas.CorruptError](err); ok {
		c.observer.Violation("corrupt_blob", fmt.Sprintf("read %v, got %v", corrupt.Want, corrupt.Got))
	}
}

// ActionResult looks a result up; nil is none.
func (c *Client) ActionResult(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	l := labelOf(ctx)
	l.lookup = true
	found, err := c.Remote().ActionResult(l.on(ctx), action)
	if errors.Is(err, cas.ErrNotFound) {
		return nil, nil
	}
	return found, err
}

// An Execution is what Execute saw beside the response.
type Execution struct {
	Response *repb.ExecuteResponse
	// Operation is the last name.
	Operation string
}

// Execute executes an action and follows it to its end, as Bazel does: a stream that breaks
// is taken up by WaitExecution, an operation that the server has forgotten is executed
// again, and so is an action of which the server, being away, may not have heard. gRPC
// repeats the other calls. That the end is told once is checked.
func (c *Client) Execute(ctx context.Context, action digest.Digest, skipCache bool, priority int32) (Execution, error) {
	pause := scenario.FirstPause
	for retries := 0; ; retries++ {
		e, err := c.execute(ctx, action, skipCache, priority)
		if status.Code(err) != codes.Unavailable || retries == scenario.DefaultRetries {
			return e, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return e, err
		}
		pause = min(2*pause, scenario.LastPause)
	}
}

func (c *Client) execute(ctx context.Context, action digest.Digest, skipCache bool, priority int32) (Execution, error) {
	client := c.Remote()
	request := &repb.ExecuteRequest{
		InstanceName: client.Instance(), ActionDigest: action.Proto(), DigestFunction: action.Func().Value(), SkipCacheLookup: skipCache,
	}
	if priority != 0 {
		request.ExecutionPolicy = &repb.ExecutionPolicy{Priority: priority}
	}
	var e Execution
	done := 0
	response, err := client.Execute(ctx, request, func(o remote.Update) {
		e.Operation = o.Name
		if o.Done {
			done++
		}
	})
	if done > 1 {
		c.observer.Violation("duplicate_update", fmt.Sprintf("operation %s was done %d times", e.Operation, done))
	}
	e.Response = response
	return e, err
}

// Digest returns the digest of a blob. Hashing is most of what a generator does, so that
// those of blobs that come again are kept.
func (c *Client) Digest(b workload.Blob) digest.Digest { return c.digests.of(b) }

// PutAll stores blobs, whether or not the target has them.
func (c *Client) PutAll(ctx context.Context, blobs []workload.Blob) error {
	digests := make([]digest.Digest, 0, len(blobs))
	of := make(map[digest.Digest]workload.Blob, len(blobs))
	for _, b := range blobs {
		d := c.Digest(b)
		if _, twice := of[d]; !twice && !d.IsEmpty() {
			of[d] = b
			digests = append(digests, d)
		}
	}
	return c.Put(ctx, digests, func(d digest.Digest) []byte { return of[d].Bytes() })
}
