package observe_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
)

// spansOf reads a file of spans, by their ids, and checks it as weir trace check does.
func spansOf(t *testing.T, file *bytes.Buffer) (map[string]*tracepb.Span, lifecycle.Report) {
	t.Helper()
	all := make(map[string]*tracepb.Span)
	checker := lifecycle.NewChecker(lifecycle.Options{})
	for rs, err := range otlpfile.Read(bytes.NewReader(file.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		checker.Add(rs)
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				all[string(s.TraceId)+string(s.SpanId)] = s
			}
		}
	}
	return all, checker.Finish()
}

func attribute(s *tracepb.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// TestSpansSayWhatHappened: each action of each build has its tree, which keeps all rules,
// and each stage takes what it took in the model.
func TestSpansSayWhatHappened(t *testing.T) {
	r := run(t, eventful, math.MaxInt32)
	spans, report := spansOf(t, &r.otlp)
	if err := report.Err(); err != nil {
		t.Fatalf("%v\n%v", err, report.Violations[:min(5, len(report.Violations))])
	}
	kept, of, n := r.spans.Kept()
	if kept != len(r.log.builds) || of != kept || n != int64(len(spans)) || report.Traces != kept {
		t.Errorf("kept %d of %d builds, %d spans; want %d builds, %d spans", kept, of, n, len(r.log.builds), len(spans))
	}
	// What the model told, in the words of spans.
	want, got := make(map[string]time.Duration), make(map[string]time.Duration)
	counts := make(map[string]int)
	count := func(of map[string]time.Duration, name string, d time.Duration) { of[name] += d; of[name+" count"]++ }
	for _, b := range r.log.builds {
		count(want, semconv.SpanInvocation, time.Duration(b.End-b.Begun))
	}
	for _, a := range r.log.actions {
		count(want, "client", time.Duration(a.End-a.Due))
		counts[fmt.Sprint(a.Ended)]++
		if a.Ended == model.Cached {
			continue
		}
		count(want, semconv.SpanAction, time.Duration(a.End-a.Due))
		if a.Asker != (model.Asker{Stream: a.Stream, Build: a.Build, Index: a.Index}) {
			counts["joined"]++
			if a.End > a.Due {
				count(want, semconv.SpanJoined, time.Duration(a.End-a.Due))
			}
			continue
		}
		for _, l := range a.Lost {
			counts["lost"]++
			count(want, "because "+l.Reason.String(), 0)
			count(want, semconv.SpanQueued, time.Duration(l.Leased-l.Queued))
			count(want, semconv.SpanWorker, time.Duration(l.Ended-l.Leased))
		}
		switch {
		case a.Ended == model.Executed || a.Ended == model.Failed:
			count(want, semconv.SpanQueued, time.Duration(a.Leased-a.Waited))
			count(want, semconv.SpanWorker, time.Duration(a.Uploaded-a.Leased))
			count(want, semconv.SpanInputFetch, time.Duration(a.Fetched-a.Leased))
			count(want, semconv.SpanExecute, time.Duration(a.Ran-a.Fetched))
			count(want, semconv.SpanOutputUpload, time.Duration(a.Uploaded-a.Ran))
		case a.Ended == model.Stopped && a.Attempts > len(a.Lost):
			counts["stopped while it ran"]++
			count(want, "because "+semconv.EndedCancelled, 0)
			count(want, semconv.SpanQueued, time.Duration(a.Leased-a.Waited))
			count(want, semconv.SpanWorker, time.Duration(a.End-a.Leased))
		case a.Ended == model.Stopped:
			counts["stopped while it waited"]++
			count(want, semconv.SpanQueued, time.Duration(a.End-a.Waited))
		}
	}
	reasons := make(map[string]int)
	for _, s := range spans {
		name := s.Name
		if strings.HasPrefix(name, "//") {
			name = "client"
		}
		if !strings.Contains(name, "/") {
			count(got, name, time.Duration(s.EndTimeUnixNano-s.StartTimeUnixNano))
		}
		reasons[attribute(s, semconv.AttrQueueReason)]++
		if why := attribute(s, semconv.AttrRetryReason); why != "" {
			count(got, "because "+why, 0)
		}
		if m := attribute(s, semconv.AttrActionMnemonic); name == semconv.SpanAction && m != "compile" && m != "CppLink" && m != "tool" {
			t.Errorf("mnemonic %q", m)
		}
		if s.Name == semconv.SpanAction && attribute(s, semconv.AttrCacheResult) == semconv.CacheDeduplicated {
			link := s.Links[0]
			to := spans[string(link.TraceId)+string(link.SpanId)]
			if to == nil || to.Name != semconv.SpanAction || attribute(to, semconv.AttrActionDigest) != attribute(s, semconv.AttrActionDigest) {
				t.Errorf("%v of a merged action names %v", link, to)
			}
		}
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: got %v, want %v", name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("spans %s of %v, which nothing tells of", name, got[name])
		}
	}
	for _, what := range []string{"0", "2", "3", "5", "joined", "lost", "stopped while it ran", "stopped while it waited"} {
		if counts[what] == 0 {
			t.Errorf("nothing is %s: the scenario shows nothing (%v)", what, counts)
		}
	}
	if reasons[semconv.ReasonBusy] == 0 || reasons[semconv.ReasonFairShare] == 0 {
		t.Errorf("reasons of waits: %v", reasons)
	}
}

