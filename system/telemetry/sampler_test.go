package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/telemetry"
	tracebuild "github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// process is a process under test: roles that share a sampler.
type process struct {
	t       testing.TB
	sampler *telemetry.Sampler
	roles   []*role
}

func newProcess(t testing.TB, s telemetry.Sampling) *process {
	t.Helper()
	sampler, err := telemetry.NewSampler(s)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, sampler: sampler}
	t.Cleanup(p.close)
	return p
}

func (p *process) role(name string) *role {
	p.t.Helper()
	r := new(role)
	var err error
	r.Telemetry, err = telemetry.New(p.t.Context(), telemetry.Config{
		Role: name, Spans: otlpfile.NewWriter(&r.spanFile), LogWriter: &r.log, LogLevel: slog.LevelDebug, Sampler: p.sampler,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { r.Shutdown(context.Background()) })
	p.roles = append(p.roles, r)
	return r
}

// close lets go of what is undecided. Spans of the roles are complete after it.
func (p *process) close() {
	if err := p.sampler.Close(context.Background()); err != nil {
		p.t.Error(err)
	}
}

// call serves a call at a role, as gRPC tells its handler. Within may be nil.
func (p *process) call(r *role, headers []string, within func(ctx context.Context)) {
	h := r.ServerHandler()
	ctx := metadata.NewIncomingContext(p.t.Context(), metadata.Pairs(headers...))
	ctx = h.TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: "/" + findMethod})
	h.HandleRPC(ctx, &stats.Begin{})
	if within != nil {
		within(ctx)
	}
	h.HandleRPC(ctx, &stats.End{EndTime: time.Now()})
}

// of are the headers of a call of an invocation.
func of(t testing.TB, invocation string) []string {
	return []string{longHeader, header(t, &repb.RequestMetadata{ToolInvocationId: invocation, ActionId: "a1"})}
}

// holder holds trees of a role: of so many spans of one name.
type holder struct{ *telemetry.Holder }

func newHolder(r *role) holder {
	return holder{r.NewHolder(func(p telemetry.Packed) []tracebuild.Span {
		below, name := p.Context(), p.Text()
		list := make([]tracebuild.Span, p.Number())
		for i := range list {
			list[i] = tracebuild.Span{
				Name: name, ID: below.Child(name, uint64(i)), Parent: below.Span, Start: time.Unix(1, 0), End: time.Unix(2, 0),
			}
		}
		return list
	})}
}

// hold holds a tree below a call, padded to so many bytes.
func (h holder) hold(ctx context.Context, name, reason string, spans, padding int) {
	below := telemetry.TraceContext(ctx)
	h.Hold(below.Trace, reason, spans, func(p telemetry.Packed) telemetry.Packed {
		p = telemetry.AppendText(telemetry.AppendContext(p, below), name)
		p = telemetry.AppendNumber(p, int64(spans))
		return append(p, make([]byte, padding)...)
	})
}

// keep keeps the build of a call.
func (h holder) keep(ctx context.Context) { h.hold(ctx, "", semconv.KeptFailed, 0, 0) }

func (r *role) sampledOut(t testing.TB) float64 {
	return r.metric(t, "weir_spans_sampled_out_total").GetCounter().GetValue()
}

func TestGoodBuildIsLetGoAndCounted(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	r := p.role("execution-server")
	h := newHolder(r)
	for range 3 {
		p.call(r, of(t, invocationID), func(ctx context.Context) { h.hold(ctx, "action", "", 7, 0) })
	}
	p.close()
	if got := r.sampledOut(t); got != 3*(7+1) {
		t.Errorf("%v spans are counted, want %d", got, 3*(7+1))
	}
	if all := r.spans(t); len(all) != 0 {
		t.Errorf("got spans %v, want none", all)
	}
	if got := r.SpanCounts(); got != (telemetry.SpanCounts{SampledOut: 24}) {
		t.Errorf("got %+v", got)
	}
}

