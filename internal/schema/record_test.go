package schema_test

import (
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/internal/schema"
	"github.com/weir-build/weir/traces/semconv"
)

const executeMethod = "build.bazel.remote.execution.v2.Execution/Execute"

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func number(key string, n int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: n}}}
}

// goodTrace is the execution-server's part of a trace in which everything is as it is
// declared: a call, the action below it, and its attempt.
func goodTrace() *tracepb.ResourceSpans {
	id := []byte("one trace")
	return &tracepb.ResourceSpans{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text(semconv.AttrServiceName, semconv.RoleExecution), number(semconv.AttrProcessID, 1)}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{
			{
				TraceId: id, SpanId: []byte("worker"), ParentSpanId: []byte("action"), Name: semconv.SpanWorker,
				Attributes: []*commonpb.KeyValue{number(semconv.AttrAttempt, 2), number(semconv.AttrLate, 1)},
			},
			{
				TraceId: id, SpanId: []byte("action"), ParentSpanId: []byte("call"), Name: semconv.SpanAction,
				Attributes: []*commonpb.KeyValue{text(semconv.AttrCacheResult, semconv.CacheHit), text(semconv.AttrOperation, "any")},
				Links: []*tracepb.Span_Link{{
					TraceId: id, SpanId: []byte("worker"), Attributes: []*commonpb.KeyValue{text(semconv.AttrLinkKind, semconv.LinkCached)},
				}},
			},
			{
				TraceId: id, SpanId: []byte("call"), ParentSpanId: []byte("the client's"), Name: executeMethod,
				Attributes: []*commonpb.KeyValue{text(semconv.AttrRPCMethod, executeMethod), text(semconv.AttrRPCStatusCode, "OK")},
			},
			{TraceId: id, SpanId: []byte("other"), Name: semconv.OtherMethod, Attributes: []*commonpb.KeyValue{text(semconv.AttrRPCMethod, semconv.OtherMethod)}},
		}}},
	}
}

