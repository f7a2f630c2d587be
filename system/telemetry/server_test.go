package telemetry_test

import (
	"context"
	"encoding/hex"
	"maps"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	invocationID = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
	traceparent  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampled    = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func TestServerSpanFindsItsParent(t *testing.T) {
	sent, err := tracecontext.Parse(traceparent)
	if err != nil {
		t.Fatal(err)
	}
	derived := tracecontext.OfInvocation(invocationID)
	rm := header(t, &repb.RequestMetadata{ToolInvocationId: invocationID})
	none := tracecontext.Context{}
	for _, c := range []struct {
		name    string
		headers []string
		want    tracecontext.Context
		derived bool
	}{
		{"traceparent", []string{"traceparent", traceparent}, sent, false},
		{"traceparent wins over the invocation", []string{"traceparent", traceparent, longHeader, rm}, sent, false},
		{"invocation", []string{longHeader, rm}, derived, true},
		{"invocation in the short header", []string{shortHeader, rm}, derived, true},
		{"malformed traceparent counts as none", []string{"traceparent", "00-xyz", longHeader, rm}, derived, true},
		{"two traceparents count as none", []string{"traceparent", traceparent, "traceparent", traceparent, longHeader, rm}, derived, true},
		{"nothing", nil, none, false},
		{"metadata without invocation", []string{longHeader, header(t, &repb.RequestMetadata{ActionId: "x"})}, none, false},
		{"metadata that can't be read", []string{longHeader, "\xff\xff"}, none, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRole(t, "storage-server")
			var inside tracecontext.Context
			var derived bool
			s := serve(t, r, func(s grpc.ServiceRegistrar) {
				repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
					inside, derived = telemetry.TraceContext(ctx), telemetry.Derived(ctx)
					return nil
				}})
			})
			if err := find(outgoing(t, c.headers...), dial(t, s, nil)); err != nil {
				t.Fatal(err)
			}
			s.stop()
			span := r.span(t, findMethod)
			if got, want := hex.EncodeToString(span.SpanId), inside.Span.String(); got != want {
				t.Errorf("TraceContext in the call is span %s, the exported span is %s", want, got)
			}
			if derived != c.derived {
				t.Errorf("Derived is %v, want %v", derived, c.derived)
			}
			if span.Kind != tracepb.Span_SPAN_KIND_SERVER {
				t.Errorf("got kind %v", span.Kind)
			}
			if c.want == none {
				if len(span.ParentSpanId) != 0 {
					t.Errorf("got parent %x, want none", span.ParentSpanId)
				}
				return
			}
			if got, want := hex.EncodeToString(span.TraceId)+hex.EncodeToString(span.ParentSpanId), c.want.Trace.String()+c.want.Span.String(); got != want {
				t.Errorf("got trace and parent %s, want %s", got, want)
			}
		})
	}
}

// What nobody reads is no trace to hang anything below, nor is it a decision to sample
// that the roles behind this one would take for the client's.
func TestRoleWithoutExporterMakesUpNoTrace(t *testing.T) {
	silent, err := telemetry.New(t.Context(), telemetry.Config{Role: "storage-server"})
	if err != nil {
		t.Fatal(err)
	}
	r := &role{Telemetry: silent}
	sent, err := tracecontext.Parse(traceparent)
	if err != nil {
		t.Fatal(err)
	}
	rm := header(t, &repb.RequestMetadata{ToolInvocationId: invocationID})
	for _, c := range []struct {
		name    string
		headers []string
		want    tracecontext.Context
	}{
		{"traceparent", []string{"traceparent", traceparent, longHeader, rm}, sent},
		{"invocation", []string{longHeader, rm}, tracecontext.Context{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got tracecontext.Context
			var passedOn string
			s := serve(t, r, func(s grpc.ServiceRegistrar) {
				repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
					got, passedOn = telemetry.TraceContext(ctx), telemetry.RequestHeader(ctx)
					return nil
				}})
			})
			if err := find(outgoing(t, c.headers...), dial(t, s, nil)); err != nil {
				t.Fatal(err)
			}
			s.stop()
			if got != c.want {
				t.Errorf("got trace context %v, want %v", got, c.want)
			}
			if passedOn != rm {
				t.Errorf("RequestMetadata is %q, want %q", passedOn, rm)
			}
		})
	}
}

