package proxy

import (
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	// The descriptors of the services passed on. Telemetry names calls after
	// methods whose descriptor is linked, and lumps the others together.
	_ "cloud.google.com/go/longrunning/autogen/longrunningpb"
	_ "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	_ "google.golang.org/genproto/googleapis/bytestream"

	"github.com/weir-build/weir/system/digest"
	_ "github.com/weir-build/weir/system/proto/admin"
	_ "github.com/weir-build/weir/system/proto/bots"
)

// Services that a listener may offer, by their gRPC names.
const (
	serviceCAS          = "build.bazel.remote.execution.v2.ContentAddressableStorage"
	serviceActionCache  = "build.bazel.remote.execution.v2.ActionCache"
	serviceCapabilities = "build.bazel.remote.execution.v2.Capabilities"
	serviceExecution    = "build.bazel.remote.execution.v2.Execution"
	serviceByteStream   = "google.bytestream.ByteStream"
	serviceOperations   = "google.longrunning.Operations"
	serviceBots         = "google.devtools.remoteworkers.v1test2.Bots"
	serviceAdmin        = "weir.admin.v1.Admin"
)

// botsAlias is how configuration files of the old proxy-server call Bots.
const botsAlias = "google.longrunning.Bots"

// services returns every service that a listener may offer, in a fixed order.
func services() []string {
	return []string{serviceCAS, serviceActionCache, serviceCapabilities, serviceExecution,
		serviceByteStream, serviceOperations, serviceBots, serviceAdmin}
}

// canonicalService returns the gRPC name of a service as it is named in a
// configuration file, and whether there is such a service.
func canonicalService(name string) (string, bool) {
	if name == botsAlias {
		name = serviceBots
	}
	return name, slices.Contains(services(), name)
}

// A kind says which of an instance's backends serves a method.
type kind uint8

const (
	kindCAS kind = iota + 1
	kindActionCache
	kindExecution
)

// A method is what the proxy knows of one RPC.
type method struct {
	service, name string

	needs   scope
	backend kind

	// field is where the first message holds a name: the numbers of the fields
	// to descend through, the last of them a string. instance takes the name
	// apart.
	field    []protowire.Number
	instance func(name string) (string, error)

	// mustEqual, if not nil, is a second field that may repeat the name. A
	// request in which the two differ is refused: the server behind might go by
	// the other one.
	mustEqual []protowire.Number

	// idempotent methods are tried again when the backend is unavailable.
	idempotent bool

	// notWorkers is set where a worker's token isn't enough, whatever its
	// listener offers.
	notWorkers bool

	clientStreams, serverStreams bool
}

// full returns the name under which gRPC knows the method.
func (m *method) full() string { return "/" + m.service + "/" + m.name }

func (m *method) desc() *grpc.StreamDesc {
	return &grpc.StreamDesc{StreamName: m.name, ClientStreams: m.clientStreams, ServerStreams: m.serverStreams}
}

