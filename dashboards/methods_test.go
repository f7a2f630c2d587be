package dashboards

import (
	"slices"
	"testing"

	_ "cloud.google.com/go/longrunning/autogen/longrunningpb"
	_ "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	_ "google.golang.org/genproto/googleapis/bytestream"
	_ "google.golang.org/grpc/health/grpc_health_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/weir-build/weir/system/proto/bots"
	_ "github.com/weir-build/weir/system/proto/localcas"
)

// The list of methods that aren't unary is that of the .proto files: a stream
// that one of them gains must not creep into the latency of unary calls.
func TestEveryStreamIsKeptApartFromUnaryCalls(t *testing.T) {
	apart := slices.Concat(waits(), transfers())
	known, streams := make(map[string]bool), 0
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				name := string(file.Services().Get(i).FullName()) + "/" + string(m.Name())
				known[name] = true
				if m.IsStreamingClient() || m.IsStreamingServer() {
					streams++
					if !slices.Contains(apart, name) {
						t.Errorf("%s is a stream, but counts as unary", name)
					}
				}
			}
		}
		return true
	})
	if streams == 0 {
		t.Error("no streams at all in the descriptors linked in")
	}
	for i, name := range apart {
		if !known[name] {
			t.Errorf("%s isn't a method of any service linked in", name)
		}
		if slices.Contains(apart[:i], name) {
			t.Errorf("%s is listed twice", name)
		}
	}
}

// Long polls are unary by their descriptor; they are known by name.
func TestLongPollsAreKeptApartFromUnaryCalls(t *testing.T) {
	for _, name := range []string{
		"google.devtools.remoteworkers.v1test2.Bots/CreateBotSession",
		"google.devtools.remoteworkers.v1test2.Bots/UpdateBotSession",
		"google.longrunning.Operations/WaitOperation",
	} {
		if !slices.Contains(waits(), name) {
			t.Errorf("%s counts as unary", name)
		}
	}
}