// A reason keeps what came before it, what comes with it and what comes after, at
// every role of the process, and the root says why.
func TestKeptBuildIsWhole(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	proxy, execution := p.role("proxy-server"), p.role("execution-server")
	invocations := telemetry.NewInvocations(proxy.Telemetry)
	h := newHolder(execution)
	step := func(reason string) {
		end := invocations.Begin(&repb.RequestMetadata{ToolInvocationId: invocationID}, time.Now())
		p.call(proxy, of(t, invocationID), func(ctx context.Context) {
			headers := append(of(t, invocationID), "traceparent", telemetry.TraceContext(ctx).String())
			p.call(execution, headers, func(ctx context.Context) { h.hold(ctx, "action", reason, 2, 0) })
		})
		end(time.Now())
	}
	step("")
	step(semconv.KeptRetried)
	step(semconv.KeptFailed) // the first reason stands
	step("")
	p.call(execution, of(t, "8f0e52ab-1d2c-4b5f-9a7c-3d4e5f607182"), nil) // another build
	invocations.Flush(time.Now())
	p.close()
	root := proxy.spans(t)
	if len(root[findMethod]) != 4 || len(root[semconv.SpanInvocation]) != 1 {
		t.Fatalf("the proxy has spans %v, want four calls and a root", root)
	}
	if got := attributes(root[semconv.SpanInvocation][0])[semconv.AttrSampling]; got != semconv.KeptRetried {
		t.Errorf("the root was kept because of %q, want %s", got, semconv.KeptRetried)
	}
	calls := execution.spans(t)
	if len(calls[findMethod]) != 4 || len(calls["action"]) != 8 {
		t.Errorf("the execution-server has %d calls and %d other spans, want 4 and 8", len(calls[findMethod]), len(calls["action"]))
	}
	parents := make(map[string]bool)
	for _, s := range root[findMethod] {
		parents[string(s.SpanId)] = true
		if got := attributes(s)[semconv.AttrActionID]; got != "a1" {
			t.Errorf("a call's action is %q, want a1", got)
		}
	}
	for _, s := range calls[findMethod] {
		if !parents[string(s.ParentSpanId)] {
			t.Errorf("%s has parent %x, which is no call of the proxy", s.Name, s.ParentSpanId)
		}
	}
	if got := execution.sampledOut(t); got != 1 {
		t.Errorf("%v spans are counted as sampled out, want that of the other build", got)
	}
}

// Over a real connection between two processes: the reason goes up as a trailer.
func TestCallerLearnsOfKeptBuild(t *testing.T) {
	for _, reason := range []string{"", semconv.KeptFailed} {
		t.Run("reason="+reason, func(t *testing.T) {
			up, down := newProcess(t, telemetry.Sampling{}), newProcess(t, telemetry.Sampling{})
			proxy, execution := up.role("proxy-server"), down.role("execution-server")
			s := serve(t, execution, func(s grpc.ServiceRegistrar) {
				repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
					telemetry.Keep(ctx, reason)
					return status.Error(codes.Internal, "because")
				}})
			})
			conn := dial(t, s, proxy)
			up.call(proxy, of(t, invocationID), func(ctx context.Context) {
				if err := find(ctx, conn); status.Code(err) != codes.Internal {
					t.Errorf("got %v", err)
				}
			})
			s.stop()
			up.close()
			down.close()
			want := 0
			if reason != "" {
				want = 1
			}
			above, below := proxy.spans(t)[findMethod], execution.spans(t)[findMethod]
			if len(above) != 2*want || len(below) != want {
				t.Fatalf("the caller has %d spans, the server %d; want %d and %d", len(above), len(below), 2*want, want)
			}
			if want > 0 && !slices.ContainsFunc(above, func(s *tracepb.Span) bool { return string(s.SpanId) == string(below[0].ParentSpanId) }) {
				t.Errorf("the server's span has parent %x, which the caller lacks", below[0].ParentSpanId)
			}
			if want > 0 && below[0].Status.Message != "because" {
				t.Errorf("the server's span says %v", below[0].Status)
			}
		})
	}
}

// The third process of a cluster learns of it by the flag of later calls.
func TestSampledFlagKeepsWhatIsHeld(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	r := p.role("storage-server")
	parent := tracecontext.OfInvocation(invocationID)
	headers := func(sampled bool) []string {
		parent.Sampled = sampled
		return append(of(t, invocationID), "traceparent", parent.String())
	}
	p.call(r, headers(false), nil)
	p.call(r, headers(true), nil)
	p.call(r, headers(false), nil)
	p.close()
	if got := len(r.spans(t)[findMethod]); got != 3 {
		t.Errorf("got %d spans, want all 3", got)
	}
}