// methodTable returns the row of every method the proxy passes on.
//
// Execute isn't idempotent: a second attempt could run the action twice. Nor is
// a Bots call tried again here: it is a long poll, which the worker repeats
// itself and with fresher news. A Write in progress can't be repeated because
// the proxy doesn't keep what it has passed on.
func methodTable() []method {
	one := []protowire.Number{1}
	return []method{
		{service: serviceCAS, name: "FindMissingBlobs", needs: scopeCacheRead, backend: kindCAS, field: one, instance: plain, idempotent: true},
		{service: serviceCAS, name: "BatchReadBlobs", needs: scopeCacheRead, backend: kindCAS, field: one, instance: plain, idempotent: true},
		{service: serviceCAS, name: "BatchUpdateBlobs", needs: scopeCacheWrite, backend: kindCAS, field: one, instance: plain, idempotent: true},
		{service: serviceCAS, name: "GetTree", needs: scopeCacheRead, backend: kindCAS, field: one, instance: plain, idempotent: true, serverStreams: true},
		// The four methods of REAPI 2.12 and 2.13 for blobs in chunks. Splitting
		// stores the chunks and so counts as writing.
		{service: serviceCAS, name: "SplitBlob", needs: scopeCacheWrite, backend: kindCAS, field: one, instance: plain, idempotent: true},
		{service: serviceCAS, name: "SpliceBlob", needs: scopeCacheWrite, backend: kindCAS, field: one, instance: plain, idempotent: true},
		{service: serviceCAS, name: "GetChunkMapping", needs: scopeCacheRead, backend: kindCAS, field: one, instance: plain, idempotent: true, serverStreams: true},
		{service: serviceCAS, name: "RegisterChunkMapping", needs: scopeCacheWrite, backend: kindCAS, field: one, instance: plain, clientStreams: true},

		{service: serviceActionCache, name: "GetActionResult", needs: scopeCacheRead, backend: kindActionCache, field: one, instance: plain, idempotent: true},
		{service: serviceActionCache, name: "UpdateActionResult", needs: scopeCacheWrite, backend: kindActionCache, field: one, instance: plain, idempotent: true, notWorkers: true},

		{service: serviceByteStream, name: "Read", needs: scopeCacheRead, backend: kindCAS, field: one, instance: ofReadName, idempotent: true, serverStreams: true},
		{service: serviceByteStream, name: "Write", needs: scopeCacheWrite, backend: kindCAS, field: one, instance: ofWriteName, clientStreams: true},
		{service: serviceByteStream, name: "QueryWriteStatus", needs: scopeCacheWrite, backend: kindCAS, field: one, instance: ofWriteName, idempotent: true},

		{service: serviceCapabilities, name: "GetCapabilities", needs: scopeCacheRead, backend: kindCAS, field: one, instance: plain, idempotent: true},

		{service: serviceExecution, name: "Execute", needs: scopeExecute, backend: kindExecution, field: one, instance: plain, serverStreams: true},
		{service: serviceExecution, name: "WaitExecution", needs: scopeExecute, backend: kindExecution, field: one, instance: digest.ParseOperationName, idempotent: true, serverStreams: true},

		{service: serviceOperations, name: "ListOperations", needs: scopeExecute, backend: kindExecution, field: []protowire.Number{4}, instance: digest.ParseOperationsName, idempotent: true},
		{service: serviceOperations, name: "GetOperation", needs: scopeExecute, backend: kindExecution, field: one, instance: digest.ParseOperationName, idempotent: true},
		{service: serviceOperations, name: "DeleteOperation", needs: scopeExecute, backend: kindExecution, field: one, instance: digest.ParseOperationName},
		{service: serviceOperations, name: "CancelOperation", needs: scopeExecute, backend: kindExecution, field: one, instance: digest.ParseOperationName, idempotent: true},
		{service: serviceOperations, name: "WaitOperation", needs: scopeExecute, backend: kindExecution, field: one, instance: digest.ParseOperationName, idempotent: true},

		{service: serviceBots, name: "CreateBotSession", needs: scopeExecute, backend: kindExecution, field: one, instance: plain},
		{service: serviceBots, name: "UpdateBotSession", needs: scopeExecute, backend: kindExecution, field: []protowire.Number{2, 1}, instance: digest.ParseSessionName, mustEqual: one},

		// What is undone a second time isn't there.
		{service: serviceAdmin, name: "Explain", needs: scopeAdmin, backend: kindExecution, field: one, instance: digest.ParseOperationName, idempotent: true},
		{service: serviceAdmin, name: "Drain", needs: scopeAdmin, backend: kindExecution, field: one, instance: plain},
		{service: serviceAdmin, name: "GetState", needs: scopeAdmin, backend: kindExecution, field: one, instance: plain, idempotent: true},
		{service: serviceAdmin, name: "Watch", needs: scopeAdmin, backend: kindExecution, field: one, instance: plain, idempotent: true, serverStreams: true},
	}
}
