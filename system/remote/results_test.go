package remote_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/batch"
	"github.com/weir-build/weir/system/remote"
)

// plainCache is an action cache as anybody's: it knows REAPI's calls only.
type plainCache struct {
	repb.UnimplementedActionCacheServer
	mu      sync.Mutex
	results map[string]*repb.ActionResult // guarded by mu
}

func (c *plainCache) GetActionResult(_ context.Context, r *repb.GetActionResultRequest) (*repb.ActionResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if result := c.results[r.ActionDigest.Hash]; result != nil {
		return result, nil
	}
	return nil, status.Error(codes.NotFound, "none")
}

func (c *plainCache) UpdateActionResult(_ context.Context, r *repb.UpdateActionResultRequest) (*repb.ActionResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[r.ActionDigest.Hash] = r.ActionResult
	return r.ActionResult, nil
}

func actionOf(i int) digest.Digest { return digest.Of(fmt.Append(nil, "action ", i)) }

// exchange caches results of n actions, which end with exit codes 1, 2, …, and reads
// them back with one that isn't there.
func exchange(t *testing.T, client *remote.Client, n int, stdout string) {
	t.Helper()
	var updates []remote.ActionUpdate
	var actions []digest.Digest
	for i := range n {
		updates = append(updates, remote.ActionUpdate{Action: actionOf(i), Result: &repb.ActionResult{ExitCode: int32(i + 1), StdoutRaw: []byte(stdout)}})
		actions = append(actions, actionOf(i))
	}
	for i, r := range client.UpdateActionResults(t.Context(), updates) {
		if r.Err != nil {
			t.Errorf("update %d: %v", i, r.Err)
		}
	}
	for i, r := range client.ActionResults(t.Context(), append(actions, actionOf(n))) {
		switch {
		case i == n:
			if !errors.Is(r.Err, cas.ErrNotFound) {
				t.Errorf("result %d: %v, want cas.ErrNotFound", i, r.Err)
			}
		case r.Err != nil || r.Value.ExitCode != int32(i+1) || string(r.Value.StdoutRaw) != stdout:
			t.Errorf("result %d: %v, %v", i, r.Value, r.Err)
		}
	}
}

func TestManyResultsTakeOneCall(t *testing.T) {
	server := newStorage(t, 0)
	exchange(t, dial(t, server.address, "main"), 50, "")
	want := map[string]int{"BatchUpdateActionResults": 1, "BatchGetActionResults": 1, "GetCapabilities": 1}
	if got := server.all(); !maps.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
}

// One result alone takes REAPI's own call.
func TestOneResultTakesItsOwnCall(t *testing.T) {
	server := newStorage(t, 0)
	client := dial(t, server.address, "main")
	updated := client.UpdateActionResults(t.Context(), []remote.ActionUpdate{{Action: actionOf(1), Result: new(repb.ActionResult)}})
	got := client.ActionResults(t.Context(), []digest.Digest{actionOf(1)})
	if len(updated) != 1 || updated[0].Err != nil || len(got) != 1 || got[0].Err != nil {
		t.Errorf("got %v and %v", updated, got)
	}
	want := map[string]int{"UpdateActionResult": 1, "GetActionResult": 1, "GetCapabilities": 1}
	if got := server.all(); !maps.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
}

// A server that knows REAPI's calls only is asked for more once.
func TestServerWithoutBatchesOfResults(t *testing.T) {
	var made calls
	cache := &plainCache{results: make(map[string]*repb.ActionResult)}
	address := serve(t, func(g *grpc.Server) { repb.RegisterActionCacheServer(g, cache) }, append(made.options(), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		made.add(method)
		return status.Error(codes.Unimplemented, "unknown")
	}))...)
	exchange(t, dial(t, address, "main"), 20, "")
	got := made.all()
	batches := 0
	for method, n := range got {
		if strings.HasPrefix(method, "Batch") {
			batches += n
		}
	}
	if got["UpdateActionResult"] != 20 || got["GetActionResult"] != 21 || batches < 1 || got["BatchGetActionResults"] != 0 {
		t.Errorf("calls %v, want 20 and 21 by themselves, and none for many but the first", got)
	}
}

// Results that don't fit in an answer are asked for by themselves, and updates that
// don't fit in a call take several.
func TestResultsThatDoNotFit(t *testing.T) {
	server := newStorage(t, 2000)
	exchange(t, dial(t, server.address, "main"), 6, strings.Repeat("x", 600))
	got := server.all()
	if got["BatchUpdateActionResults"] < 2 || got["BatchGetActionResults"] != 1 || got["GetActionResult"] < 3 {
		t.Errorf("calls %v", got)
	}
}

// What is wrong with one is nobody else's error.
func TestOneBadResultOfMany(t *testing.T) {
	client := dial(t, newStorage(t, 0).address, "main")
	updates := []remote.ActionUpdate{
		{Action: actionOf(0), Result: new(repb.ActionResult)},
		{Action: actionOf(1), Result: &repb.ActionResult{StdoutDigest: &repb.Digest{Hash: "short"}}},
		{Action: actionOf(2), Result: new(repb.ActionResult)},
	}
	for i, r := range client.UpdateActionResults(t.Context(), updates) {
		want := map[bool]codes.Code{true: codes.InvalidArgument, false: codes.OK}[i == 1]
		if status.Code(r.Err) != want {
			t.Errorf("update %d: %v, want %v", i, r.Err, want)
		}
	}
}

// hostileCache answers with another number of results than it was asked for.
type hostileCache struct {
	batch.UnimplementedActionCacheServer
}

func (hostileCache) BatchGetActionResults(context.Context, *batch.BatchGetActionResultsRequest) (*batch.BatchGetActionResultsResponse, error) {
	return new(batch.BatchGetActionResultsResponse), nil
}

func (hostileCache) BatchUpdateActionResults(context.Context, *batch.BatchUpdateActionResultsRequest) (*batch.BatchUpdateActionResultsResponse, error) {
	return new(batch.BatchUpdateActionResultsResponse), nil
}

func TestAnswerOfAnotherLength(t *testing.T) {
	client := dial(t, serve(t, func(g *grpc.Server) { batch.RegisterActionCacheServer(g, hostileCache{}) }), "main")
	for _, r := range client.ActionResults(t.Context(), []digest.Digest{actionOf(0), actionOf(1)}) {
		if r.Err == nil || !strings.Contains(r.Err.Error(), "answered with 0") {
			t.Errorf("got %v", r)
		}
	}
	for _, r := range client.UpdateActionResults(t.Context(), []remote.ActionUpdate{{Action: actionOf(0)}, {Action: actionOf(1)}}) {
		if r.Err == nil || !strings.Contains(r.Err.Error(), "answered with 0") {
			t.Errorf("got %v", r)
		}
	}
}
