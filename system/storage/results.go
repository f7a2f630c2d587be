package storage

import (
	"context"
	"errors"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/proto/batch"
)

// batchService is the action cache for many actions in one call (batch.proto).
type batchService struct {
	batch.UnimplementedActionCacheServer
	actionCacheService
}

// BatchGetActionResults is GetActionResult of each action. Results that make the
// answer larger than a batch of blobs may be are left out.
func (s batchService) BatchGetActionResults(ctx context.Context, request *batch.BatchGetActionResultsRequest) (*batch.BatchGetActionResultsResponse, error) {
	if err := checkBatch(len(request.ActionDigests)); err != nil {
		return nil, s.wire(ctx, err)
	}
	one := &repb.GetActionResultRequest{InstanceName: request.InstanceName, DigestFunction: request.DigestFunction}
	responses := make([]batch.BatchGetActionResultsResponse_Response, len(request.ActionDigests))
	answer := &batch.BatchGetActionResultsResponse{Responses: make([]*batch.BatchGetActionResultsResponse_Response, len(responses))}
	room := s.maxBatchBytes
	for i, d := range request.ActionDigests {
		r := &responses[i]
		answer.Responses[i] = r
		if room <= 0 {
			r.LeftOut = true
			continue
		}
		one.ActionDigest = d
		result, err := s.get(ctx, one)
		switch {
		case errors.Is(err, actioncache.ErrNotFound):
		case err != nil:
			r.Status = s.blobStatus(ctx, err)
		default:
			if size := int64(proto.Size(result)); size > room {
				r.LeftOut = true // and is counted as a hit again when it is asked for
			} else {
				r.Result, room = result, room-size
			}
		}
	}
	return answer, nil
}

// BatchUpdateActionResults is UpdateActionResult of each action.
func (s batchService) BatchUpdateActionResults(ctx context.Context, request *batch.BatchUpdateActionResultsRequest) (*batch.BatchUpdateActionResultsResponse, error) {
	if err := checkBatch(len(request.Updates)); err != nil {
		return nil, s.wire(ctx, err)
	}
	answer := new(batch.BatchUpdateActionResultsResponse)
	for _, u := range request.Updates {
		err := s.update(ctx, &repb.UpdateActionResultRequest{
			InstanceName: request.InstanceName, DigestFunction: request.DigestFunction, ActionDigest: u.ActionDigest, ActionResult: u.Result,
		})
		answer.Statuses = append(answer.Statuses, s.blobStatus(ctx, err))
	}
	return answer, nil
}

func checkBatch(n int) error {
	if n > batch.MaxResults {
		return invalid("a batch of %d actions, the limit is %d: use several", n, batch.MaxResults)
	}
	return nil
}
