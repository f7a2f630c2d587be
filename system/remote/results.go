package remote

import (
	"context"
	"fmt"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/batch"
)

// ActionResult returns the cached result of an action. The error wraps
// cas.ErrNotFound if there is none.
func (c *Client) ActionResult(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	result, err := c.actions.GetActionResult(ctx, &repb.GetActionResultRequest{
		InstanceName: c.instance, ActionDigest: action.Proto(), DigestFunction: action.Func().Value(),
	})
	if status.Code(err) == codes.NotFound {
		// The plain answer to each action of a fresh build: no error worth a text.
		return nil, blobError(err)
	}
	if err != nil {
		return nil, fmt.Errorf("get result of action %v: %w", action, blobError(err))
	}
	return result, nil
}

// UpdateActionResult caches the result of an action.
func (c *Client) UpdateActionResult(ctx context.Context, action digest.Digest, result *repb.ActionResult) error {
	_, err := c.actions.UpdateActionResult(ctx, &repb.UpdateActionResultRequest{
		InstanceName: c.instance, ActionDigest: action.Proto(), ActionResult: result, DigestFunction: action.Func().Value(),
	})
	if err != nil {
		return fmt.Errorf("update result of action %v: %w", action, err)
	}
	return nil
}

// ActionResults is ActionResult of many actions, in one call if the server is one of
// ours: REAPI has none for that. Their digests are of one function. Results are in the
// order of actions.
func (c *Client) ActionResults(ctx context.Context, actions []digest.Digest) []Result[*repb.ActionResult] {
	results := make([]Result[*repb.ActionResult], len(actions))
	for from := 0; from < len(actions); from += batch.MaxResults {
		some := actions[from:min(from+batch.MaxResults, len(actions))]
		of := results[from : from+len(some)]
		one := func(i int) { of[i].Value, of[i].Err = c.ActionResult(ctx, some[i]) }
		atOnce(c, of, one, func() error { return c.readResults(ctx, some, of, one) })
	}
	return results
}

// readResults fills in results, by one for those that the answer has no room for.
func (c *Client) readResults(ctx context.Context, actions []digest.Digest, results []Result[*repb.ActionResult], one func(i int)) error {
	request := &batch.BatchGetActionResultsRequest{InstanceName: c.instance, DigestFunction: actions[0].Func().Value()}
	for _, action := range actions {
		request.ActionDigests = append(request.ActionDigests, action.Proto())
	}
	answer, err := c.results.BatchGetActionResults(ctx, request)
	if err == nil && len(answer.Responses) != len(actions) {
		err = fmt.Errorf("the server answered with %d", len(answer.Responses))
	}
	if err != nil {
		return fmt.Errorf("get the results of %d actions: %w", len(actions), err)
	}
	var leftOut []int
	for i, r := range answer.Responses {
		switch code := codes.Code(r.GetStatus().GetCode()); {
		case r.LeftOut:
			leftOut = append(leftOut, i)
		case code != codes.OK:
			results[i].Err = fmt.Errorf("get result of action %v: %w", actions[i], blobError(status.ErrorProto(r.Status)))
		case r.Result == nil:
			results[i].Err = cas.ErrNotFound
		default:
			results[i].Value = r.Result
		}
	}
	each(len(leftOut), func(i int) { one(leftOut[i]) })
	return nil
}

// An ActionUpdate is a result to be cached.
type ActionUpdate struct {
	Action digest.Digest
	Result *repb.ActionResult
}

// UpdateActionResults is UpdateActionResult of many, in as few calls as they fit in if
// the server is one of ours. The actions' digests are of one function. Results are in the
// order of updates.
func (c *Client) UpdateActionResults(ctx context.Context, updates []ActionUpdate) []Result[struct{}] {
	results := make([]Result[struct{}], len(updates))
	limit := c.limit(ctx)
	for from, to := 0, 0; from < len(updates); from = to {
		for size := int64(0); to < len(updates) && to-from < batch.MaxResults; to++ {
			if size += int64(proto.Size(updates[to].Result)) + batchOverhead; size > limit && to > from {
				break
			}
		}
		some, of := updates[from:to], results[from:to]
		one := func(i int) { of[i].Err = c.UpdateActionResult(ctx, some[i].Action, some[i].Result) }
		atOnce(c, of, one, func() error { return c.writeResults(ctx, some, of) })
	}
	return results
}

func (c *Client) writeResults(ctx context.Context, updates []ActionUpdate, results []Result[struct{}]) error {
	request := &batch.BatchUpdateActionResultsRequest{InstanceName: c.instance, DigestFunction: updates[0].Action.Func().Value()}
	for _, u := range updates {
		request.Updates = append(request.Updates, &batch.BatchUpdateActionResultsRequest_Update{ActionDigest: u.Action.Proto(), Result: u.Result})
	}
	answer, err := c.results.BatchUpdateActionResults(ctx, request)
	if err == nil && len(answer.Statuses) != len(updates) {
		err = fmt.Errorf("the server answered with %d", len(answer.Statuses))
	}
	if err != nil {
		return fmt.Errorf("update the results of %d actions: %w", len(updates), err)
	}
	for i, s := range answer.Statuses {
		if codes.Code(s.GetCode()) != codes.OK {
			results[i].Err = fmt.Errorf("update result of action %v: %w", updates[i].Action, status.ErrorProto(s))
		}
	}
	return nil
}

// atOnce gets results by the one call for all, of which an error is each one's; or one
// by one, side by side, if the server has no such call, or where there is but one: that
// is REAPI's own.
func atOnce[V any](c *Client, results []Result[V], one func(i int), all func() error) {
	if len(results) > 1 && !c.noBatches.Load() {
		err := all()
		if status.Code(err) != codes.Unimplemented {
			if err != nil {
				for i := range results {
					results[i].Err = err
				}
			}
			return
		}
		c.noBatches.Store(true)
	}
	each(len(results), one)
}

// each calls f for each of n, side by side.
func each(n int, f func(i int)) {
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() { f(i) })
	}
	calls.Wait()
}
