package telemetry_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/tracecontext"
)

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// at is a time, in seconds since epoch.
func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// interval is a span's interval in seconds since epoch.
func interval(s *tracepb.Span) [2]int {
	seconds := func(nanos uint64) int { return int(time.Unix(0, int64(nanos)).Sub(epoch) / time.Second) }
	return [2]int{seconds(s.StartTimeUnixNano), seconds(s.EndTimeUnixNano)}
}

func build(id string) *repb.RequestMetadata {
	return &repb.RequestMetadata{ToolInvocationId: id}
}

func TestInvocationIsFromItsFirstCallToItsLast(t *testing.T) {
	r := newRole(t, "proxy-server")
	v := telemetry.NewInvocations(r.Telemetry)
	rm := &repb.RequestMetadata{ToolInvocationId: invocationID, CorrelatedInvocationsId: "ci-7",
		ToolDetails: &repb.ToolDetails{ToolName: "bazel", ToolVersion: "9.1"}}
	endFirst := v.Begin(rm, at(0))
	endSecond := v.Begin(rm, at(1))
	endSecond(at(50))
	v.Expire(at(49 + 60)) // the first call is still active
	endFirst(at(40))      // ends are noted in any order
	v.Begin(rm, at(60))(at(61))
	v.Expire(at(61 + 29))
	if v.Len() != 1 {
		t.Fatalf("got %d invocations, want 1: it isn't silent for 30 s yet", v.Len())
	}
	v.Expire(at(61 + 30))
	if v.Len() != 0 {
		t.Fatalf("got %d invocations, want 0: it was silent for 30 s", v.Len())
	}
	span, root := r.span(t, "invocation"), tracecontext.OfInvocation(invocationID)
	if got := hex.EncodeToString(span.TraceId) + hex.EncodeToString(span.SpanId); got != root.Trace.String()+root.Span.String() || len(span.ParentSpanId) > 0 {
		t.Errorf("got span %s below %x, want %s%s below none", got, span.ParentSpanId, root.Trace, root.Span)
	}
	if got, want := interval(span), [2]int{0, 61}; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if diff := cmp.Diff(attributes(span), map[string]string{"rbe.invocation.id": invocationID,
		"rbe.correlated_invocations.id": "ci-7", "rbe.tool.name": "bazel", "rbe.tool.version": "9.1"}); diff != "" {
		t.Errorf("attributes (-got +want):\n%s", diff)
	}
}

func TestInvocationThatPausesHasTwoParts(t *testing.T) {
	r := newRole(t, "proxy-server")
	v := telemetry.NewInvocations(r.Telemetry)
	v.Begin(build("a"), at(0))(at(1))
	v.Expire(at(100))
	v.Begin(build("a"), at(200))(at(201))
	v.Flush(at(202))
	parts := r.spans(t)["invocation"]
	if len(parts) != 2 || string(parts[0].SpanId) != string(parts[1].SpanId) {
		t.Fatalf("got %v, want two parts with one id", parts)
	}
	if got, want := [][2]int{interval(parts[0]), interval(parts[1])}, [][2]int{{0, 1}, {200, 201}}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFlushEndsActiveInvocationsNow(t *testing.T) {
	r := newRole(t, "proxy-server")
	v := telemetry.NewInvocations(r.Telemetry)
	end := v.Begin(build("a"), at(0))
	v.Flush(at(5))
	end(at(6)) // of an invocation that is no longer tracked
	if v.Len() != 0 {
		t.Errorf("got %d invocations, want 0", v.Len())
	}
	if got, want := interval(r.span(t, "invocation")), [2]int{0, 5}; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The end of a call from before a flush must not end the invocation's next part.
func TestCallFromBeforeAFlushDoesNotEndTheNextPart(t *testing.T) {
	r := newRole(t, "proxy-server")
	v := telemetry.NewInvocations(r.Telemetry)
	old := v.Begin(build("a"), at(0))
	v.Flush(at(1))
	current := v.Begin(build("a"), at(2))
	old(at(3))
	v.Expire(at(100))
	if v.Len() != 1 {
		t.Fatalf("got %d invocations, want 1: a call is active", v.Len())
	}
	current(at(101))
	v.Expire(at(131))
	if v.Len() != 0 {
		t.Errorf("got %d invocations, want 0", v.Len())
	}
}

func TestCallWithoutInvocationIsNotTracked(t *testing.T) {
	r := newRole(t, "proxy-server")
	v := telemetry.NewInvocations(r.Telemetry)
	v.Begin(nil, at(0))(at(1))
	v.Begin(build(""), at(0))(at(1))
	v.Flush(at(2))
	if all := r.spans(t); len(all) > 0 {
		t.Errorf("got spans %v, want none", all)
	}
}

func TestTooManyInvocationsEndTheOldestSilentOne(t *testing.T) {
	const limit = 4096
	r := newRole(t, "proxy-server")
	v := telemetry.NewInvocations(r.Telemetry)
	endActive := v.Begin(build("active"), at(0))
	for i := 1; i < limit; i++ {
		v.Begin(build(fmt.Sprint("silent ", i)), at(i))(at(i))
	}
	v.Begin(build("silent 1"), at(limit))(at(limit)) // so that "silent 2" is the oldest
	v.Begin(build("one more"), at(limit))(at(limit))
	if v.Len() != limit {
		t.Errorf("got %d invocations, want %d", v.Len(), limit)
	}
	if m := r.metric(t, "weir_proxy_active_invocations"); m.GetGauge().GetValue() != limit {
		t.Errorf("got %v, want %d", m, limit)
	}
	if err := r.TracerProvider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := attributes(r.span(t, "invocation"))["rbe.invocation.id"]; got != "silent 2" {
		t.Errorf("%s was ended, want silent 2", got)
	}
	endActive(at(limit))
}

func TestTooManyActiveInvocationsTrackNoMore(t *testing.T) {
	const limit = 4096
	r := newRole(t, "proxy-server")
	v := telemetry.NewInvocations(r.Telemetry)
	for i := range limit {
		v.Begin(build(fmt.Sprint(i)), at(0))
	}
	v.Begin(build("one more"), at(1))(at(2))
	if v.Len() != limit {
		t.Errorf("got %d invocations, want %d", v.Len(), limit)
	}
	if all := r.spans(t); len(all) > 0 {
		t.Errorf("got spans %v, want none", all)
	}
}

func TestRunEndsSilentInvocationsAsTimePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRole(t, "proxy-server")
		v := telemetry.NewInvocations(r.Telemetry)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- v.Run(ctx) }()
		start := time.Now()
		end := v.Begin(build("a"), start)
		time.Sleep(time.Minute)
		if v.Len() != 1 {
			t.Errorf("got %d invocations, want 1: a call is active", v.Len())
		}
		end(time.Now())
		time.Sleep(telemetry.InvocationSilence + 2*time.Second)
		if v.Len() != 0 {
			t.Errorf("got %d invocations, want 0: it is silent", v.Len())
		}
		v.Begin(build("b"), time.Now())
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if v.Len() != 0 {
			t.Errorf("got %d invocations after Run, want 0", v.Len())
		}
		if got := len(r.spans(t)["invocation"]); got != 2 {
			t.Errorf("got %d spans, want 2", got)
		}
	})
}
