package storage

import (
	"context"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// BatchUpdateBlobs stores blobs. More data than the advertised limit fails the
// call; what is wrong with one blob is that blob's status.
func (s casService) BatchUpdateBlobs(ctx context.Context, request *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	in, function, err := s.asked(request.InstanceName, request.DigestFunction)
	if err != nil {
		return nil, s.wire(ctx, err)
	}
	var total int64
	for _, r := range request.Requests {
		total += int64(len(r.Data))
	}
	if total > s.maxBatchBytes {
		return nil, s.wire(ctx, invalid("the batch has %d bytes of data, the limit is %d: use ByteStream for large blobs", total, s.maxBatchBytes))
	}
	responses := make([]repb.BatchUpdateBlobsResponse_Response, len(request.Requests))
	response := &repb.BatchUpdateBlobsResponse{Responses: make([]*repb.BatchUpdateBlobsResponse_Response, len(responses))}
	for i, r := range request.Requests {
		err := writeOne(ctx, in.CAS, function, r)
		if err == nil {
			in.writtenBytes.Add(float64(len(r.Data)))
		}
		responses[i].Digest = r.Digest
		responses[i].Status = s.blobStatus(ctx, err)
		response.Responses[i] = &responses[i]
	}
	return response, nil
}

func writeOne(ctx context.Context, store cas.Store, function digest.Func, r *repb.BatchUpdateBlobsRequest_Request) error {
	d, err := function.FromProto(r.Digest)
	if err != nil {
		return err
	}
	if r.Compressor != repb.Compressor_IDENTITY {
		return invalid("blob %v: compressor %v is not supported", d, r.Compressor)
	}
	return store.Write(ctx, d, r.Data)
}

// BatchReadBlobs reads blobs. The sizes in the digests are added up before
// anything is read: more than the advertised limit fails the call.
func (s casService) BatchReadBlobs(ctx context.Context, request *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
	in, function, err := s.asked(request.InstanceName, request.DigestFunction)
	if err != nil {
		return nil, s.wire(ctx, err)
	}
	if err := s.checkReadBatch(request.Digests); err != nil {
		return nil, s.wire(ctx, err)
	}
	responses := make([]repb.BatchReadBlobsResponse_Response, len(request.Digests))
	response := &repb.BatchReadBlobsResponse{Responses: make([]*repb.BatchReadBlobsResponse_Response, len(responses))}
	for i, p := range request.Digests {
		data, err := readOne(ctx, in.CAS, function, p)
		in.readBytes.Add(float64(len(data)))
		responses[i].Digest = p
		responses[i].Data = data
		responses[i].Status = s.blobStatus(ctx, err)
		response.Responses[i] = &responses[i]
	}
	return response, nil
}

// checkReadBatch adds sizes without overflow: two of 2^62 bytes are too much,
// not a negative number. Malformed digests have no size.
func (s *Server) checkReadBatch(digests []*repb.Digest) error {
	rest := s.maxBatchBytes
	for i, p := range digests {
		size := max(p.GetSizeBytes(), 0)
		if size > rest {
			return invalid("the first %d blobs of the batch have more than %d bytes, the limit: use ByteStream for large blobs", i+1, s.maxBatchBytes)
		}
		rest -= size
	}
	return nil
}

func readOne(ctx context.Context, store cas.Store, function digest.Func, p *repb.Digest) ([]byte, error) {
	d, err := function.FromProto(p)
	if err != nil {
		return nil, err
	}
	return store.Read(ctx, d)
}
