package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/weir-build/weir/traces/semconv"
)

const (
	// maxQueuedSpans bounds the spans that wait for one exporter: four builds of
	// 10⁵ spans, or the 20 s in which two batches time out at 20,000 spans a
	// second, at half a kilobyte each. Further ones are dropped and counted; ending
	// a span never waits.
	maxQueuedSpans = 400_000
	// maxBatchSpans is the SDK's own default. A batch is one record of the span
	// file and one message to the collector.
	maxBatchSpans = 512
	// batchDelay is how long a span may wait for its batch to fill: what a killed
	// process loses, and how far a live view lags.
	batchDelay = time.Second
	// exportTimeout bounds one batch, so that a collector that hangs costs its
	// batch and not the queue.
	exportTimeout = 10 * time.Second
)

// spanCounts are the metrics of a role's exporters.
type spanCounts struct{ exported, dropped *prometheus.CounterVec }

func newSpanCounts(r prometheus.Registerer) spanCounts {
	return spanCounts{NewCounter(r, semconv.SpansExported), NewCounter(r, semconv.SpansDropped)}
}

func (c spanCounts) of(exporter string) exporterCounts {
	return exporterCounts{c.exported.WithLabelValues(exporter), c.dropped.WithLabelValues(exporter)}
}

// SpanCounts says what became of spans. A span that goes to two exporters counts
// twice.
type SpanCounts struct {
	// Exported were accepted by an exporter.
	Exported int64 `json:"exported"`
	// Dropped were lost, because a queue was full or an exporter failed.
	Dropped int64 `json:"dropped"`
	// SampledOut were let go on purpose: see Sampler. An action's tree, which isn't
	// made then, counts about as much as others of its time.
	SampledOut int64 `json:"sampled_out"`
}

// Add adds the counts of another role.
func (c *SpanCounts) Add(other SpanCounts) {
	c.Exported += other.Exported
	c.Dropped += other.Dropped
	c.SampledOut += other.SampledOut
}

// SpanCounts returns what has become of the role's spans. The counts are final
// after Shutdown.
func (t *Telemetry) SpanCounts() SpanCounts {
	var c SpanCounts
	for _, m := range []struct {
		into *int64
		from prometheus.Collector
	}{{&c.Exported, t.spanCounts.exported}, {&c.Dropped, t.spanCounts.dropped}, {&c.SampledOut, t.sampledOut}} {
		metrics := make(chan prometheus.Metric)
		go func() {
			m.from.Collect(metrics)
			close(metrics)
		}()
		for metric := range metrics {
			var value dto.Metric
			if err := metric.Write(&value); err != nil {
				panic("read a counter of our own: " + err.Error())
			}
			*m.into += int64(value.GetCounter().GetValue())
		}
	}
	return c
}

type exporterCounts struct{ exported, dropped prometheus.Counter }

// batcher hands ended spans on in batches. It exists beside the SDK's batch
// processor because that one drops without a trace.
type batcher[S any] struct {
	send   func(context.Context, []S) error
	counts exporterCounts
	logger *slog.Logger

	wake    chan struct{} // holds one token: a batch is full, or someone flushes
	stop    chan struct{} // closed by Shutdown
	stopped chan struct{} // closed when run has returned
	abort   context.CancelFunc
	failing bool // the last export failed; owned by run

	mu      sync.Mutex // guards what follows
	queued  []S
	taken   int             // spans that are with the exporter; they count as queued
	flushes []chan struct{} // closed when what was queued before them is exported
	closed  bool
}

// newBatcher starts a batcher, which lives until Shutdown: ctx gives values only.
func newBatcher[S any](ctx context.Context, send func(context.Context, []S) error, counts exporterCounts, logger *slog.Logger) *batcher[S] {
	ctx, abort := context.WithCancel(context.WithoutCancel(ctx))
	b := &batcher[S]{
		send:    send,
		counts:  counts,
		logger:  logger,
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		abort:   abort,
	}
	go b.run(ctx)
	return b
}

// add queues spans or, as far as the queue is full, drops and counts them.
func (b *batcher[S]) add(spans ...S) {
	b.mu.Lock()
	room := max(0, maxQueuedSpans-len(b.queued)-b.taken)
	if b.closed {
		room = 0
	}
	kept := min(room, len(spans))
	before := len(b.queued)
	b.queued = append(b.queued, spans[:kept]...)
	full := before < maxBatchSpans && len(b.queued) >= maxBatchSpans
	b.mu.Unlock()
	if lost := len(spans) - kept; lost > 0 {
		b.counts.dropped.Add(float64(lost))
	}
	if full {
		b.rouse()
	}
}

func (b *batcher[S]) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// ForceFlush waits until the spans that have ended are exported, or ctx is
// done.
func (b *batcher[S]) ForceFlush(ctx context.Context) error {
	done := make(chan struct{})
	b.mu.Lock()
	b.flushes = append(b.flushes, done)
	b.mu.Unlock()
	b.rouse()
	select {
	case <-done:
		return nil
	case <-b.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown exports what is queued and stops. When ctx is done first, the rest is dropped; an export that ignores its context, as a write to
// a file does, is waited for all the same.
func (b *batcher[S]) Shutdown(ctx context.Context) error {
	b.mu.Lock()
	already := b.closed
	b.closed = true
	b.mu.Unlock()
	if !already {
		close(b.stop)
	}
	var cut error
	select {
	case <-b.stopped:
	case <-ctx.Done():
		cut = ctx.Err()
		b.abort()
		<-b.stopped
	}
	return cut
}

// run exports until Shutdown, then once more. When ctx is done, exports fail
// at once and what is queued is counted as dropped.
func (b *batcher[S]) run(ctx context.Context) {
	defer close(b.stopped)
	defer b.abort()
	timer := time.NewTicker(batchDelay)
	defer timer.Stop()
	for {
		stopping := false
		select {
		case <-b.wake:
		case <-timer.C:
		case <-b.stop:
			stopping = true
		}
		b.exportQueued(ctx)
		if stopping {
			return
		}
	}
}

// exportQueued exports all that is queued now, batch by batch.
func (b *batcher[S]) exportQueued(ctx context.Context) {
	b.mu.Lock()
	spans, flushes := b.queued, b.flushes
	b.queued, b.flushes, b.taken = nil, nil, len(spans)
	b.mu.Unlock()
	for len(spans) > 0 {
		batch := spans[:min(len(spans), maxBatchSpans)]
		spans = spans[len(batch):]
		b.export(ctx, batch)
		b.mu.Lock()
		b.taken = len(spans)
		b.mu.Unlock()
	}
	for _, done := range flushes {
		close(done)
	}
}

func (b *batcher[S]) export(ctx context.Context, batch []S) {
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		err = b.send(ctx, batch)
	}
	if err != nil {
		b.counts.dropped.Add(float64(len(batch)))
		// The counter tells how many; the log, when it begins and when it ends.
		if !b.failing {
			b.logger.Warn("spans are being lost", "err", err)
		}
		b.failing = true
		return
	}
	b.counts.exported.Add(float64(len(batch)))
	if b.failing {
		b.logger.Info("spans are exported again")
	}
	b.failing = false
}