// Calls made in a kept build tell who serves them.
func TestCallsOfKeptBuildAreFlagged(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	r := p.role("proxy-server")
	flag := func(ctx context.Context) bool {
		ctx = r.ClientHandler().TagRPC(ctx, &stats.RPCTagInfo{FullMethodName: "/" + findMethod})
		r.ClientHandler().HandleRPC(ctx, &stats.End{Client: true, EndTime: time.Now()})
		md, _ := metadata.FromOutgoingContext(ctx)
		sent, err := tracecontext.Parse(md.Get("traceparent")[0])
		if err != nil {
			t.Fatal(err)
		}
		return sent.Sampled
	}
	p.call(r, of(t, invocationID), func(ctx context.Context) {
		if flag(ctx) {
			t.Error("the call says sampled before the build is kept")
		}
		newHolder(r).keep(ctx)
		if !flag(ctx) {
			t.Error("the call doesn't say sampled though the build is kept")
		}
	})
}

// A client that doesn't want its trace recorded isn't overruled by a failure, and
// what is below it hangs below its own span.
func TestRefusedTraceIsNeverKept(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	r := p.role("execution-server")
	p.call(r, append(of(t, invocationID), "traceparent", unsampled), func(ctx context.Context) {
		if got := telemetry.TraceContext(ctx).String(); got != unsampled {
			t.Errorf("the context is %s, want the client's %s", got, unsampled)
		}
		telemetry.Keep(ctx, semconv.KeptFailed)
		newHolder(r).hold(ctx, "action", semconv.KeptFailed, 1, 0)
	})
	p.close()
	if all := r.spans(t); len(all) != 0 || r.sampledOut(t) != 0 {
		t.Errorf("got spans %v and %v counted, want none", all, r.sampledOut(t))
	}
}

func TestSilentBuildIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, telemetry.Sampling{})
		r := p.role("execution-server")
		p.call(r, of(t, "silent"), nil)
		p.call(r, of(t, "long"), func(ctx context.Context) {
			// An action that takes an hour: its build is not silent meanwhile.
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := r.sampledOut(t); got != 1 {
				t.Errorf("%v spans are let go, want that of the silent build", got)
			}
			newHolder(r).hold(ctx, "action", semconv.KeptSlow, 1, 0)
		})
		time.Sleep(telemetry.HeldSilence + 2*time.Second)
		// It has been forgotten, kept as it was, and begins anew.
		p.call(r, of(t, "long"), nil)
		p.close()
		if got := r.sampledOut(t); got != 2 {
			t.Errorf("%v spans are let go, want 2", got)
		}
		if all := r.spans(t); len(all["action"]) != 1 || len(all[findMethod]) != 1 {
			t.Errorf("got spans %v, want the call of the long build and its action", all)
		}
	})
}

// A build beyond the limit loses its oldest spans, which are counted as lost if it
// is kept and as sampled out if it isn't.
func TestBuildBeyondItsLimitLosesTheOldest(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept=%v", kept), func(t *testing.T) {
			p := newProcess(t, telemetry.Sampling{})
			r := p.role("execution-server")
			h := newHolder(r)
			// Each has a chunk of its own, but those that go first.
			const pieces, each = 40, telemetry.MaxHeldOfBuild / 32
			p.call(r, of(t, invocationID), func(ctx context.Context) {
				for i := range pieces {
					h.hold(ctx, fmt.Sprintf("piece %02d", i), "", 3, each)
				}
				if kept {
					h.keep(ctx)
				}
			})
			p.close()
			dropped := r.metric(t, "weir_spans_dropped_total", "exporter", "file").GetCounter().GetValue()
			out := r.sampledOut(t)
			all := r.spans(t)
			if !kept {
				if len(all) != 0 || dropped != 0 || out != 3*pieces+1 {
					t.Errorf("got %v, %v dropped and %v sampled out, want none, none and all", all, dropped, out)
				}
				return
			}
			const left = 31 // with what each takes beside its padding
			for i := range pieces {
				if got, want := len(all[fmt.Sprintf("piece %02d", i)]) > 0, i >= pieces-left; got != want {
					t.Errorf("piece %d is there: %v, want %v", i, got, want)
				}
			}
			if len(all[findMethod]) != 1 || dropped != 3*(pieces-left) || out != 0 {
				t.Errorf("%d calls, %v dropped, %v sampled out, want 1, %d and none", len(all[findMethod]), dropped, out, 3*(pieces-left))
			}
		})
	}
}

