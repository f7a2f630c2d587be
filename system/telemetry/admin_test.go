package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

func get(t *testing.T, h http.Handler, path, accept string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest("GET", path, nil)
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	response := httptest.NewRecorder()
	h.ServeHTTP(response, request)
	return response
}

func TestHealthFollowsTheRoles(t *testing.T) {
	var notReady atomic.Pointer[error]
	h := telemetry.NewAdmin(func() error {
		if err := notReady.Load(); err != nil {
			return *err
		}
		return nil
	}).Handler()
	if got := get(t, h, "/healthz", ""); got.Code != 200 || got.Body.String() != "ok\n" {
		t.Errorf("ready: got %d %q", got.Code, got.Body)
	}
	draining := errors.New("execution-server: draining")
	notReady.Store(&draining)
	if got := get(t, h, "/healthz", ""); got.Code != 503 || got.Body.String() != "execution-server: draining\n" {
		t.Errorf("draining: got %d %q", got.Code, got.Body)
	}
}

func TestMetricsOfAllRolesAreOnOnePage(t *testing.T) {
	storage, proxy := newRole(t, "storage-server"), newRole(t, "proxy-server")
	s := serve(t, storage, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(context.Context) error { return nil }})
	})
	parent, err := tracecontext.Parse(traceparent)
	if err != nil {
		t.Fatal(err)
	}
	if err := find(telemetry.WithParent(t.Context(), parent), dial(t, s, proxy)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	telemetry.NewGauge(proxy.Registerer, semconv.Workers).WithLabelValues("main", "OK").Set(3)
	h := telemetry.NewAdmin(func() error { return nil }, storage.Telemetry, proxy.Telemetry).Handler()
	for _, path := range []string{"/metrics", "/metricsz"} {
		page := get(t, h, path, "application/openmetrics-text;version=1.0.0").Body.String()
		for _, want := range []string{
			`rpc_server_call_duration_seconds_count{role="storage-server",rpc_method="` + findMethod + `",rpc_response_status_code="OK"} 1`,
			`rpc_client_call_duration_seconds_count{role="proxy-server",rpc_method="` + findMethod + `",rpc_response_status_code="OK"} 1`,
			`weir_workers{instance_name="main",role="proxy-server",status="OK"} 3`,
			`weir_spans_dropped_total{exporter="file",role="storage-server"} 0`,
			`go_goroutines{role="process"}`,
			`process_open_fds{role="process"}`,
			`# {trace_id="0af7651916cd43dd8448eb211c80319c"}`,
			"# EOF",
		} {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
	}
}

// Every series has the label role: dashboards and alerts group by it.
func TestEverySeriesHasARole(t *testing.T) {
	r := newRole(t, "storage-server")
	families, err := telemetry.NewAdmin(func() error { return nil }, r.Telemetry).Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			has := false
			for _, l := range m.Label {
				has = has || l.GetName() == semconv.Role
			}
			if !has {
				t.Errorf("%s %v has no role", f.GetName(), m.Label)
			}
		}
	}
}

func TestNativeHistogramsAreScrapedAsProtobuf(t *testing.T) {
	r := newRole(t, "storage-server")
	telemetry.NewHistogram(r.Registerer, semconv.StageDuration).WithLabelValues("execute").Observe(1.5)
	response := get(t, telemetry.NewAdmin(func() error { return nil }, r.Telemetry).Handler(), "/metrics", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	decoder := expfmt.NewDecoder(response.Body, expfmt.ResponseFormat(response.Header()))
	for {
		family := new(dto.MetricFamily)
		if err := decoder.Decode(family); err != nil {
			t.Fatalf("no %s: %v", semconv.StageDuration.Name, err)
		}
		if family.GetName() == semconv.StageDuration.Name {
			if h := family.Metric[0].GetHistogram(); h.Schema == nil || len(h.PositiveSpan) == 0 {
				t.Errorf("got %v, want native buckets", h)
			}
			return
		}
	}
}

// A collector that fails is one role's problem.
func TestFailingCollectorLeavesTheOthersMetrics(t *testing.T) {
	good, bad := newRole(t, "storage-server"), newRole(t, "proxy-server")
	bad.Registerer.MustRegister(failingCollector{})
	page := get(t, telemetry.NewAdmin(func() error { return nil }, good.Telemetry, bad.Telemetry).Handler(), "/metrics", "").Body.String()
	if !strings.Contains(page, `weir_spans_dropped_total{exporter="file",role="storage-server"} 0`) {
		t.Errorf("got %s", page)
	}
}

type failingCollector struct{}

func (failingCollector) Describe(c chan<- *prometheus.Desc) {
	c <- telemetry.Desc(semconv.SessionsExpired)
}
func (failingCollector) Collect(c chan<- prometheus.Metric) {
	c <- prometheus.NewInvalidMetric(telemetry.Desc(semconv.SessionsExpired), errors.New("broken"))
}

func TestServeAnswersOnEachListenerUntilItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	done := make(chan error)
	go func() { done <- telemetry.NewAdmin(func() error { return nil }).Serve(ctx, listeners...) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for i, path := range []string{"/healthz", "/metrics"} {
		response, err := client.Get(fmt.Sprintf("http://%s%s", listeners[i].Addr(), path))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 || len(body) == 0 {
			t.Errorf("%s: got %d, %d bytes, %v", path, response.StatusCode, len(body), err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := client.Get(fmt.Sprintf("http://%s/healthz", listeners[0].Addr())); err == nil {
		t.Error("it still answers")
	}
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := telemetry.NewAdmin(func() error { return nil }).Serve(t.Context(), l); err == nil {
		t.Error("got no error")
	}
}
