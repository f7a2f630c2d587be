package execution

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

// metrics are the server's counters; what is a state is computed when scraped.
type metrics struct {
	operations      *prometheus.CounterVec
	retries         *prometheus.CounterVec
	polls           *prometheus.CounterVec
	waits           *prometheus.HistogramVec
	stages          *prometheus.HistogramVec
	sessionsExpired prometheus.Counter
}

func newMetrics(r prometheus.Registerer, s *Server) *metrics {
	m := &metrics{
		operations:      telemetry.NewCounter(r, semconv.Operations),
		retries:         telemetry.NewCounter(r, semconv.TaskRetries),
		polls:           telemetry.NewCounter(r, semconv.BotPolls),
		waits:           telemetry.NewHistogram(r, semconv.QueueWait),
		stages:          telemetry.NewHistogram(r, semconv.StageDuration),
		sessionsExpired: telemetry.NewCounter(r, semconv.SessionsExpired).WithLabelValues(),
	}
	r.MustRegister(&states{
		server:    s,
		depth:     telemetry.Desc(semconv.QueueDepth),
		oldest:    telemetry.Desc(semconv.QueueOldestAge),
		executing: telemetry.Desc(semconv.TasksExecuting),
		workers:   telemetry.Desc(semconv.Workers),
		slots:     telemetry.Desc(semconv.WorkerSlots),
		written:   telemetry.Desc(semconv.JournalWritten),
		syncs:     telemetry.Desc(semconv.JournalSyncs),
		syncing:   telemetry.Desc(semconv.JournalSyncTime),
	})
	return m
}

// wait returns the histogram of a platform's queue waits. Platforms are bounded
// in number.
func (m *metrics) wait(instance, platform string) prometheus.Observer {
	return m.waits.WithLabelValues(instance, platform)
}

// states is the collector of what the server holds now.
type states struct {
	server                                   *Server
	depth, oldest, executing, workers, slots *prometheus.Desc
	written, syncs, syncing                  *prometheus.Desc
}

func (c *states) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.depth, c.oldest, c.executing, c.workers, c.slots, c.written, c.syncs, c.syncing} {
		ch <- d
	}
}

func (c *states) Collect(ch chan<- prometheus.Metric) {
	if log := c.server.log; log != nil {
		stats := log.Stats()
		for desc, value := range map[*prometheus.Desc]float64{
			c.written: float64(stats.Written), c.syncs: float64(stats.Syncs), c.syncing: stats.Syncing.Seconds(),
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value)
		}
	}
	sh := &c.server.shell
	sh.mu.Lock()
	defer sh.mu.Unlock()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	now := time.Now()
	for _, p := range sh.platforms.all {
		depth := sh.queue.Depth(p.id)
		gauge(c.depth, float64(depth.Queued), p.instance.name, p.text)
		gauge(c.executing, float64(depth.Executing), p.instance.name, p.text)
		age := 0.0
		if depth.OldestQueued != queue.Never {
			age = now.Sub(sh.epoch.Add(time.Duration(depth.OldestQueued))).Seconds()
		}
		gauge(c.oldest, age, p.instance.name, p.text)
	}
	type key struct {
		instance string
		status   bots.BotStatus
	}
	workers := make(map[key]int)
	busy, idle := make(map[string]int), make(map[string]int)
	for _, session := range sh.sessions {
		status := session.status
		if _, ok := bots.BotStatus_name[int32(status)]; !ok {
			status = bots.BotStatus_BOT_STATUS_UNSPECIFIED // a worker can send any number: each would be a series
		}
		workers[key{session.instance.name, status}]++
		if accepting(session.status) {
			busy[session.instance.name] += len(session.leases)
			idle[session.instance.name] += max(0, session.slots-len(session.leases))
		}
	}
	for name := range c.server.instances {
		if _, ok := workers[key{name, bots.BotStatus_OK}]; !ok {
			workers[key{name, bots.BotStatus_OK}] = 0
		}
		gauge(c.slots, float64(busy[name]), name, "busy")
		gauge(c.slots, float64(idle[name]), name, "idle")
	}
	for k, n := range workers {
		gauge(c.workers, float64(n), k.instance, k.status.String())
	}
}
