package semconv

// Values of the label exporter: where a role's spans go.
const (
	ExporterFile = "file" // spans.otlp of the run folder
	ExporterOTLP = "otlp" // a collector
)

// Metrics of the telemetry itself.
var (
	SpansExported = Metric{"weir_spans_exported_total", Counter, "{span}",
		"Spans an exporter accepted.", []string{"exporter"}}
	SpansDropped = Metric{"weir_spans_dropped_total", Counter, "{span}",
		"Spans lost because a queue was full or an exporter failed.", []string{"exporter"}}
)

var telemetryMetrics = []Metric{SpansExported, SpansDropped}
