package remote_test

import (
	"slices"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/remote"
)

// fullMetadata has all fields, each another value.
func fullMetadata() *repb.ExecutedActionMetadata {
	at := func(i int64) *timestamppb.Timestamp { return &timestamppb.Timestamp{Seconds: 1e9 + i, Nanos: int32(i)} }
	return &repb.ExecutedActionMetadata{
		Worker: "worker 1", QueuedTimestamp: at(1), WorkerStartTimestamp: at(2), WorkerCompletedTimestamp: at(3), InputFetchStartTimestamp: at(4),
		InputFetchCompletedTimestamp: at(5), ExecutionStartTimestamp: at(6), ExecutionCompletedTimestamp: at(7), OutputUploadStartTimestamp: at(8),
		OutputUploadCompletedTimestamp: at(9), VirtualExecutionDuration: durationpb.New(10),
		AuxiliaryMetadata: []*anypb.Any{{TypeUrl: "x/y", Value: []byte("z")}, {}},
	}
}

// usual is a response as servers send it.
func usual() *repb.ExecuteResponse {
	d := func(size int64) *repb.Digest { return &repb.Digest{Hash: "e3b0c442", SizeBytes: size} }
	return &repb.ExecuteResponse{CachedResult: true, Status: &statuspb.Status{Code: 3, Message: "no"}, Message: "see", Result: &repb.ActionResult{
		ExitCode: -1, StdoutRaw: []byte("out"), StdoutDigest: d(3), StderrRaw: []byte("err"), StderrDigest: d(4), ExecutionMetadata: fullMetadata(),
		OutputFiles: []*repb.OutputFile{{Path: "a", Digest: d(1), IsExecutable: true}, {Path: "b", Digest: d(2)}, {}},
	}}
}

// strange are responses that are read by the generated code, in part or at all.
func strange(t testing.TB) map[string][]byte {
	marshal := func(m proto.Message) []byte {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	result := func(r *repb.ActionResult) []byte { return marshal(&repb.ExecuteResponse{Result: r}) }
	files := result(&repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: "a"}}, ExecutionMetadata: fullMetadata(), StdoutDigest: &repb.Digest{Hash: "a"}})
	within := func(data []byte) []byte { // of the metadata
		return slices.Concat([]byte{0x0a, byte(len(data) + 2), 0x4a, byte(len(data))}, data)
	}
	unknown := protowire.AppendString(protowire.AppendTag(nil, 100, protowire.BytesType), "later")
	return map[string][]byte{
		"nothing":                            nil,
		"an empty result":                    {0x0a, 0},
		"server logs":                        marshal(&repb.ExecuteResponse{ServerLogs: map[string]*repb.LogFile{"log": {HumanReadable: true}}}),
		"directories":                        result(&repb.ActionResult{OutputDirectories: []*repb.OutputDirectory{{Path: "d"}}}),
		"contents of a file":                 result(&repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: "a", Contents: []byte("x")}}}),
		"a field of a later version":         slices.Concat(marshal(usual()), unknown),
		"one in the metadata":                within(unknown),
		"a result in two pieces":             slices.Concat(files, marshal(usual())),
		"metadata in two pieces":             slices.Concat(within([]byte{0x0a, 1, 'w'}), within([]byte{0x12, 0})),
		"a status in two pieces":             slices.Concat(marshal(usual()), []byte{0x1a, 2, 0x08, 4}),
		"a time in two pieces":               within([]byte{0x12, 2, 0x08, 1, 0x12, 2, 0x10, 1}),
		"a virtual duration in two pieces":   within([]byte{0x62, 2, 0x08, 1, 0x62, 2, 0x10, 1}),
		"a digest in two pieces":             {0x0a, 11, 0x32, 3, 0x0a, 1, 'a', 0x32, 2, 0x10, 7, 0x20, 1},
		"a number of another wire type":      {0x10, 1, 0x15, 1, 2, 3, 4},
		"a hash that is no text":             {0x0a, 5, 0x32, 3, 0x0a, 1, 0xff},
		"a worker that is no text":           within([]byte{0x0a, 1, 0xff}),
		"a result that is longer than it is": {0x0a, 3, 0x20, 1},
		"a status that is no message":        {0x1a, 1, 0xff},
	}
}

// TestResponsesAreReadAsProtobufReadsThem: by hand where they are as usual, of whatever else
// there is.
func TestResponsesAreReadAsProtobufReadsThem(t *testing.T) {
	cases := strange(t)
	cases["as usual"] = wire(t, usual())
	for name, data := range cases {
		t.Run(name, func(t *testing.T) { sameResponse(t, data) })
	}
}

func sameResponse(t *testing.T, data []byte) {
	want := new(repb.ExecuteResponse)
	failed := proto.Unmarshal(data, want)
	got, err := remote.ReadExecuteResponse(data)
	if (err == nil) != (failed == nil) || err == nil && !proto.Equal(got, want) {
		t.Errorf("read %v, %v; want %v, %v", got, err, want, failed)
	}
}

// TestUsualResponsesAreMadeAtOnce holds what reading by hand is for.
func TestUsualResponsesAreMadeAtOnce(t *testing.T) {
	data := wire(t, &repb.ExecuteResponse{Result: &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
		Worker: "w", QueuedTimestamp: timestamppb.Now(), WorkerStartTimestamp: timestamppb.Now(), WorkerCompletedTimestamp: timestamppb.Now(),
	}}})
	made := testing.AllocsPerRun(100, func() {
		if _, err := remote.ReadExecuteResponse(data); err != nil {
			t.Fatal(err)
		}
	})
	if made > 2 {
		t.Errorf("%v pieces of memory, want one for the response and one for the worker's name", made)
	}
}

func FuzzReadExecuteResponse(f *testing.F) {
	data, err := proto.Marshal(usual())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, data := range strange(f) {
		f.Add(data)
	}
	f.Fuzz(sameResponse)
}

// BenchmarkReadExecuteResponse is a response with all times and one output file: by hand,
// and as the generated code reads it.
func BenchmarkReadExecuteResponse(b *testing.B) {
	metadata := fullMetadata()
	metadata.AuxiliaryMetadata, metadata.VirtualExecutionDuration = nil, nil
	data, err := proto.Marshal(&repb.ExecuteResponse{Result: &repb.ActionResult{
		ExecutionMetadata: metadata, OutputFiles: []*repb.OutputFile{{Path: "out", Digest: &repb.Digest{Hash: "e3b0c442", SizeBytes: 1}}},
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("by=hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := remote.ReadExecuteResponse(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("by=generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(data, new(repb.ExecuteResponse)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
