package semconv

// Attributes of RPC spans (OpenTelemetry semantic conventions, RPC and gRPC).
const (
	AttrRPCSystem = "rpc.system.name"
	AttrRPCMethod = "rpc.method"
	// AttrRPCMethodOriginal is what the client called, where AttrRPCMethod is
	// OtherMethod.
	AttrRPCMethodOriginal = "rpc.method_original"
	AttrRPCStatusCode     = "rpc.response.status_code"
)

// RPCSystem is the value of AttrRPCSystem.
const RPCSystem = "grpc"

// OtherMethod stands for methods this program doesn't know, as the name of a
// span, the attribute and the label: any client could invent more of them. The
// word is OpenTelemetry's.
const OtherMethod = "_OTHER"

// Metrics of every gRPC server and client. Long polls and streams keep to their
// own method label, so they never blur the latency of unary calls.
var (
	RPCServerDuration = Metric{"rpc_server_call_duration_seconds", Histogram, "s",
		"Duration of gRPC calls served, to the end of the stream.", []string{"rpc_method", "rpc_response_status_code"}}
	RPCClientDuration = Metric{"rpc_client_call_duration_seconds", Histogram, "s",
		"Duration of gRPC calls made, to the end of the stream.", []string{"rpc_method", "rpc_response_status_code"}}
)

var rpcMetrics = []Metric{RPCServerDuration, RPCClientDuration}
