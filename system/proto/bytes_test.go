package proto_test

import (
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/proto/executionstats"
	"github.com/weir-build/weir/system/proto/localcas"
)

// A field appends one field of a message, as the protobuf encoding guide has it.
type field func([]byte) []byte

func message(fields ...field) []byte {
	var b []byte
	for _, f := range fields {
		b = f(b)
	}
	return b
}

func text(number protowire.Number, s string) field { return sub(number, []byte(s)) }

func sub(number protowire.Number, content []byte) field {
	return func(b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), content)
	}
}

func varint(number protowire.Number, n uint64) field {
	return func(b []byte) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), n)
	}
}

func TestBotSessionBytes(t *testing.T) {
	pair := message(text(1, "OSFamily"), text(2, "linux"))
	worker := message(
		sub(1, message(text(1, "machine"), sub(2, pair))),
		sub(2, message(text(1, "pool"), text(2, "big"))),
		sub(3, message(text(1, "capacity"), text(2, "4"))))
	lease := message(
		varint(2, 4), // COMPLETED
		sub(3, message(varint(1, 4), text(2, "too slow"))),
		sub(5, message(varint(1, 1700000000), varint(2, 5))),
		text(7, "lease"),
		sub(8, message(text(1, "type.googleapis.com/build.bazel.remote.execution.v2.Action"))),
		sub(9, message(text(1, "type.googleapis.com/build.bazel.remote.execution.v2.ActionResult"))))
	checkWire(t, &bots.UpdateBotSessionRequest{
		Name: "main/bots/1",
		BotSession: &bots.BotSession{
			Name: "main/bots/1", BotId: "bot", Status: bots.BotStatus_BOT_TERMINATING, Version: "1.2",
			Worker: &bots.Worker{
				Devices:    []*bots.Device{{Handle: "machine", Properties: []*bots.Device_Property{{Key: "OSFamily", Value: "linux"}}}},
				Properties: []*bots.Worker_Property{{Key: "pool", Value: "big"}},
				Configs:    []*bots.Worker_Config{{Key: "capacity", Value: "4"}},
			},
			Leases: []*bots.Lease{{
				Id: "lease", State: bots.LeaseState_COMPLETED,
				Status:     &statuspb.Status{Code: 4, Message: "too slow"},
				ExpireTime: &timestamppb.Timestamp{Seconds: 1700000000, Nanos: 5},
				Payload:    &anypb.Any{TypeUrl: "type.googleapis.com/build.bazel.remote.execution.v2.Action"},
				Result:     &anypb.Any{TypeUrl: "type.googleapis.com/build.bazel.remote.execution.v2.ActionResult"},
			}},
		},
	}, message(
		text(1, "main/bots/1"),
		sub(2, message(
			text(1, "main/bots/1"), text(2, "bot"), varint(3, 4), sub(4, worker), sub(5, lease), text(7, "1.2")))))
}

func TestStageTreeBytes(t *testing.T) {
	checkWire(t, &localcas.StageTreeRequest{
		InstanceName: "main", RootDigest: &repb.Digest{Hash: "ab", SizeBytes: 3}, Path: "/stage",
		AccessCredentials:  &localcas.StageTreeRequest_Credentials{Uid: 1000, Gid: -1},
		PreUnstageCommands: []string{"/a", "/b"}, StagingMode: localcas.StageTreeRequest_COPY_OR_LINK, RemoteApisSocketPath: "s",
	}, message(
		text(1, "main"), sub(2, message(text(1, "ab"), varint(2, 3))), text(3, "/stage"),
		sub(4, message(varint(1, 1000), varint(2, 1<<64-1))),
		text(5, "/a"), text(5, "/b"), varint(6, 2), text(7, "s")))
	// The request that ends staging has every field unset.
	checkWire(t, &localcas.StageTreeRequest{}, nil)
}

// The numbers of these two part after field 6.
func TestCaptureBytes(t *testing.T) {
	mask := message(varint(1, 0o755))
	checkWire(t, &localcas.CaptureTreeRequest{
		InstanceName: "main", Path: []string{"out"}, NodeProperties: []string{"mtime"}, MoveFiles: true, Root: "/stage",
		OutputDirectoryFormat: repb.Command_TREE_AND_DIRECTORY, SkipUpload: true, UnixModeMask: wrapperspb.UInt32(0o755),
	}, message(text(1, "main"), text(2, "out"), text(4, "mtime"), varint(5, 1), text(6, "/stage"), varint(7, 2), varint(8, 1), sub(9, mask)))
	checkWire(t, &localcas.CaptureFilesRequest{
		InstanceName: "main", Path: []string{"out"}, BypassLocalCache: true, Root: "/stage",
		SkipUpload: true, UnixModeMask: wrapperspb.UInt32(0o755),
	}, message(text(1, "main"), text(2, "out"), varint(3, 1), text(6, "/stage"), varint(7, 1), sub(8, mask)))
}

// A field that this version doesn't know survives being passed on.
func TestUnknownFieldsAreKept(t *testing.T) {
	raw := message(text(1, "main/bots/1"), text(500, "from the future"))
	m := new(bots.BotSession)
	m.ProtoReflect().SetUnknown(message(text(500, "from the future")))
	m.Name = "main/bots/1"
	checkWire(t, m, raw)
}

func TestExecutionStatisticsBytes(t *testing.T) {
	checkWire(t, &executionstats.ExecutionStatistics{CommandRusage: &executionstats.ExecutionStatistics_ProcessResourceUsage{
		Utime: &durationpb.Duration{Seconds: 1, Nanos: 5e8}, Stime: &durationpb.Duration{Nanos: 7},
		Maxrss: 2048, Minflt: 1, Majflt: 2, Inblock: 3, Oublock: 4, Nvcsw: 5, Nivcsw: 6,
	}}, message(sub(1, message(
		sub(1, message(varint(1, 1), varint(2, 5e8))), sub(2, message(varint(2, 7))),
		varint(3, 2048), varint(4, 1), varint(5, 2), varint(6, 3), varint(7, 4), varint(8, 5), varint(9, 6)))))
}
