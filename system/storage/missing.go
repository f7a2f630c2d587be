package storage

import (
	"context"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
)

type casService struct {
	repb.UnimplementedContentAddressableStorageServer
	*Server
}

// digestBuffer is what FindMissingBlobs needs for one call.
type digestBuffer struct {
	asked, missing []digest.Digest
}

// maxPooledDigests bounds what a digestBuffer keeps between calls: 16 times what
// clients commonly ask for at once, and 2.5 MiB.
const maxPooledDigests = 32 << 10

func (s *Server) returnBuffer(b *digestBuffer) {
	if cap(b.asked) <= maxPooledDigests {
		s.buffers.Put(b)
	}
}

// FindMissingBlobs is the most frequent call of a warm build. It allocates
// little beside the answer, which takes the digest messages of the request.
func (s casService) FindMissingBlobs(ctx context.Context, request *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	in, function, err := s.asked(request.InstanceName, request.DigestFunction)
	if err != nil {
		return nil, s.wire(ctx, err)
	}
	b := s.buffers.Get().(*digestBuffer)
	defer s.returnBuffer(b)
	b.asked = b.asked[:0]
	for i, p := range request.BlobDigests {
		d, err := function.FromProto(p)
		if err != nil {
			return nil, s.wire(ctx, fmt.Errorf("blob_digests[%d]: %w", i, err))
		}
		b.asked = append(b.asked, d)
	}
	b.missing, err = in.CAS.Missing(ctx, b.asked, b.missing[:0])
	if err != nil {
		return nil, s.wire(ctx, fmt.Errorf("find %d missing blobs: %w", len(b.asked), err))
	}
	in.missing.Add(float64(len(b.missing)))
	in.present.Add(float64(len(b.asked) - len(b.missing)))
	return &repb.FindMissingBlobsResponse{MissingBlobDigests: pick(request.BlobDigests, b.asked, b.missing)}, nil
}

// pick returns those of messages whose digest is missing. Both lists of digests
// have the same order, which a store promises.
func pick(messages []*repb.Digest, digests, missing []digest.Digest) []*repb.Digest {
	if len(missing) == 0 {
		return nil
	}
	picked := make([]*repb.Digest, 0, len(missing))
	for i, message := range messages {
		if len(picked) < len(missing) && digests[i] == missing[len(picked)] {
			picked = append(picked, message)
		}
	}
	return picked
}
