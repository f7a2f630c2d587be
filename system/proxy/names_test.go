package proxy_test

import (
	"strings"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/proxy"
)

func TestNamesThatAreRefused(t *testing.T) {
	b := startBackend(t, nil, nil)
	p := startProxy(t, config(b, proxy.NoAuth))
	name := blob.String()
	write := func(name string) (string, proto.Message) {
		return "/google.bytestream.ByteStream/Write", &bspb.WriteRequest{ResourceName: name}
	}
	read := func(name string) (string, proto.Message) {
		return "/google.bytestream.ByteStream/Read", &bspb.ReadRequest{ResourceName: name}
	}
	find := func(name string) (string, proto.Message) {
		return findMissing, &repb.FindMissingBlobsRequest{InstanceName: name}
	}
	wait := func(name string) (string, proto.Message) {
		return "/build.bazel.remote.execution.v2.Execution/WaitExecution", &repb.WaitExecutionRequest{Name: name}
	}
	list := func(name string) (string, proto.Message) {
		return "/google.longrunning.Operations/ListOperations", &longrunningpb.ListOperationsRequest{Name: name}
	}
	update := func(request, session string) (string, proto.Message) {
		return updateBot, &bots.UpdateBotSessionRequest{Name: request, BotSession: &bots.BotSession{Name: session}}
	}
	explain := func(name string) (string, proto.Message) {
		return "/weir.admin.v1.Admin/Explain", &admin.ExplainRequest{Name: name}
	}
	drain := func(instance string) (string, proto.Message) {
		return "/weir.admin.v1.Admin/Drain", &admin.DrainRequest{InstanceName: instance}
	}
	type of struct {
		method  string
		request proto.Message
	}
	var requests []of
	add := func(method string, request proto.Message) { requests = append(requests, of{method, request}) }
	for _, path := range []string{"a/../b", "..", "a//b", "/a", "a/", "./a", "a/uploads/b", "a b", "a%2fb", "a\\b", "ä", "a/blobs"} {
		add(find(path))
		add(read(path + "/blobs/" + name))
		add(write(path + "/uploads/u/blobs/" + name))
		add(wait(path + "/operations/1"))
		add(list(path + "/operations"))
		add(explain(path + "/operations/1"))
		add(drain(path))
		add(createBot, &bots.CreateBotSessionRequest{Parent: path})
		add(update("", path+"/bots/1"))
	}
	add(read("a/../b/blobs/" + name))
	add(read("a/blobs/" + name + "/../../c"))
	add(read("a/compressed-blobs/zstd/" + name))
	add(read(""))
	add(write("uploads/u/blobs"))
	add(wait("1"))
	add(wait("a/1"))
	add(explain("a/1"))
	add(update("b/bots/1", "a/bots/1"))
	add(updateBot, &bots.UpdateBotSessionRequest{Name: "a/bots/1"})
	add(find(strings.Repeat("a", 256)))
	add(read(strings.Repeat("a", 9000) + "/blobs/" + name))
	for _, r := range requests {
		if got := status.Code(invoke(t.Context(), p.conns[0], r.method, r.request)); got != codes.InvalidArgument {
			t.Errorf("%s %v: got %v, want InvalidArgument", r.method, r.request, got)
		}
	}
	if got := b.seen(); len(got) != 0 {
		t.Errorf("%d calls got through, the first %v", len(got), got[0])
	}
	// What looks odd but is right.
	for _, r := range []func() (string, proto.Message){
		func() (string, proto.Message) { return find("") },
		func() (string, proto.Message) { return list("operations") },
		func() (string, proto.Message) { return list("a/b/operations") },
		func() (string, proto.Message) { return list("a") },
		func() (string, proto.Message) { return wait("operations/1") },
		func() (string, proto.Message) { return explain("operations/1") },
		func() (string, proto.Message) { return drain("") },
		func() (string, proto.Message) { return write("a/uploads/u/blobs/" + name + "/some/../file.txt") },
		func() (string, proto.Message) { return update("a/bots/1", "a/bots/1") },
		func() (string, proto.Message) { return update("", "a/bots/1") },
	} {
		method, request := r()
		if err := invoke(t.Context(), p.conns[0], method, request); err != nil {
			t.Errorf("%s %v: %v", method, request, err)
		}
	}
}

func TestFullBatchGoesThrough(t *testing.T) {
	b := startBackend(t, nil, nil)
	p := startProxy(t, config(b, proxy.NoAuth))
	request := &repb.BatchUpdateBlobsRequest{}
	for range 4096 {
		request.Requests = append(request.Requests, &repb.BatchUpdateBlobsRequest_Request{Digest: blob.Proto(), Data: make([]byte, 1024)})
	}
	// The instance last, as a client may well encode it: 4 MiB have to be passed over.
	request.InstanceName = "acme"
	if err := invoke(t.Context(), p.conns[0], "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs", request); err != nil {
		t.Error(err)
	}
}
