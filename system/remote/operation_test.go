package remote_test

import (
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-build/weir/system/remote"
)

func wire(t *testing.T, messages ...proto.Message) []byte {
	t.Helper()
	var all []byte
	for _, m := range messages {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

// TestOperationsAreReadAsProtobufReadsThem: what is read by hand, and what the generated
// code makes of the same bytes.
func TestOperationsAreReadAsProtobufReadsThem(t *testing.T) {
	metadata, err := anypb.New(&repb.ExecuteOperationMetadata{Stage: repb.ExecutionStage_EXECUTING})
	if err != nil {
		t.Fatal(err)
	}
	failed := &longrunningpb.Operation{Done: true, Result: &longrunningpb.Operation_Error{Error: &statuspb.Status{Code: int32(codes.Aborted), Message: "no"}}}
	more, err := anypb.New(&repb.ExecuteResponse{Message: "more"})
	if err != nil {
		t.Fatal(err)
	}
	bare := &longrunningpb.Operation{Done: true, Result: &longrunningpb.Operation_Response{Response: &anypb.Any{TypeUrl: "build.bazel.remote.execution.v2.ExecuteResponse", Value: more.Value}}}
	later := &longrunningpb.Operation{Name: "later", Metadata: metadata}
	unknown := []byte{0x98, 0x06, 0x01, 0xa2, 0x06, 0x01, 'x', 0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8} // fields 99 to 101: a varint, a string, a fixed64
	for name, data := range map[string][]byte{
		"nothing":                            nil,
		"an operation under way":             wire(t, later),
		"one that is done":                   wire(t, later, done(t)),
		"one of a type without a host":       wire(t, bare),
		"one that failed":                    wire(t, later, failed),
		"a failure after a response":         wire(t, done(t), failed),
		"a response after a failure":         wire(t, failed, done(t)),
		"fields of a later version":          slices.Concat(unknown, wire(t, done(t)), unknown),
		"fields of other wire types":         slices.Concat(wire(t, done(t)), []byte{0x08, 1, 0x1a, 1, 'x', 0x20, 1, 0x28, 1, 0x0d, 1, 2, 3, 4, 0x2b, 0x2c}),
		"a failure that is a number":         slices.Concat(wire(t, done(t)), []byte{0x20, 1}),
		"a response in two pieces":           wire(t, done(t), bare),
		"a response that isn't the last one": wire(t, done(t), failed, bare),
	} {
		t.Run(name, func(t *testing.T) {
			want := new(longrunningpb.Operation)
			if err := proto.Unmarshal(data, want); err != nil {
				t.Fatal(err)
			}
			update, response, failure, err := remote.ReadOperation("of before", data)
			if err != nil || update != (remote.Update{Name: want.Name, Done: want.Done}) {
				t.Fatalf("read %+v, %v; want %v", update, err, want)
			}
			if code := codes.Code(want.GetError().GetCode()); status.Code(failure) != code {
				t.Errorf("failure %v, want %v", failure, code)
			}
			var wanted *repb.ExecuteResponse
			if packed := want.GetResponse(); packed != nil {
				wanted = new(repb.ExecuteResponse)
				if err := packed.UnmarshalTo(wanted); err != nil {
					t.Fatal(err)
				}
			}
			if !proto.Equal(response, wanted) {
				t.Errorf("response %v, want %v", response, wanted)
			}
		})
	}
}

func TestWhatIsNoOperationIsRefused(t *testing.T) {
	whole := wire(t, done(t))
	cut := 0
	for n := range whole {
		_, response, failure, err := remote.ReadOperation("", whole[:n])
		wanted := proto.Unmarshal(whole[:n], new(longrunningpb.Operation))
		if (err == nil) != (wanted == nil) {
			t.Errorf("the first %d bytes: %v, want %v", n, err, wanted)
		}
		if err != nil {
			cut++
		}
		if response != nil && failure == nil {
			t.Errorf("the first %d bytes have a response: %v", n, response)
		}
	}
	if cut == 0 {
		t.Error("no piece of an operation was refused")
	}
	if _, _, _, err := remote.ReadOperation("", []byte{0x0a, 1, 0xff}); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("a name that is no text: %v", err)
	}
}

func TestFailureWithoutACodeIsOne(t *testing.T) {
	_, response, failure, err := remote.ReadOperation("", wire(t, &longrunningpb.Operation{Name: "o", Done: true, Result: &longrunningpb.Operation_Error{Error: new(statuspb.Status)}}))
	if response != nil || err != nil || failure == nil || failure.Error() != "operation o: it ended with an error that has no code" {
		t.Errorf("response %v, failure %v, %v", response, failure, err)
	}
}

func FuzzReadOperation(f *testing.F) {
	for _, data := range [][]byte{nil, {0x0a, 1, 'o', 0x18, 1, 0x22, 2, 0x08, 3}, {0x18, 1, 0x2a, 4, 0x0a, 0, 0x12, 0}, {0x08, 1, 0x2b, 0x2c, 0x2a, 0}} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := new(longrunningpb.Operation)
		if proto.Unmarshal(data, want) != nil {
			_, _, _, _ = remote.ReadOperation("", data) // metadata, which are not looked at, may be what is wrong
			return
		}
		update, response, failure, err := remote.ReadOperation("of before", data)
		if err != nil || update != (remote.Update{Name: want.Name, Done: want.Done}) {
			t.Fatalf("read %+v, %v; want %v", update, err, want)
		}
		if want.Done != (response != nil || failure != nil) {
			t.Errorf("done %v, response %v, failure %v", want.Done, response, failure)
		}
		if response == nil || failure != nil {
			return
		}
		wanted := new(repb.ExecuteResponse)
		if err := want.GetResponse().UnmarshalTo(wanted); err != nil || !proto.Equal(response, wanted) {
			t.Errorf("response %v, want %v, %v", response, wanted, err)
		}
	})
}