func TestServerSpanCarriesRequestMetadata(t *testing.T) {
	want := &repb.RequestMetadata{ToolInvocationId: invocationID, ActionId: "a1", ActionMnemonic: "CppCompile", TargetId: "//x:y"}
	r := newRole(t, "storage-server")
	var got *repb.RequestMetadata
	s := serve(t, r, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
			got = telemetry.RequestMetadata(ctx)
			return nil
		}})
	})
	if err := find(outgoing(t, longHeader, header(t, want)), dial(t, s, nil)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if !proto.Equal(got, want) {
		t.Errorf("RequestMetadata is %v, want %v", got, want)
	}
	if diff := cmp.Diff(attributes(r.span(t, findMethod)), map[string]string{
		"rpc.system.name": "grpc", "rpc.method": findMethod, "rpc.response.status_code": "OK",
		"rbe.invocation.id": invocationID, "rbe.action.id": "a1", "rbe.action.mnemonic": "CppCompile", "rbe.target.id": "//x:y",
	}); diff != "" {
		t.Errorf("attributes (-got +want):\n%s", diff)
	}
}

func TestUnsampledCallIsMeasuredButNotTraced(t *testing.T) {
	r := newRole(t, "storage-server")
	var inside tracecontext.Context
	s := serve(t, r, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
			inside = telemetry.TraceContext(ctx)
			return nil
		}})
	})
	if err := find(outgoing(t, "traceparent", unsampled), dial(t, s, nil)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if got := inside.Trace.String(); got != "0af7651916cd43dd8448eb211c80319c" || inside.Sampled {
		t.Errorf("got trace %s sampled %v, want the client's, not sampled", got, inside.Sampled)
	}
	if m := r.metric(t, "rpc_server_call_duration_seconds", "rpc_method", findMethod, "rpc_response_status_code", "OK"); m.GetHistogram().GetSampleCount() != 1 {
		t.Errorf("got %v, want one call", m)
	}
	if all := r.spans(t); len(all) != 0 {
		t.Errorf("got spans %v, want none", all)
	}
}

func TestSpanStatusSaysWhoFailed(t *testing.T) {
	for code, serverFailed := range map[codes.Code]bool{
		codes.OK: false, codes.NotFound: false, codes.InvalidArgument: false, codes.Canceled: false, codes.ResourceExhausted: false,
		codes.Internal: true, codes.Unknown: true, codes.Unavailable: true, codes.DataLoss: true, codes.DeadlineExceeded: true, codes.Unimplemented: true,
	} {
		t.Run(code.String(), func(t *testing.T) {
			r, caller := newRole(t, "storage-server"), newRole(t, "proxy-server")
			s := serve(t, r, func(s grpc.ServiceRegistrar) {
				repb.RegisterContentAddressableStorageServer(s, &backend{find: func(context.Context) error { return status.Error(code, "because") }})
			})
			if err := find(t.Context(), dial(t, s, caller)); status.Code(err) != code {
				t.Fatal(err)
			}
			s.stop()
			got, client := r.span(t, findMethod), caller.span(t, findMethod)
			if failed := got.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR; failed != serverFailed {
				t.Errorf("server span failed: %v, want %v", failed, serverFailed)
			} else if failed && got.Status.Message != "because" {
				t.Errorf("server span says %q", got.Status.Message)
			}
			if failed, want := client.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR, code != codes.OK; failed != want {
				t.Errorf("client span failed: %v, want %v", failed, want)
			}
		})
	}
}

func TestProbesLongPollsAndLooksAreMeasuredButNotTraced(t *testing.T) {
	r, caller := newRole(t, "execution-server"), newRole(t, "worker")
	received := map[string][]string{}
	s := serve(t, r, func(s grpc.ServiceRegistrar) {
		bots.RegisterBotsServer(s, &pollServer{received: received})
		healthpb.RegisterHealthServer(s, health.NewServer())
		admin.RegisterAdminServer(s, admin.UnimplementedAdminServer{})
	})
	conn := dial(t, s, caller)
	ctx := telemetry.WithRequestMetadata(t.Context(), &repb.RequestMetadata{ToolInvocationId: invocationID})
	if _, err := admin.NewAdminClient(conn).GetState(ctx, &admin.GetStateRequest{}); status.Code(err) != codes.Unimplemented {
		t.Fatal(err)
	}
	if _, err := bots.NewBotsClient(conn).UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	s.stop()
	for _, method := range []string{"google.devtools.remoteworkers.v1test2.Bots/UpdateBotSession", "grpc.health.v1.Health/Check", "weir.admin.v1.Admin/GetState"} {
		for metric, side := range map[string]*role{"rpc_server_call_duration_seconds": r, "rpc_client_call_duration_seconds": caller} {
			if m := side.metric(t, metric, "rpc_method", method); m.GetHistogram().GetSampleCount() != 1 {
				t.Errorf("%s of %s: got %v, want one call", metric, method, m)
			}
		}
	}
	if len(received["traceparent"])+len(received[longHeader]) > 0 {
		t.Errorf("the poll carries %v", received)
	}
	if a, b := r.spans(t), caller.spans(t); len(a)+len(b) > 0 {
		t.Errorf("got spans %v and %v, want none", a, b)
	}
}

