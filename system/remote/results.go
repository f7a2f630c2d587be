package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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

// An ActionQuery asks for an action.
type ActionQuery struct {
	Action     digest.Digest
	SkipResult bool // a cached result isn't wanted
}

// A FoundAction is the cached result of an action, or what is needed to run it.
type FoundAction struct {
	// Result is nil if there is none, or none was wanted.
	Result *repb.ActionResult
	// Action and Command are the messages as the server has stored them, which is for
	// the caller to check. Both are nil if there is a result, and where they are still to
	// be read, for whatever reason.
	Action, Command []byte
}

// FindActions is ActionResult of many actions, and reads the actions that have no result,
// and their commands: in one call if the server is one of ours, REAPI has none for that;
// another one is asked for the results only. The actions' digests are of one function. An
// error is the look-up's. Results are in the order of queries.
func (c *Client) FindActions(ctx context.Context, queries []ActionQuery) []Result[FoundAction] {
	results := make([]Result[FoundAction], len(queries))
	for from := 0; from < len(queries); from += batch.MaxResults {
		some := queries[from:min(from+batch.MaxResults, len(queries))]
		of := results[from : from+len(some)]
		one := func(i int) {
			if !some[i].SkipResult {
				of[i].Value.Result, of[i].Err = c.ActionResult(ctx, some[i].Action)
			}
			if errors.Is(of[i].Err, cas.ErrNotFound) {
				of[i].Err = nil
			}
		}
		atOnce(c, 1, of, one, func() error { return c.findActions(ctx, some, of, one) })
	}
	return results
}

// findActions fills in results, by one for those that the answer has no room for.
func (c *Client) findActions(ctx context.Context, queries []ActionQuery, results []Result[FoundAction], one func(i int)) error {
	request := &batch.BatchFindActionsRequest{
		InstanceName: c.instance, DigestFunction: queries[0].Action.Func().Value(),
		Queries: make([]*batch.BatchFindActionsRequest_Query, len(queries)),
	}
	for i, q := range queries {
		request.Queries[i] = &batch.BatchFindActionsRequest_Query{ActionDigest: q.Action.Proto(), SkipResult: q.SkipResult}
	}
	answer, err := c.results.BatchFindActions(ctx, request)
	if err == nil && len(answer.Responses) != len(queries) {
		err = fmt.Errorf("the server answered with %d", len(answer.Responses))
	}
	if err != nil {
		return fmt.Errorf("find %d actions: %w", len(queries), err)
	}
	var leftOut []int
	for i, r := range answer.Responses {
		if r.LeftOut {
			leftOut = append(leftOut, i)
			continue
		}
		if code := codes.Code(r.GetStatus().GetCode()); code != codes.OK {
			results[i].Err = fmt.Errorf("get result of action %v: %w", queries[i].Action, blobError(status.ErrorProto(r.Status)))
		}
		results[i].Value = FoundAction{r.Result, r.Action, r.Command}
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
		atOnce(c, 2, of, one, func() error { return c.writeResults(ctx, some, of) })
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

// batchRetry is after what time a server that has no calls for many results is asked for
// one again: it may have been replaced by one that does. A call in vain costs little, and
// a cluster is upgraded in minutes.
const batchRetry = time.Minute

// atOnce gets results by the one call for all, of which an error is each one's; or one
// by one, side by side, by REAPI's calls: if the server has no other, or where there are
// fewer than least.
func atOnce[V any](c *Client, least int, results []Result[V], one func(i int), all func() error) {
	if len(results) >= least && time.Now().UnixNano() >= c.plainUntil.Load() {
		err := all()
		if status.Code(err) != codes.Unimplemented {
			if err != nil {
				for i := range results {
					results[i].Err = err
				}
			}
			return
		}
		c.plainUntil.Store(time.Now().Add(batchRetry).UnixNano())
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
