package semconv

// Values of the label exporter: where a role's spans go.
const (
	ExporterFile = "file" // spans.otlp of the run folder
	ExporterOTLP = "otlp" // a collector
)

// Metrics of every role, beside those that OpenTelemetry names: of what is under
// way, and of the telemetry itself.
var (
	RPCServerActive = Metric{"weir_rpc_server_active_calls", Gauge, "{call}",
		"gRPC calls being served, open streams and long polls included.", []string{"rpc_method"}}
	SpansExported = Metric{"weir_spans_exported_total", Counter, "{span}",
		"Spans an exporter accepted.", []string{"exporter"}}
	SpansDropped = Metric{"weir_spans_dropped_total", Counter, "{span}",
		"Spans lost because a queue was full or an exporter failed.", []string{"exporter"}}
	SpansSampledOut = Metric{"weir_spans_sampled_out_total", Counter, "{span}",
		"Spans let go on purpose: their build was not sampled, and nothing in it failed, was slow or was retried.", nil}
)

var telemetryMetrics = []Metric{RPCServerActive, SpansExported, SpansDropped, SpansSampledOut}
