package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/batch"
)

// Limits of one request.
const (
	// defaultBatchBytes bounds a batch when the server names no limit, and when
	// it names a larger one: gRPC's usual message limit of 4 MiB less what the
	// framing of many small blobs takes (BuildBox uses the same figure).
	defaultBatchBytes = 4<<20 - 64<<10
	// batchOverhead is what a blob costs in a batch beside its bytes.
	batchOverhead = 128
	// maxDigests bounds FindMissingBlobs: 10 000 digests are about 750 kB.
	maxDigests = 10_000
)

// Client talks to one instance of one server. Requests name the digest function of their
// digests. It is safe for concurrent use.
type Client struct {
	conn       *grpc.ClientConn
	instance   string
	compressor Compressor // nil for none
	patience   patience

	blobs        repb.ContentAddressableStorageClient
	streams      bspb.ByteStreamClient
	actions      repb.ActionCacheClient
	results      batch.ActionCacheClient
	capabilities repb.CapabilitiesClient

	// mu guards known.
	mu    sync.Mutex
	known abilities

	// plainUntil is until when the server is taken to have REAPI's calls only, in
	// nanoseconds since 1970.
	plainUntil atomic.Int64
}

func newClient(conn *grpc.ClientConn, instance string, compressor Compressor, patience patience) *Client {
	return &Client{
		conn:         conn,
		instance:     instance,
		compressor:   compressor,
		patience:     patience,
		blobs:        repb.NewContentAddressableStorageClient(conn),
		streams:      bspb.NewByteStreamClient(conn),
		actions:      repb.NewActionCacheClient(conn),
		results:      batch.NewActionCacheClient(conn),
		capabilities: repb.NewCapabilitiesClient(conn),
	}
}

// ForInstance returns a client of another instance on the same connection,
// which stays the property of c.
func (c *Client) ForInstance(instance string) *Client {
	return newClient(c.conn, instance, c.compressor, c.patience)
}

// Conn returns the connection, for services that this package doesn't know.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Instance returns the instance name.
func (c *Client) Instance() string { return c.instance }

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Capabilities asks the server what it can do.
func (c *Client) Capabilities(ctx context.Context) (*repb.ServerCapabilities, error) {
	return c.capabilities.GetCapabilities(ctx, &repb.GetCapabilitiesRequest{InstanceName: c.instance})
}

// server returns what the server is able to. One that can't say is asked again
// next time.
func (c *Client) server(ctx context.Context) abilities {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known.batchBytes > 0 {
		return known
	}
	answer, err := c.Capabilities(ctx)
	if err != nil && status.Code(err) != codes.Unimplemented {
		return abilities{batchBytes: defaultBatchBytes}
	}
	known = c.abilitiesOf(answer.GetCacheCapabilities())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = known
	return known
}

// limit returns how many bytes may go in one batch.
func (c *Client) limit(ctx context.Context) int64 { return c.server(ctx).batchBytes }

// Missing appends to dst those of digests that the server lacks, in their order,
// and returns it.
func (c *Client) Missing(ctx context.Context, digests []digest.Digest, dst []digest.Digest) ([]digest.Digest, error) {
	for len(digests) > 0 {
		n := ofOneFunction(digests[:min(len(digests), maxDigests)])
		q, a := &question{c.instance, digests[:n]}, &answered{asked: digests[:n], missing: dst}
		err := c.conn.Invoke(ctx, repb.ContentAddressableStorage_FindMissingBlobs_FullMethodName, q, a, grpc.ForceCodecV2(missingAsked))
		if err != nil {
			return nil, fmt.Errorf("find missing blobs: %w", err)
		}
		if a.err != nil {
			return nil, fmt.Errorf("find missing blobs: the server answered with a %w", a.err)
		}
		dst = a.missing
		digests = digests[n:]
	}
	return dst, nil
}

// ofOneFunction returns how many digests there are before the first of another function.
func ofOneFunction(digests []digest.Digest) int {
	for i := range digests {
		if digests[i].Func() != digests[0].Func() {
			return i
		}
	}
	return len(digests)
}

// appendMissing appends those of asked that answer lists. Servers answer in any
// order, and each digest once or as often as it was asked.
func appendMissing(dst, asked []digest.Digest, answer []*repb.Digest) ([]digest.Digest, error) {
	missing := make(map[digest.Digest]bool, len(answer))
	for _, p := range answer {
		d, err := asked[0].Func().FromProto(p)
		if err != nil {
			return nil, err
		}
		missing[d] = true
	}
	for _, d := range asked {
		if missing[d] {
			dst = append(dst, d)
		}
	}
	return dst, nil
}

// Tree returns the Directories reachable from a root, the root first. The error
// wraps cas.ErrNotFound if the root is missing; others that are missing are left
// out, as REAPI allows.
func (c *Client) Tree(ctx context.Context, root digest.Digest) ([]*repb.Directory, error) {
	var all []*repb.Directory
	stream, err := c.blobs.GetTree(ctx, &repb.GetTreeRequest{InstanceName: c.instance, RootDigest: root.Proto(), DigestFunction: root.Func().Value()})
	for err == nil {
		var page *repb.GetTreeResponse
		if page, err = stream.Recv(); err == nil {
			all = append(all, page.Directories...)
		}
	}
	if errors.Is(err, io.EOF) {
		return all, nil
	}
	return nil, fmt.Errorf("get tree %v: %w", root, blobError(err))
}
