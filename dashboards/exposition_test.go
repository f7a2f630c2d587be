package dashboards_test

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

// Durations that the exposition observes at every scrape.
const (
	unarySeconds    = 0.001
	transferSeconds = 10.0
	waitSeconds     = 1000.0
	otherSeconds    = 0.3
)

// Methods of the exposition.
const (
	methodUnary    = "build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
	methodTransfer = "google.bytestream.ByteStream/Read"
	methodWait     = "build.bazel.remote.execution.v2.Execution/Execute"
	methodPoll     = "google.devtools.remoteworkers.v1test2.Bots/UpdateBotSession"
)

// scrapesNeeded is how many scrapes must have begun for two to be stored: the
// next begins only when the one before is.
const scrapesNeeded = 3

// exposition serves every metric of semconv.All, with a few values of each
// label, as a role of the cluster would. It counts on at every scrape.
type exposition struct {
	*httptest.Server
	registry *prometheus.Registry
	// scraped is closed when the scrapes so far are enough to take a rate.
	scraped chan struct{}
	scrapes atomic.Int32
}

func newExposition(t *testing.T) *exposition {
	t.Helper()
	e := &exposition{registry: prometheus.NewRegistry(), scraped: make(chan struct{})}
	r := prometheus.WrapRegistererWith(prometheus.Labels{semconv.Role: "storage-server"}, e.registry)
	var steps []func()
	for _, m := range semconv.All() {
		switch m.Kind {
		case semconv.Counter:
			v := telemetry.NewCounter(r, m)
			steps = append(steps, func() { series(m, func(l prometheus.Labels) { v.With(l).Inc() }) })
		case semconv.Gauge:
			v := telemetry.NewGauge(r, m)
			steps = append(steps, func() { series(m, func(l prometheus.Labels) { v.With(l).Set(gaugeValue(m, l)) }) })
		case semconv.Histogram:
			v := telemetry.NewHistogram(r, m)
			steps = append(steps, func() { series(m, func(l prometheus.Labels) { v.With(l).Observe(seconds(l)) }) })
		}
	}
	handler := promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		for _, step := range steps {
			step()
		}
		if e.scrapes.Add(1) == scrapesNeeded {
			close(e.scraped)
		}
		handler.ServeHTTP(w, request)
	}))
	t.Cleanup(e.Close)
	return e
}

// series calls f with every combination of values of m's labels.
func series(m semconv.Metric, f func(prometheus.Labels)) {
	all := []prometheus.Labels{{}}
	for _, label := range m.Labels {
		var longer []prometheus.Labels
		for _, labels := range all {
			for _, value := range values(label) {
				next := prometheus.Labels{label: value}
				for k, v := range labels {
					next[k] = v
				}
				longer = append(longer, next)
			}
		}
		all = longer
	}
	for _, labels := range all {
		f(labels)
	}
}

// values are some that a label has in a cluster. The first instance is the one
// without a name.
func values(label string) []string {
	known := map[string][]string{
		"instance_name":            {"", "main"},
		"platform":                 {"", "OSFamily=linux,container-image=docker://gcr.io/a.b/c@sha256:1"},
		"rpc_method":               {methodUnary, methodTransfer, methodWait, methodPoll},
		"rpc_response_status_code": {"OK", "NOT_FOUND", "INTERNAL", "CANCELLED"},
		"code":                     {"OK", "Internal"},
		"result":                   {"hit", "miss", "incomplete"},
		"state":                    {"busy", "idle"},
		"status":                   {"OK", "BOT_TERMINATING"},
	}
	if v, ok := known[label]; ok {
		return v
	}
	return []string{"a", "b"}
}

func gaugeValue(m semconv.Metric, labels prometheus.Labels) float64 {
	switch {
	case m.Name == semconv.ProxyCredentialsLoaded.Name:
		return float64(time.Now().Add(-time.Hour).Unix())
	case labels["state"] == "busy":
		return 3
	}
	return 1
}

func seconds(labels prometheus.Labels) float64 {
	switch labels["rpc_method"] {
	case methodUnary:
		return unarySeconds
	case methodTransfer:
		return transferSeconds
	case methodWait, methodPoll:
		return waitSeconds
	}
	return otherSeconds
}
