package remote_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

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
	var queries []remote.ActionQuery
	for i := range n {
		updates = append(updates, remote.ActionUpdate{Action: actionOf(i), Result: &repb.ActionResult{ExitCode: int32(i + 1), StdoutRaw: []byte(stdout)}})
		queries = append(queries, remote.ActionQuery{Action: actionOf(i)})
	}
	for i, r := range client.UpdateActionResults(t.Context(), updates) {
		if r.Err != nil {
			t.Errorf("update %d: %v", i, r.Err)
		}
	}
	for i, r := range client.FindActions(t.Context(), append(queries, remote.ActionQuery{Action: actionOf(n)})) {
		switch result := r.Value.Result; {
		case r.Err != nil || r.Value.Action != nil || r.Value.Command != nil:
			t.Errorf("result %d: %v, %v", i, r.Value, r.Err)
		case i == n:
			if result != nil {
				t.Errorf("result %d: %v, want none", i, result)
			}
		case result.GetExitCode() != int32(i+1) || string(result.GetStdoutRaw()) != stdout:
			t.Errorf("result %d: %v", i, result)
		}
	}
}

func TestManyResultsTakeOneCall(t *testing.T) {
	server := newStorage(t, 0)
	exchange(t, dial(t, server.address, "main"), 50, "")
	want := map[string]int{"BatchUpdateActionResults": 1, "BatchFindActions": 1, "GetCapabilities": 1}
	if got := server.all(); !maps.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
}

// One update alone takes REAPI's own call; one query spares two, and is asked as many are.
func TestOneResultAlone(t *testing.T) {
	server := newStorage(t, 0)
	client := dial(t, server.address, "main")
	updated := client.UpdateActionResults(t.Context(), []remote.ActionUpdate{{Action: actionOf(1), Result: new(repb.ActionResult)}})
	got := client.FindActions(t.Context(), []remote.ActionQuery{{Action: actionOf(1)}})
	if len(updated) != 1 || updated[0].Err != nil || len(got) != 1 || got[0].Err != nil || got[0].Value.Result == nil {
		t.Errorf("got %v and %v", updated, got)
	}
	want := map[string]int{"UpdateActionResult": 1, "BatchFindActions": 1, "GetCapabilities": 1}
	if got := server.all(); !maps.Equal(got, want) {
		t.Errorf("calls %v, want %v", got, want)
	}
}

// TestFoundActions tells what is found of actions in whose place there is this or that.
func TestFoundActions(t *testing.T) {
	const room = 2000
	server := newStorage(t, room)
	client := dial(t, server.address, "main")
	put := func(data []byte) digest.Digest {
		d := digest.Of(data)
		if err := server.blobs.Write(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
		return d
	}
	action := func(command digest.Digest, salt string) digest.Digest {
		data, err := proto.Marshal(&repb.Action{CommandDigest: command.Proto(), InputRootDigest: digest.Empty.Proto(), Salt: []byte(salt)})
		if err != nil {
			t.Fatal(err)
		}
		return put(data)
	}
	command := func(argument string) digest.Digest {
		data, err := proto.Marshal(&repb.Command{Arguments: []string{argument}})
		if err != nil {
			t.Fatal(err)
		}
		return put(data)
	}
	cached := action(command("cc"), "cached")
	if err := client.UpdateActionResult(t.Context(), cached, &repb.ActionResult{ExitCode: 7}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name           string
		query          remote.ActionQuery
		result, action bool
	}{
		{"a result", remote.ActionQuery{Action: cached}, true, false},
		{"a result that isn't wanted", remote.ActionQuery{Action: cached, SkipResult: true}, false, true},
		{"no result", remote.ActionQuery{Action: action(command("cc"), "none")}, false, true},
		{"nothing", remote.ActionQuery{Action: digest.Of([]byte("nothing"))}, false, false},
		{"what is no Action", remote.ActionQuery{Action: put([]byte("\xff"))}, false, false},
		{"an Action without a Command", remote.ActionQuery{Action: action(digest.Of([]byte("lost")), "")}, false, false},
		{"an Action that is too large", remote.ActionQuery{Action: action(command("cc"), strings.Repeat("x", room))}, false, false},
		{"a Command that is too large", remote.ActionQuery{Action: action(command(strings.Repeat("x", room)), "")}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := client.FindActions(t.Context(), []remote.ActionQuery{test.query})[0]
			v := found.Value
			if found.Err != nil || (v.Result.GetExitCode() == 7) != test.result || (v.Action != nil) != test.action || (v.Command != nil) != test.action {
				t.Fatalf("found %+v, error %v", v, found.Err)
			}
			if !test.action {
				return
			}
			decoded := new(repb.Action)
			if err := proto.Unmarshal(v.Action, decoded); err != nil {
				t.Fatal(err)
			}
			if digest.Of(v.Action) != test.query.Action || digest.Of(v.Command).Hex() != decoded.CommandDigest.Hash {
				t.Errorf("the action %x and the command %x aren't what is stored", v.Action, v.Command)
			}
		})
	}
}