func TestSpansAreHeldAgainstTheirDeclaration(t *testing.T) {
	r := schema.NewRecord()
	r.AddSpans(goodTrace())
	if got := r.Problems(); len(got) > 0 {
		t.Fatalf("a good trace has the problems %q", got)
	}
	for _, c := range []struct {
		want   string
		change func(rs *tracepb.ResourceSpans, worker, action, call *tracepb.Span)
	}{
		{"span thing isn't declared", func(_ *tracepb.ResourceSpans, _, _, call *tracepb.Span) { call.Name = "thing" }},
		{"no method", func(_ *tracepb.ResourceSpans, _, _, call *tracepb.Span) { call.Name = executeMethod + "More" }},
		{"no method", func(_ *tracepb.ResourceSpans, _, _, call *tracepb.Span) { call.Name = "no.such.Service/Method" }},
		{"no method", func(_ *tracepb.ResourceSpans, _, _, call *tracepb.Span) { call.Name = "a b/c" }},
		{"no method", func(_ *tracepb.ResourceSpans, _, _, call *tracepb.Span) {
			call.Name = "build.bazel.remote.execution.v2.Action/Execute"
		}},
		{"written by casd", func(rs *tracepb.ResourceSpans, _, _, _ *tracepb.Span) {
			rs.Resource.Attributes[0] = text(semconv.AttrServiceName, semconv.RoleCasd)
		}},
		{"the parent of worker is span " + executeMethod, func(_ *tracepb.ResourceSpans, worker, _, call *tracepb.Span) { worker.ParentSpanId = call.SpanId }},
		{"declared as a root", func(_ *tracepb.ResourceSpans, worker, _, _ *tracepb.Span) { worker.Name = semconv.SpanInvocation }},
		{"attribute rbe.thing of span worker isn't declared", func(_ *tracepb.ResourceSpans, worker, _, _ *tracepb.Span) {
			worker.Attributes[0] = text("rbe.thing", "x")
		}},
		{"rbe.attempt.late is on span action", func(_ *tracepb.ResourceSpans, worker, action, _ *tracepb.Span) {
			action.Attributes = append(action.Attributes, worker.Attributes[1])
		}},
		{"rbe.operation.name is on span " + executeMethod, func(_ *tracepb.ResourceSpans, _, action, call *tracepb.Span) {
			call.Attributes = append(call.Attributes, action.Attributes[1])
		}},
		{"is twice", func(_ *tracepb.ResourceSpans, worker, _, _ *tracepb.Span) {
			worker.Attributes = append(worker.Attributes, worker.Attributes[0])
		}},
		{"rbe.attempt of span worker is a string, declared as int", func(_ *tracepb.ResourceSpans, worker, _, _ *tracepb.Span) {
			worker.Attributes[0] = text(semconv.AttrAttempt, "2")
		}},
		{"rbe.cache.result of span action is a int, declared as string", func(_ *tracepb.ResourceSpans, _, action, _ *tracepb.Span) {
			action.Attributes[0] = number(semconv.AttrCacheResult, 1)
		}},
		{"is a bool", func(_ *tracepb.ResourceSpans, worker, _, _ *tracepb.Span) {
			worker.Attributes[1].Value = &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}}
		}},
		{"is 2, declared from 0 to 1", func(_ *tracepb.ResourceSpans, worker, _, _ *tracepb.Span) {
			worker.Attributes[1] = number(semconv.AttrLate, 2)
		}},
		{"is -1, declared from 0", func(_ *tracepb.ResourceSpans, worker, _, _ *tracepb.Span) {
			worker.Attributes[1] = number(semconv.AttrLate, -1)
		}},
		{`is "maybe", which isn't among`, func(_ *tracepb.ResourceSpans, _, action, _ *tracepb.Span) {
			action.Attributes[0] = text(semconv.AttrCacheResult, "maybe")
		}},
		{`rpc.method of span ` + executeMethod + ` is "x/y"`, func(_ *tracepb.ResourceSpans, _, _, call *tracepb.Span) {
			call.Attributes[0] = text(semconv.AttrRPCMethod, "x/y")
		}},
		{"event exception of span action", func(_ *tracepb.ResourceSpans, _, action, _ *tracepb.Span) {
			action.Events = []*tracepb.Span_Event{{Name: "exception"}}
		}},
		{`link "" of span action`, func(_ *tracepb.ResourceSpans, _, action, _ *tracepb.Span) { action.Links[0].Attributes = nil }},
		{`link "x" of span action`, func(_ *tracepb.ResourceSpans, _, action, _ *tracepb.Span) {
			action.Links[0].Attributes[0] = text(semconv.AttrLinkKind, "x")
		}},
		{"attribute rbe.attempt is on link of action", func(_ *tracepb.ResourceSpans, worker, action, _ *tracepb.Span) {
			action.Links[0].Attributes = append(action.Links[0].Attributes, worker.Attributes[0])
		}},
		{"link cached is from span worker", func(_ *tracepb.ResourceSpans, worker, action, _ *tracepb.Span) {
			worker.Links, action.Links = action.Links, nil
		}},
		{"the end of link cached is span action", func(_ *tracepb.ResourceSpans, _, action, _ *tracepb.Span) {
			action.Links[0].SpanId = action.SpanId
		}},
		{"resource attribute thing isn't declared", func(rs *tracepb.ResourceSpans, _, _, _ *tracepb.Span) {
			rs.Resource.Attributes[1] = text("thing", "x")
		}},
		{"process.pid of resource is a string", func(rs *tracepb.ResourceSpans, _, _, _ *tracepb.Span) {
			rs.Resource.Attributes[1] = text(semconv.AttrProcessID, "x")
		}},
	} {
		bad := goodTrace()
		spans := bad.ScopeSpans[0].Spans
		c.change(bad, spans[0], spans[1], spans[2])
		r := schema.NewRecord()
		r.AddSpans(bad)
		if got := r.Problems(); !contains(got, c.want) {
			t.Errorf("the problems are %q, want one that says %q", got, c.want)
		}
	}
}

func contains(problems []string, text string) bool {
	return slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, text) })
}

// family returns a metric with one series, labels as name and value.
func family(m semconv.Metric, kind dto.MetricType, labels ...string) *dto.MetricFamily {
	series := new(dto.Metric)
	for i := 0; i < len(labels); i += 2 {
		series.Label = append(series.Label, &dto.LabelPair{Name: &labels[i], Value: &labels[i+1]})
	}
	return &dto.MetricFamily{Name: &m.Name, Help: &m.Help, Type: &kind, Metric: []*dto.Metric{series}}
}

