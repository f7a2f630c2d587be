package storage

import (
	"context"
	"errors"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/batch"
)

// batchService is what the execution-server asks for actions, for many in one call
// (batch.proto).
type batchService struct {
	batch.UnimplementedActionCacheServer
	actionCacheService
}

// BatchFindActions is GetActionResult of each action, and reads the actions that have no
// result, and their commands. What makes the answer larger than a batch of blobs may be
// is left out.
func (s batchService) BatchFindActions(ctx context.Context, request *batch.BatchFindActionsRequest) (*batch.BatchFindActionsResponse, error) {
	if err := checkBatch(len(request.Queries)); err != nil {
		return nil, s.wire(ctx, err)
	}
	in, function, err := s.asked(request.InstanceName, request.DigestFunction)
	if err != nil {
		return nil, s.wire(ctx, err)
	}
	one := &repb.GetActionResultRequest{InstanceName: request.InstanceName, DigestFunction: request.DigestFunction}
	responses := make([]batch.BatchFindActionsResponse_Response, len(request.Queries))
	answer := &batch.BatchFindActionsResponse{Responses: make([]*batch.BatchFindActionsResponse_Response, len(responses))}
	room := s.maxBatchBytes
	for i, query := range request.Queries {
		r := &responses[i]
		answer.Responses[i] = r
		if !query.GetSkipResult() {
			one.ActionDigest = query.GetActionDigest()
			room = s.findResult(ctx, one, r, room)
		}
		if r.Result == nil && !r.LeftOut {
			r.Action, r.Command = readAction(ctx, in.CAS, function, query.GetActionDigest(), room)
			read := int64(len(r.Action)) + int64(len(r.Command))
			in.readBytes.Add(float64(read))
			room -= read
		}
	}
	return answer, nil
}

// findResult answers with the result of an action, and returns how much room is left.
func (s batchService) findResult(ctx context.Context, one *repb.GetActionResultRequest, r *batch.BatchFindActionsResponse_Response, room int64) int64 {
	if room <= 0 {
		r.LeftOut = true
		return room
	}
	result, hits, err := s.get(ctx, one)
	switch {
	case errors.Is(err, actioncache.ErrNotFound):
		return room
	case err != nil:
		r.Status = s.blobStatus(ctx, err)
		return room
	}
	size := int64(proto.Size(result))
	if size > room {
		r.LeftOut = true // and is a hit when it is asked for by itself
		return room
	}
	hits.Inc()
	r.Result = result
	return room - size
}

// readAction returns an Action and its Command, both or neither.
func readAction(ctx context.Context, store cas.Store, function digest.Func, p *repb.Digest, room int64) (action, command []byte) {
	if p.GetSizeBytes() > room {
		return nil, nil
	}
	action, err := readOne(ctx, store, function, p)
	if err != nil {
		return nil, nil
	}
	decoded := new(repb.Action)
	if proto.Unmarshal(action, decoded) != nil || decoded.CommandDigest.GetSizeBytes() > room-int64(len(action)) {
		return nil, nil
	}
	if command, err = readOne(ctx, store, function, decoded.CommandDigest); err != nil {
		return nil, nil
	}
	return action, command
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
