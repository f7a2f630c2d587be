package semconv

// Values of the label mode of casd's metrics: how an input root is staged.
const (
	CasdModeFUSE = "fuse"
	CasdModeCopy = "copy-or-link"
)

// Metrics of casd.
var (
	CasdStaged = Metric{"weir_casd_staged_trees", Gauge, "{tree}",
		"Input roots staged now, by how.", []string{"mode"}}
	CasdStageDuration = Metric{"weir_casd_stage_duration_seconds", Histogram, "s",
		"Time from a StageTree request to its first response.", []string{"mode"}}
	CasdFetched = Metric{"weir_casd_fetched_bytes_total", Counter, "By",
		"Blob bytes brought from the remote into the local cache.", nil}
	CasdUploaded = Metric{"weir_casd_uploaded_bytes_total", Counter, "By",
		"Blob bytes sent to the remote.", nil}
)

var casdMetrics = []Metric{CasdStaged, CasdStageDuration, CasdFetched, CasdUploaded}
