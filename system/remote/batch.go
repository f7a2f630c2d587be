package remote

import (
	"context"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// ReadBlobs reads blobs, many in one call where they are small and of one digest
// function. Results are in the order of digests; an error wraps cas.ErrNotFound if the
// server lacks the blob. A call that fails fails its blobs, and no others.
func (c *Client) ReadBlobs(ctx context.Context, digests []digest.Digest) []Result[[]byte] {
	results := make([]Result[[]byte], len(digests))
	c.readEach(ctx, digests, false, func(i int, data []byte, err error) { results[i] = Result[[]byte]{data, err} })
	return results
}

// CheckBlobs is ReadBlobs for those who want to know of each blob only whether it can be
// read, and is what its digest says.
func (c *Client) CheckBlobs(ctx context.Context, digests []digest.Digest) []error {
	errs := make([]error, len(digests))
	c.readEach(ctx, digests, true, func(i int, _ []byte, err error) { errs[i] = err })
	return errs
}

// readEach tells got of each blob. If they are scratch, the bytes are got's no longer than
// until it returns.
func (c *Client) readEach(ctx context.Context, digests []digest.Digest, scratch bool, got func(i int, data []byte, err error)) {
	limit := c.limit(ctx)
	var batch []int
	var size int64
	flush := func() {
		if len(batch) == 0 {
			return
		}
		if err := c.readBatch(ctx, digests, batch, scratch, got); err != nil {
			for _, i := range batch {
				got(i, nil, err)
			}
		}
		batch, size = batch[:0], 0
	}
	for i, d := range digests {
		if d.IsEmpty() {
			continue
		}
		if !batchable(d, limit) {
			data, err := c.readStream(ctx, d)
			got(i, data, err)
			continue
		}
		cost := d.SizeBytes + batchOverhead
		if size+cost > limit || len(batch) > 0 && d.Func() != digests[batch[0]].Func() {
			flush()
		}
		batch, size = append(batch, i), size+cost
	}
	flush()
}

// batchable tells whether a blob fits in a batch. Sizes come from anywhere: the
// largest would wrap around if anything were added to it.
func batchable(d digest.Digest, limit int64) bool { return d.SizeBytes <= limit-batchOverhead }

// readBatch tells got of digests[i] for each i in batch, of all or of none.
func (c *Client) readBatch(ctx context.Context, digests []digest.Digest, batch []int, scratch bool, got func(i int, data []byte, err error)) error {
	function := digests[batch[0]].Func()
	request := &repb.BatchReadBlobsRequest{InstanceName: c.instance, DigestFunction: function.Value()}
	if c.compressor != nil {
		// No capability tells of this; a server that can't answers plainly.
		request.AcceptableCompressors = []repb.Compressor_Value{digest.Compressor}
	}
	for _, i := range batch {
		request.Digests = append(request.Digests, digests[i].Proto())
	}
	codec := newAnswerCodec(scratch)
	defer codec.free()
	response, err := c.blobs.BatchReadBlobs(ctx, request, grpc.ForceCodecV2(codec))
	if err != nil {
		return fmt.Errorf("read %d blobs: %w", len(batch), err)
	}
	answers := make(map[digest.Digest]*repb.BatchReadBlobsResponse_Response, len(batch))
	for _, r := range response.Responses {
		d, err := function.FromProto(r.Digest)
		if err != nil {
			return fmt.Errorf("read %d blobs: the server answered with a %w", len(batch), err)
		}
		answers[d] = r
	}
	for _, i := range batch {
		data, err := c.checkAnswer(digests[i], answers[digests[i]])
		got(i, data, err)
	}
	return nil
}

func (c *Client) checkAnswer(d digest.Digest, answer *repb.BatchReadBlobsResponse_Response) ([]byte, error) {
	if answer == nil {
		return nil, fmt.Errorf("read blob %v: the server left it out of its answer", d)
	}
	if code := codes.Code(answer.GetStatus().GetCode()); code != codes.OK {
		return nil, fmt.Errorf("read blob %v: %w", d, blobError(status.ErrorProto(answer.Status)))
	}
	data := answer.Data
	if c.compressor != nil && answer.Compressor != repb.Compressor_IDENTITY {
		var err error
		if data, err = c.decode(d, answer); err != nil {
			return nil, fmt.Errorf("read blob %v: %w", d, err)
		}
	}
	if got := d.Func().Of(data); got != d {
		return nil, fmt.Errorf("read blob %v: %w", d, &cas.CorruptError{Want: d, Got: got})
	}
	return data, nil
}

// decode returns what an answer holds, at most as many bytes as the blob has. These
// are few: the blob is one that fits in a batch, see batchable.
func (c *Client) decode(d digest.Digest, answer *repb.BatchReadBlobsResponse_Response) ([]byte, error) {
	if answer.Compressor != digest.Compressor {
		return nil, fmt.Errorf("the server answered in %v, for which it wasn't asked", answer.Compressor)
	}
	data, err := c.compressor.Decode(answer.Data, d.SizeBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", &cas.CorruptError{Want: d}, err) // of it came nothing
	}
	return data, nil
}

// ReadBlob reads one blob and checks it. The error wraps cas.ErrNotFound if the
// server lacks it.
func (c *Client) ReadBlob(ctx context.Context, d digest.Digest) ([]byte, error) {
	if d.IsEmpty() {
		return nil, nil
	}
	result := c.ReadBlobs(ctx, []digest.Digest{d})[0]
	return result.Value, result.Err
}

// WriteBlobs stores those of blobs that the server lacks. The map is not
// changed.
func (c *Client) WriteBlobs(ctx context.Context, blobs map[digest.Digest][]byte) error {
	digests := make([]digest.Digest, 0, len(blobs))
	for d := range blobs {
		digests = append(digests, d)
	}
	missing, err := c.Missing(ctx, digests, nil)
	if err != nil {
		return err
	}
	return c.PutBlobs(ctx, missing, func(d digest.Digest) []byte { return blobs[d] })
}

// PutBlobs stores blobs, whether or not the server has them, many in one call where
// they are small. It asks for the data of each when it sends it.
func (c *Client) PutBlobs(ctx context.Context, digests []digest.Digest, data func(digest.Digest) []byte) error {
	server := c.server(ctx)
	request := &repb.BatchUpdateBlobsRequest{InstanceName: c.instance}
	var function digest.Func // of what is in request
	var size int64
	flush := func() error {
		if len(request.Requests) == 0 {
			return nil
		}
		err := c.writeBatch(ctx, function, request)
		request.Requests, size = nil, 0
		return err
	}
	for _, d := range digests {
		if !batchable(d, server.batchBytes) {
			if err := c.writeStream(ctx, d, data(d)); err != nil {
				return err
			}
			continue
		}
		// The cost is that of the plain form: REAPI doesn't say whether the limit is
		// of one or the other.
		cost := d.SizeBytes + batchOverhead
		if size+cost > server.batchBytes || d.Func() != function {
			if err := flush(); err != nil {
				return err
			}
		}
		function = d.Func()
		request.Requests = append(request.Requests, c.update(server, d, data(d)))
		size += cost
	}
	return flush()
}

// update returns the request to store a blob, compressed if the server takes that and
// it makes the blob smaller.
func (c *Client) update(server abilities, d digest.Digest, data []byte) *repb.BatchUpdateBlobsRequest_Request {
	request := &repb.BatchUpdateBlobsRequest_Request{Digest: d.Proto(), Data: data}
	if server.compressedUpdates {
		if encoded := c.compress(data); encoded != nil {
			request.Data, request.Compressor = encoded, digest.Compressor
		}
	}
	return request
}

// writeBatch stores blobs whose digests are of one function.
func (c *Client) writeBatch(ctx context.Context, function digest.Func, request *repb.BatchUpdateBlobsRequest) error {
	request.DigestFunction = function.Value()
	response, err := c.blobs.BatchUpdateBlobs(ctx, request)
	if err != nil {
		return fmt.Errorf("write %d blobs: %w", len(request.Requests), err)
	}
	stored := make(map[digest.Digest]bool, len(response.Responses))
	for _, r := range response.Responses {
		d, err := function.FromProto(r.Digest)
		if err != nil {
			return fmt.Errorf("write %d blobs: the server answered with a %w", len(request.Requests), err)
		}
		if codes.Code(r.GetStatus().GetCode()) != codes.OK {
			return fmt.Errorf("write blob %v: %w", d, blobError(status.ErrorProto(r.Status)))
		}
		stored[d] = true
	}
	for _, r := range request.Requests {
		if d, err := function.FromProto(r.Digest); err != nil || !stored[d] {
			return fmt.Errorf("write blob %s/%d: the server left it out of its answer", r.Digest.Hash, r.Digest.SizeBytes)
		}
	}
	return nil
}

// WriteBlob stores one blob, whether or not the server has it.
func (c *Client) WriteBlob(ctx context.Context, d digest.Digest, data []byte) error {
	server := c.server(ctx)
	if !batchable(d, server.batchBytes) {
		return c.writeStream(ctx, d, data)
	}
	return c.writeBatch(ctx, d.Func(), &repb.BatchUpdateBlobsRequest{
		InstanceName: c.instance,
		Requests:     []*repb.BatchUpdateBlobsRequest_Request{c.update(server, d, data)},
	})
}