func TestMetricsAreHeldAgainstTheirDeclaration(t *testing.T) {
	counter, gauge, histogram := dto.MetricType_COUNTER, dto.MetricType_GAUGE, dto.MetricType_HISTOGRAM
	worker := []string{"role", semconv.RoleWorker, "worker", "w"}
	r := schema.NewRecord()
	r.AddMetrics([]*dto.MetricFamily{
		family(semconv.Operations, counter, "role", semconv.RoleExecution, "outcome", "cached", "code", "OK"),
		family(semconv.WorkerRunners, counter, append(worker, "outcome", semconv.RunnerOK)...),
		family(semconv.WorkerLeases, gauge, worker...),
		family(semconv.SpansExported, counter, "role", semconv.RoleWorker, "exporter", semconv.ExporterFile),
		family(semconv.RPCServerDuration, histogram, "role", "client", "rpc_method", executeMethod, "rpc_response_status_code", "OK"),
		family(semconv.Metric{Name: "go_goroutines"}, gauge),
	})
	if got := r.Problems(); len(got) > 0 {
		t.Fatalf("good metrics have the problems %q", got)
	}
	help := proto.Clone(family(semconv.WorkerLeases, gauge, worker...)).(*dto.MetricFamily)
	help.Help = proto.String("Otherwise.")
	for want, bad := range map[string]*dto.MetricFamily{
		"metric weir_thing isn't declared":                                 family(semconv.Metric{Name: "weir_thing"}, gauge),
		"metric thing isn't declared":                                      family(semconv.Metric{Name: "thing"}, gauge),
		"is a counter, declared as a gauge":                                family(semconv.WorkerLeases, counter, worker...),
		"has the help":                                                     help,
		"has the labels role, declared with role, worker":                  family(semconv.WorkerLeases, gauge, worker[:2]...),
		"has the labels role, thing, worker, declared with":                family(semconv.WorkerLeases, gauge, append(worker, "thing", "x")...),
		"has the labels code, outcome, declared with":                      family(semconv.Operations, counter, "outcome", "cached", "code", "OK"),
		"is emitted by casd, declared for worker":                          family(semconv.WorkerLeases, gauge, "role", semconv.RoleCasd),
		`label outcome of metric weir_operations_total is "ok"`:            family(semconv.Operations, counter, "role", semconv.RoleExecution, "outcome", semconv.RunnerOK, "code", "OK"),
		`label code of metric weir_operations_total is "Ok"`:               family(semconv.Operations, counter, "role", semconv.RoleExecution, "outcome", "cached", "code", "Ok"),
		`label rpc_method of metric weir_rpc_server_active_calls is "x/y"`: family(semconv.RPCServerActive, gauge, "role", "client", "rpc_method", "x/y"),
	} {
		r := schema.NewRecord()
		r.AddMetrics([]*dto.MetricFamily{bad})
		if got := r.Problems(); !contains(got, want) {
			t.Errorf("the problems are %q, want one that says %q", got, want)
		}
	}
}

func TestSilentIsWhatHasNotCome(t *testing.T) {
	r := schema.NewRecord()
	all := schema.Declared()
	if got := r.Silent(); !slices.Equal(got, all) || len(all) < 100 {
		t.Errorf("of nothing %d names are silent, want all %d", len(got), len(all))
	}
	r.AddSpans(goodTrace())
	r.AddMetrics([]*dto.MetricFamily{family(semconv.WorkerLeases, dto.MetricType_GAUGE, "role", semconv.RoleWorker, "worker", "w")})
	silent := r.Silent()
	for _, name := range []schema.Name{
		{Kind: "span", Name: semconv.SpanWorker}, {Kind: "attribute", Name: semconv.AttrLate}, {Kind: "attribute", Name: semconv.AttrLinkKind},
		{Kind: "link", Name: semconv.LinkCached}, {Kind: "resource attribute", Name: semconv.AttrProcessID},
		{Kind: "metric", Name: semconv.WorkerLeases.Name}, {Kind: "label", Name: semconv.Worker},
	} {
		if !slices.Contains(all, name) || slices.Contains(silent, name) {
			t.Errorf("%v is silent, or isn't declared", name)
		}
	}
	if absent := (schema.Name{Kind: "span", Name: semconv.SpanQueued}); !slices.Contains(silent, absent) {
		t.Errorf("%v isn't silent", absent)
	}
}
