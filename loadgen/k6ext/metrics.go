package k6ext

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"
	"go.k6.io/k6/v2/metrics"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-build/weir/reports/result"
)

// reapiMetrics are k6 metrics. Times are in milliseconds, as k6 has them.
type reapiMetrics struct {
	registry                                    *metrics.Registry
	reqDuration, serviceDuration, scheduleDelay *metrics.Metric
	reqs, blobs, bytesSent, bytesReceived       *metrics.Metric
	failed, cacheHit                            *metrics.Metric
	integrity, dropped, inFlight                *metrics.Metric
	execDuration, execQueue, execFetch, execRun *metrics.Metric
	execUpload, execOverhead                    *metrics.Metric
	buildDuration, buildSlowdown                *metrics.Metric
	grpcDuration                                *metrics.Metric
}

// metricsIn returns the metrics of a registry, which a test has one of.
func (r *Root) metricsIn(registry *metrics.Registry) (*reapiMetrics, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.metrics == nil || r.metrics.registry != registry {
		m, err := newMetrics(registry)
		if err != nil {
			return nil, err
		}
		r.metrics = m
	}
	return r.metrics, nil
}

func newMetrics(r *metrics.Registry) (*reapiMetrics, error) {
	m := &reapiMetrics{registry: r}
	for _, d := range []struct {
		metric **metrics.Metric
		name   string
		kind   metrics.MetricType
		values metrics.ValueType
	}{
		{&m.reqDuration, "reapi_req_duration", metrics.Trend, metrics.Time},
		{&m.serviceDuration, "reapi_service_duration", metrics.Trend, metrics.Time},
		{&m.scheduleDelay, "reapi_schedule_delay", metrics.Trend, metrics.Time},
		{&m.reqs, "reapi_reqs", metrics.Counter, metrics.Default},
		{&m.blobs, "reapi_blobs", metrics.Counter, metrics.Default},
		{&m.bytesSent, "reapi_bytes_sent", metrics.Counter, metrics.Data},
		{&m.bytesReceived, "reapi_bytes_received", metrics.Counter, metrics.Data},
		{&m.failed, "reapi_req_failed", metrics.Rate, metrics.Default},
		{&m.cacheHit, "reapi_cache_hit", metrics.Rate, metrics.Default},
		{&m.integrity, "reapi_integrity_errors", metrics.Counter, metrics.Default},
		{&m.dropped, "reapi_dropped", metrics.Counter, metrics.Default},
		{&m.inFlight, "reapi_inflight", metrics.Gauge, metrics.Default},
		{&m.execDuration, "reapi_exec_duration", metrics.Trend, metrics.Time},
		{&m.execQueue, "reapi_exec_queue_duration", metrics.Trend, metrics.Time},
		{&m.execFetch, "reapi_exec_fetch_duration", metrics.Trend, metrics.Time},
		{&m.execRun, "reapi_exec_run_duration", metrics.Trend, metrics.Time},
		{&m.execUpload, "reapi_exec_upload_duration", metrics.Trend, metrics.Time},
		{&m.execOverhead, "reapi_exec_overhead", metrics.Trend, metrics.Time},
		{&m.buildDuration, "reapi_build_duration", metrics.Trend, metrics.Time},
		{&m.buildSlowdown, "reapi_build_slowdown", metrics.Trend, metrics.Default},
		// k6's own, so that its dashboards show ours.
		{&m.grpcDuration, metrics.GRPCReqDurationName, metrics.Trend, metrics.Time},
	} {
		var err error
		if *d.metric, err = r.NewMetric(d.name, d.kind, d.values); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// pusher is an Observer that pushes samples for one virtual user and one set of tags.
type pusher struct {
	ctx     context.Context
	samples chan<- metrics.SampleContainer
	metrics *reapiMetrics
	base    *metrics.TagSet
	cache   *tagCache
}

// tagCache keeps the tag sets of a virtual user: making one takes a lock that all users
// share.
type tagCache struct {
	calls   tagSets[result.CallKey]
	actions tagSets[result.ActionKey]
}

// tagSets are those of keys, on top of the tags that their user has now.
type tagSets[K comparable] struct {
	mu   sync.Mutex // guards what follows
	base *metrics.TagSet
	sets map[K]*metrics.TagSet
}

func (t *tagSets[K]) of(key K, base *metrics.TagSet, build func() *metrics.TagSet) *metrics.TagSet {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.base != base || len(t.sets) >= maxTagSets {
		t.base, t.sets = base, make(map[K]*metrics.TagSet)
	}
	set := t.sets[key]
	if set == nil {
		set = build()
		t.sets[key] = set
	}
	return set
}

// maxTagSets bounds a cache; a full one begins again.
const maxTagSets = 500

// observe returns the observer of the calls of this virtual user, as it is tagged now.
func (m *instance) observe(userTags sobek.Value) (*pusher, error) {
	state := m.vu.State()
	tags := state.Tags.GetCurrentValues()
	cache := &m.tags
	if !common.IsNullish(userTags) {
		if err := common.ApplyCustomUserTags(m.vu.Runtime(), &tags, userTags); err != nil {
			return nil, err
		}
		cache = new(tagCache)
	}
	return &pusher{ctx: m.vu.Context(), samples: state.Samples, metrics: m.metrics, base: tags.Tags, cache: cache}, nil
}

// tracer is k6's, nil if it has none.
func (m *instance) tracer() trace.Tracer {
	if state := m.vu.State(); state != nil && state.TracerProvider != nil {
		return state.TracerProvider.Tracer(ImportPath)
	}
	return nil
}

func (p *pusher) callTags(key result.CallKey) *metrics.TagSet {
	return p.cache.calls.of(key, p.base, func() *metrics.TagSet {
		service, method, _ := strings.Cut(key.Method, "/")
		tags := p.base.With("service", service).With("method", method).With("name", method).With("status", key.Status)
		for name, value := range map[string]string{"size_class": key.SizeClass, "cache": key.Cache, "phase": key.Phase} {
			if value != "" {
				tags = tags.With(name, value)
			}
		}
		return tags
	})
}

func (p *pusher) actionTags(key result.ActionKey) *metrics.TagSet {
	return p.cache.actions.of(key, p.base, func() *metrics.TagSet { return p.base.With("class", key.Class).With("outcome", key.Outcome) })
}

// batch collects samples that have time and tags in common.
type batch struct {
	tags  *metrics.TagSet
	at    time.Time
	trace map[string]string
	all   []metrics.Sample
}

func (b *batch) add(m *metrics.Metric, value float64) {
	b.all = append(b.all, metrics.Sample{TimeSeries: metrics.TimeSeries{Metric: m, Tags: b.tags}, Time: b.at, Value: value, Metadata: b.trace})
}

func (p *pusher) push(b *batch) {
	metrics.PushIfNotDone(p.ctx, p.samples, metrics.ConnectedSamples{Samples: b.all, Tags: b.tags, Time: b.at})
}

// traced is the trace of what is traced: of high cardinality, so that it is no tag.
func traced(id string) map[string]string {
	if id == "" {
		return nil
	}
	return map[string]string{"trace_id": id}
}

// Call pushes the samples of a call.
func (p *pusher) Call(c *result.Call) {
	b := &batch{tags: p.callTags(c.CallKey), at: c.End, trace: traced(c.TraceID), all: make([]metrics.Sample, 0, 10)}
	m := p.metrics
	response, service := milliseconds(c.End.Sub(c.Intended)), milliseconds(c.End.Sub(c.Sent))
	b.add(m.reqDuration, response)
	b.add(m.grpcDuration, service)
	if c.Intended != c.Sent {
		b.add(m.serviceDuration, service)
		b.add(m.scheduleDelay, response-service)
	}
	b.add(m.reqs, 1)
	b.add(m.failed, number(c.Failed))
	b.add(m.bytesSent, float64(c.BytesSent))
	b.add(m.bytesReceived, float64(c.BytesReceived))
	if c.Blobs > 0 {
		b.add(m.blobs, float64(c.Blobs))
	}
	if c.Cache != "" {
		b.add(m.cacheHit, number(c.Cache == "hit"))
	}
	p.push(b)
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Action pushes the samples of an action.
func (p *pusher) Action(a *result.Action) {
	b := &batch{tags: p.actionTags(a.ActionKey), at: a.End, trace: traced(a.TraceID), all: make([]metrics.Sample, 0, 6)}
	m := p.metrics
	service := a.End.Sub(a.Sent)
	b.add(m.execDuration, milliseconds(a.End.Sub(a.Intended)))
	if a.Outcome == result.Executed || a.Outcome == result.ActionFailed {
		b.add(m.execQueue, milliseconds(a.Queue))
		b.add(m.execFetch, milliseconds(a.Fetch))
		b.add(m.execRun, milliseconds(a.Run))
		b.add(m.execUpload, milliseconds(a.Upload))
		b.add(m.execOverhead, milliseconds(max(0, service-a.Queue-a.Fetch-a.Run-a.Upload)))
	}
	p.push(b)
}

// Build pushes the samples of a build.
func (p *pusher) Build(build *result.Build) {
	b := &batch{tags: p.base, at: build.Start.Add(build.Makespan), trace: traced(build.TraceID)}
	b.add(p.metrics.buildDuration, milliseconds(build.Makespan))
	if build.Ideal > 0 {
		b.add(p.metrics.buildSlowdown, float64(build.Makespan)/float64(build.Ideal))
	}
	p.push(b)
}

// Dropped pushes that something was dropped.
func (p *pusher) Dropped(at time.Time) { p.one(p.metrics.dropped, at, 1) }

// InFlight pushes how many there are.
func (p *pusher) InFlight(at time.Time, n int64) { p.one(p.metrics.inFlight, at, float64(n)) }

// Violation pushes that there is one.
func (p *pusher) Violation(kind, _ string) {
	b := &batch{tags: p.base.With("kind", kind), at: time.Now()}
	b.add(p.metrics.integrity, 1)
	p.push(b)
}

func (p *pusher) one(m *metrics.Metric, at time.Time, value float64) {
	b := &batch{tags: p.base, at: at}
	b.add(m, value)
	p.push(b)
}
