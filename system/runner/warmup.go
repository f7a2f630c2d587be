package runner

import (
	"syscall"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/localcas"
)

// warmUp does what every action does, in a process that has to wait for its first anyway:
// it connects to casd and has protobuf prepare the types of messages. It does no more than
// that: where all processors are busy a process doesn't wait, and has to pay for it all.
// What goes wrong, the action will tell of.
func (p Program) warmUp() {
	o, err := ParseArgs(p.Args, p.New().Options()...)
	if err != nil {
		return
	}
	client, err := p.dial(o.Remote)
	if err != nil {
		return
	}
	client.Conn().Connect() // in the background
	for _, m := range commonMessages() {
		if data, err := proto.Marshal(m); err == nil {
			_ = proto.Unmarshal(data, m.ProtoReflect().New().Interface())
		}
	}
}

// commonMessages are of the types that each action needs, with what each sets in them.
func commonMessages() []proto.Message {
	empty := digest.Empty.Proto()
	list := []proto.Message{
		&repb.Action{CommandDigest: empty, InputRootDigest: empty},
		&bspb.ReadRequest{ResourceName: "n"},
		&bspb.ReadResponse{Data: []byte("d")},
		&repb.Command{Arguments: []string{"a"}},
		&localcas.StageTreeRequest{RootDigest: empty, AccessCredentials: &localcas.StageTreeRequest_Credentials{Uid: 1}},
		&localcas.StageTreeResponse{Path: "p"},
		&repb.ActionResult{StdoutDigest: empty, ExecutionMetadata: &repb.ExecutedActionMetadata{WorkerStartTimestamp: timestamppb.New(time.Unix(1, 1))}},
	}
	if usage, err := usageRecord(new(syscall.Rusage)); err == nil {
		list = append(list, usage)
	}
	return list
}