type pollServer struct {
	bots.UnimplementedBotsServer
	received map[string][]string
}

func (p *pollServer) UpdateBotSession(ctx context.Context, _ *bots.UpdateBotSessionRequest) (*bots.BotSession, error) {
	maps.Copy(p.received, incoming(ctx))
	return &bots.BotSession{}, nil
}

// Any client can invent method names; series and names of spans are for those the
// program knows.
func TestUnknownMethodsShareOneSeriesAndName(t *testing.T) {
	for _, method := range []string{
		"/no.such.Service/Call",
		"/build.bazel.remote.execution.v2.ContentAddressableStorage/NoSuchMethod",
		"/build.bazel.remote.execution.v2.Digest/NotAService",
		"/ not a name /x",
	} {
		t.Run(method, func(t *testing.T) {
			r := newRole(t, "storage-server")
			s := serve(t, r, func(s grpc.ServiceRegistrar) {
				repb.RegisterContentAddressableStorageServer(s, &backend{})
			})
			err := dial(t, s, nil).Invoke(t.Context(), method, &emptypb.Empty{}, &emptypb.Empty{})
			if status.Code(err) != codes.Unimplemented {
				t.Fatalf("got %v, want Unimplemented", err)
			}
			s.stop()
			if m := r.metric(t, "rpc_server_call_duration_seconds", "rpc_method", semconv.OtherMethod, "rpc_response_status_code", "UNIMPLEMENTED"); m.GetHistogram().GetSampleCount() != 1 {
				t.Errorf("got %v, want one call of an unknown method", m)
			}
			if m := r.metric(t, "rpc_server_call_duration_seconds", "rpc_method", method[1:]); m != nil {
				t.Errorf("the method has a series: %v", m)
			}
			got := attributes(r.span(t, semconv.OtherMethod))
			if got[semconv.AttrRPCStatusCode] != "UNIMPLEMENTED" || got[semconv.AttrRPCMethod] != semconv.OtherMethod || got[semconv.AttrRPCMethodOriginal] != method[1:] {
				t.Errorf("span says %v, want UNIMPLEMENTED and the method as it was called", got)
			}
		})
	}
}

func TestOpenStreamIsActiveUntilItEnds(t *testing.T) {
	r := newRole(t, "storage-server")
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, r, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &treeServer{entered: entered, leave: leave})
	})
	stream, err := repb.NewContentAddressableStorageClient(dial(t, s, nil)).GetTree(t.Context(), &repb.GetTreeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	active := func() float64 {
		return r.metric(t, semconv.RPCServerActive.Name, "rpc_method", treeMethod).GetGauge().GetValue()
	}
	if got := active(); got != 1 {
		t.Errorf("got %v active calls, want 1", got)
	}
	close(leave)
	if _, err := stream.Recv(); err == nil {
		t.Error("the stream goes on")
	}
	s.stop()
	if got := active(); got != 0 {
		t.Errorf("got %v active calls, want 0", got)
	}
	r.span(t, treeMethod)
}

type treeServer struct {
	repb.UnimplementedContentAddressableStorageServer
	entered, leave chan struct{}
}

func (s *treeServer) GetTree(*repb.GetTreeRequest, grpc.ServerStreamingServer[repb.GetTreeResponse]) error {
	close(s.entered)
	<-s.leave
	return nil
}

func TestSampledCallIsTheExemplar(t *testing.T) {
	r := newRole(t, "storage-server")
	s := serve(t, r, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(context.Context) error { return nil }})
	})
	if err := find(outgoing(t, "traceparent", traceparent), dial(t, s, nil)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	h := r.metric(t, "rpc_server_call_duration_seconds", "rpc_method", findMethod).GetHistogram()
	for _, b := range h.GetBucket() {
		for _, l := range b.GetExemplar().GetLabel() {
			if l.GetName() == "trace_id" && l.GetValue() == "0af7651916cd43dd8448eb211c80319c" {
				return
			}
		}
	}
	t.Errorf("no bucket has the exemplar: %v", h)
}