// TestTracesAreBounded: as many builds as are asked for leave spans, spread over the run,
// and only those that ask to be traced.
func TestTracesAreBounded(t *testing.T) {
	for _, test := range []struct {
		sample       string
		traces, want int
	}{{"100%", 40, 40}, {"100%", 1, 1}, {"10%", 40, 40}, {"100%", -1, 0}, {"0%", 40, 0}, {"100%", 0, observe.DefaultTraces}} {
		text := strings.Replace(strings.Replace(long, "20000s", "4000s", 1), "cluster:", "client: {trace_sample: "+test.sample+"}\ncluster:", 1)
		r := run(t, text, test.traces)
		spans, report := spansOf(t, &r.otlp)
		if err := report.Err(); err != nil {
			t.Fatal(err)
		}
		kept, of, n := r.spans.Kept()
		if kept > test.want || float64(kept) < 0.75*float64(test.want) || of != len(r.log.builds) || report.Traces != kept || int(n) != len(spans) {
			t.Errorf("%+v: kept %d of %d builds, %d traces, %d spans", test, kept, of, report.Traces, n)
		}
		// A quarter of them is of each quarter of the run.
		var quarters [4]int
		for _, s := range spans {
			if s.Name == semconv.SpanInvocation {
				at := time.Unix(0, int64(s.StartTimeUnixNano)).Sub(base)
				quarters[min(3, int(4*at/(4000*time.Second)))]++
			}
		}
		for i, n := range quarters {
			if kept >= 40 && (n < kept/8 || n > kept/2) {
				t.Errorf("%+v: %d of %d traces are of quarter %d", test, n, kept, i)
			}
		}
	}
}

// TestLargeBuildsLeaveFewerTraces: the file is bounded too.
func TestLargeBuildsLeaveFewerTraces(t *testing.T) {
	const most = 20_000
	s := parse(t, `
version: 1
duration: 100s
demand:
  arrivals: {constant: {rate: 1}}
  jobs: 500
  dag: [{class: a, actions: 200}]
  actions: [{name: a, duration: 10ms}]
cluster: {workers: [{count: 1, slots: 100}]}
`)
	spans := observe.NewSpans(io.Discard, observe.SpanConfig{Scenario: s, Base: base, Run: "r", Spans: most})
	if _, err := model.Run(model.Config{Scenario: s, Observers: []model.Observer{spans}}); err != nil {
		t.Fatal(err)
	}
	if kept, of, n := spans.Kept(); of != 100 || kept < 8 || n > most || n < most/2 {
		t.Errorf("kept %d of %d builds, %d spans", kept, of, n)
	}
}

// TestSpansTellOfAFullDisk: by Close, after which nothing else is known.
func TestSpansTellOfAFullDisk(t *testing.T) {
	s := parse(t, eventful)
	spans := observe.NewSpans(full{}, observe.SpanConfig{Scenario: s, Base: base, Run: "r"})
	if _, err := model.Run(model.Config{Scenario: s, Observers: []model.Observer{spans}}); err != nil {
		t.Fatal(err)
	}
	if err := spans.Close(); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	timeline := observe.NewTimeline(full{}, s)
	if err := timeline.Close(time.Second); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	if err := observe.NewMetrics(s, base).Write(full{}); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

type full struct{}

var errFull = errors.New("the disk is full")

func (full) Write([]byte) (int, error) { return 0, errFull }
