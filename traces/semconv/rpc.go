package semconv

// Attributes of RPC spans (OpenTelemetry semantic conventions, RPC and gRPC).
const (
	AttrRPCSystem     = "rpc.system.name"
	AttrRPCMethod     = "rpc.method"
	AttrRPCStatusCode = "rpc.response.status_code"
)

// RPCSystem is the value of AttrRPCSystem.
const RPCSystem = "grpc"

// OtherMethod is the value of the label rpc_method for methods this program
// doesn't know: any client could invent more of them.
const OtherMethod = "other"

// Metrics of every gRPC server and client. Long polls and streams keep to their
// own method label, so they never blur the latency of unary calls.
var (
	RPCServerDuration = Metric{"rpc_server_call_duration_seconds", Histogram, "s",
		"Duration of gRPC calls served, to the end of the stream.", []string{"rpc_method", "rpc_response_status_code"}}
	RPCClientDuration = Metric{"rpc_client_call_duration_seconds", Histogram, "s",
		"Duration of gRPC calls made, to the end of the stream.", []string{"rpc_method", "rpc_response_status_code"}}
)

var rpcMetrics = []Metric{RPCServerDuration, RPCClientDuration}
