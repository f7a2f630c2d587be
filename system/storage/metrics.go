package storage

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

// Values of the label "result" and "store".
const (
	resultPresent    = "present"
	resultMissing    = "missing"
	resultHit        = "hit"
	resultMiss       = "miss"
	resultIncomplete = "incomplete"

	storeCAS = "cas"
	storeAC  = "ac"
)

type metrics struct {
	read, written, digests, lookups *prometheus.CounterVec
}

// instanceMetrics are the counters of one instance, looked up once.
type instanceMetrics struct {
	readBytes, writtenBytes     prometheus.Counter
	present, missing            prometheus.Counter
	hits, misses, incompletions prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, instances map[string]Instance) *metrics {
	registerer.MustRegister(newUsageCollector(instances))
	return &metrics{
		read:    telemetry.NewCounter(registerer, semconv.StorageRead),
		written: telemetry.NewCounter(registerer, semconv.StorageWritten),
		digests: telemetry.NewCounter(registerer, semconv.StorageDigests),
		lookups: telemetry.NewCounter(registerer, semconv.ActionCacheLookups),
	}
}

func (m *metrics) of(name string) instanceMetrics {
	return instanceMetrics{
		readBytes:     m.read.WithLabelValues(name),
		writtenBytes:  m.written.WithLabelValues(name),
		present:       m.digests.WithLabelValues(name, resultPresent),
		missing:       m.digests.WithLabelValues(name, resultMissing),
		hits:          m.lookups.WithLabelValues(name, resultHit),
		misses:        m.lookups.WithLabelValues(name, resultMiss),
		incompletions: m.lookups.WithLabelValues(name, resultIncomplete),
	}
}

// A user is a store that knows how full it is.
type user interface{ Usage() cas.Usage }

// usageCollector asks the stores how full they are when it is scraped.
type usageCollector struct {
	size, quota, evicted *prometheus.Desc
	stores               []storeUsage
}

type storeUsage struct {
	instance, store string
	user
}

func newUsageCollector(instances map[string]Instance) *usageCollector {
	c := &usageCollector{
		size:    telemetry.Desc(semconv.StorageSize),
		quota:   telemetry.Desc(semconv.StorageQuota),
		evicted: telemetry.Desc(semconv.StorageEvicted),
	}
	for name, i := range instances {
		if u, ok := i.CAS.(user); ok {
			c.stores = append(c.stores, storeUsage{name, storeCAS, u})
		}
		if u, ok := i.AC.(user); ok {
			c.stores = append(c.stores, storeUsage{name, storeAC, u})
		}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *usageCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.size
	out <- c.quota
	out <- c.evicted
}

// Collect implements prometheus.Collector. A store without a quota has no
// sample of it, rather than a quota of 0.
func (c *usageCollector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.stores {
		usage := s.Usage()
		send := func(desc *prometheus.Desc, kind prometheus.ValueType, value int64) {
			out <- prometheus.MustNewConstMetric(desc, kind, float64(value), s.instance, s.store)
		}
		send(c.size, prometheus.GaugeValue, usage.SizeBytes)
		send(c.evicted, prometheus.CounterValue, usage.EvictedBytes)
		if usage.QuotaBytes > 0 {
			send(c.quota, prometheus.GaugeValue, usage.QuotaBytes)
		}
	}
}
