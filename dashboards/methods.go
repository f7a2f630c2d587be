package dashboards

import (
	"slices"

	"github.com/weir-build/weir/traces/semconv"
)

// labelMethod and labelCode are labels of the RPC metrics.
const (
	labelMethod = "rpc_method"
	labelCode   = "rpc_response_status_code"
)

// waits are the methods whose duration is that of the work they wait for: a
// server isn't slow because an action took an hour.
func waits() []string {
	return []string{
		"build.bazel.remote.execution.v2.Execution/Execute",
		"build.bazel.remote.execution.v2.Execution/WaitExecution",
		"google.longrunning.Operations/WaitOperation",
		"google.devtools.remoteworkers.v1test2.Bots/CreateBotSession",
		"google.devtools.remoteworkers.v1test2.Bots/UpdateBotSession",
		"build.buildgrid.LocalContentAddressableStorage/StageTree",
		"grpc.health.v1.Health/Watch",
		"grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	}
}

// transfers are the streams whose duration depends on how much they carry, and
// on how fast the other side takes it.
func transfers() []string {
	return []string{
		"google.bytestream.ByteStream/Read",
		"google.bytestream.ByteStream/Write",
		"build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree",
		"build.bazel.remote.execution.v2.ContentAddressableStorage/GetChunkMapping",
		"build.bazel.remote.execution.v2.ContentAddressableStorage/RegisterChunkMapping",
	}
}

// unary matches all other methods: those that a server should answer at once.
// Methods it doesn't know are none of them; it refuses those in no time.
func unary() matcher {
	return isNoneOf(labelMethod, slices.Concat(waits(), transfers(), []string{semconv.OtherMethod}))
}

// faults are the codes that OpenTelemetry's conventions for gRPC count as errors
// of the server. The others may be the client's doing, or no error at all: a
// cache says NOT_FOUND for a miss.
func faults() matcher {
	return isOneOf(labelCode, []string{"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
}