// When the process holds too much, silent builds go before those under way, and
// of these the one with most gives up what it got first.
func TestSilentBuildsMakeRoom(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	r := p.role("execution-server")
	h := newHolder(r)
	const large = telemetry.MaxHeldOfBuild - telemetry.LastChunk
	var nested func(i int)
	nested = func(i int) {
		p.call(r, of(t, fmt.Sprint("active ", i)), func(ctx context.Context) {
			h.hold(ctx, "active", "", 1, large/2)
			h.hold(ctx, "active", "", 1, large/2-1000*i)
			switch i {
			case 2:
				if got := r.sampledOut(t); got != 0 {
					t.Errorf("%v spans are let go before there are too many", got)
				}
			case 3:
				// The silent one made room, and all that are left are active.
				if got := r.sampledOut(t); got != 2 {
					t.Errorf("%v spans are let go, want the silent build's 2", got)
				}
				p.call(r, of(t, "small"), func(ctx context.Context) {
					h.hold(ctx, "small", "", 1, 3*telemetry.LastChunk)
					h.hold(ctx, "small", "", 1, 3*telemetry.LastChunk)
					h.keep(ctx)
				})
			}
			if i < 3 {
				nested(i + 1)
			}
			h.keep(ctx)
		})
	}
	p.call(r, of(t, "silent"), func(ctx context.Context) { h.hold(ctx, "silent", "", 1, large) })
	nested(0)
	p.close()
	dropped := r.metric(t, "weir_spans_dropped_total", "exporter", "file").GetCounter().GetValue()
	all := r.spans(t)
	if len(all["silent"]) != 0 || len(all["active"]) != 7 || len(all["small"]) != 2 || len(all[findMethod]) != 5 || dropped != 1 {
		t.Errorf("%d spans of the silent build are left, %d of the active ones, %d of the small one, %d calls and %v are dropped; want 0, 7, 2, 5 and 1",
			len(all["silent"]), len(all["active"]), len(all["small"]), len(all[findMethod]), dropped)
	}
}

func TestTooManyBuildsAtOnce(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	r := p.role("proxy-server")
	for i := range telemetry.MaxUndecided + 5 {
		p.call(r, of(t, fmt.Sprint(i)), nil)
	}
	if got := r.sampledOut(t); got != 5 {
		t.Errorf("%v spans are let go, want those of the 5 builds that were silent longest", got)
	}
}

// A build of more spans than an exporter queues loses none when it is kept.
func TestLargeBuildIsKeptWhole(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	r := p.role("execution-server")
	const actions, each = 50_000, 10
	h := newHolder(r)
	p.call(r, of(t, invocationID), func(ctx context.Context) {
		for range actions {
			h.hold(ctx, "action", "", each, 0)
		}
		h.keep(ctx)
	})
	p.close()
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := r.SpanCounts(), (telemetry.SpanCounts{Exported: actions*each + 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Every span of a kept build is exported once, every other one counted once,
// whoever comes first.
func TestBuildsThatFailWhileOthersGoOn(t *testing.T) {
	p := newProcess(t, telemetry.Sampling{})
	r := p.role("execution-server")
	h := newHolder(r)
	const builds, callers, calls = 20, 4, 50
	var wait sync.WaitGroup
	for b := range builds {
		for c := range callers {
			wait.Go(func() {
				for i := range calls {
					p.call(r, of(t, fmt.Sprint("build ", b)), func(ctx context.Context) {
						reason := ""
						if b%2 == 0 && c == 0 && i == calls/2 {
							reason = semconv.KeptFailed
						}
						h.hold(ctx, "action", reason, 3, 0)
					})
				}
			})
		}
	}
	wait.Wait()
	p.close()
	out := r.sampledOut(t)
	all := r.spans(t)
	const half = builds / 2 * callers * calls
	if len(all[findMethod]) != half || len(all["action"]) != 3*half || out != 4*half {
		t.Errorf("%d calls and %d other spans are exported and %v sampled out, want %d, %d and %d",
			len(all[findMethod]), len(all["action"]), out, half, 3*half, 4*half)
	}
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	const flushed = 100_000 // spans after which the exporter is waited for
	gate := &gatedWriter{entered: make(chan struct{}), open: make(chan struct{})}
	p := newProcess(t, telemetry.Sampling{})
	tel, err := telemetry.New(t.Context(), telemetry.Config{Role: "x", Spans: otlpfile.NewWriter(gate), Sampler: p.sampler})
	if err != nil {
		t.Fatal(err)
	}
	r := &role{Telemetry: tel}
	p.call(r, of(t, invocationID), func(ctx context.Context) {
		newHolder(r).hold(ctx, "action", "", flushed, 0)
		newHolder(r).keep(ctx)
	})
	<-gate.entered // the exporter is stuck, and waited for
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.sampler.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
	close(gate.open)
	p.close()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}