// A server that knows REAPI's calls only is asked for more once, and again when it may
// have been replaced.
func TestServerWithoutBatchesOfResults(t *testing.T) {
	var made calls
	cache := &plainCache{results: make(map[string]*repb.ActionResult)}
	address := serve(t, func(g *grpc.Server) { repb.RegisterActionCacheServer(g, cache) }, append(made.options(), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		made.add(method)
		return status.Error(codes.Unimplemented, "unknown")
	}))...)
	client := dial(t, address, "main")
	exchange(t, client, 20, "")
	got := made.all()
	batches := 0
	for method, n := range got {
		if strings.HasPrefix(method, "Batch") {
			batches += n
		}
	}
	if got["UpdateActionResult"] != 20 || got["GetActionResult"] != 21 || batches < 1 || got["BatchFindActions"] != 0 {
		t.Errorf("calls %v, want 20 and 21 by themselves, and none for many but the first", got)
	}
	client.Later(remote.BatchRetry)
	var asked [2]int
	for i := range asked {
		client.FindActions(t.Context(), []remote.ActionQuery{{Action: actionOf(0)}, {Action: actionOf(1)}})
		asked[i] = made.all()["BatchFindActions"]
	}
	if asked[0] == 0 || asked[1] != asked[0] {
		t.Errorf("after %v and after that asked for many %v times, want once", remote.BatchRetry, asked)
	}
}

// Results that don't fit in an answer are asked for by themselves, and updates that
// don't fit in a call take several.
func TestResultsThatDoNotFit(t *testing.T) {
	server := newStorage(t, 2000)
	exchange(t, dial(t, server.address, "main"), 6, strings.Repeat("x", 600))
	got := server.all()
	if got["BatchUpdateActionResults"] < 2 || got["BatchFindActions"] != 1 || got["GetActionResult"] < 3 {
		t.Errorf("calls %v", got)
	}
	if hits := server.hits(t); hits != 6 {
		t.Errorf("%v hits, want 6: one that is asked for twice is one", hits)
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

func (hostileCache) BatchFindActions(context.Context, *batch.BatchFindActionsRequest) (*batch.BatchFindActionsResponse, error) {
	return new(batch.BatchFindActionsResponse), nil
}

func (hostileCache) BatchUpdateActionResults(context.Context, *batch.BatchUpdateActionResultsRequest) (*batch.BatchUpdateActionResultsResponse, error) {
	return new(batch.BatchUpdateActionResultsResponse), nil
}

func TestAnswerOfAnotherLength(t *testing.T) {
	client := dial(t, serve(t, func(g *grpc.Server) { batch.RegisterActionCacheServer(g, hostileCache{}) }), "main")
	for _, r := range client.FindActions(t.Context(), []remote.ActionQuery{{Action: actionOf(0)}, {Action: actionOf(1)}}) {
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
