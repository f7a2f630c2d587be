package telemetry_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/tracecontext"
)

func incoming(ctx context.Context) metadata.MD {
	md, _ := metadata.FromIncomingContext(ctx)
	return md
}

// A build's call goes through the proxy to storage: three spans in a row, one
// trace, and the client's RequestMetadata as it was sent.
func TestCallThroughProxyIsOneTrace(t *testing.T) {
	proxy, storage := newRole(t, "proxy-server"), newRole(t, "storage-server")
	// An unknown field, and one that a decoder would reorder: raw means raw.
	raw := header(t, &repb.RequestMetadata{ToolInvocationId: invocationID, ActionId: "a1"}) + "\xfa\x07\x01x"
	var received metadata.MD
	var derivedAtProxy, derivedAtStorage bool
	back := serve(t, storage, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
			received, derivedAtStorage = incoming(ctx), telemetry.Derived(ctx)
			return nil
		}})
	})
	upstream := dial(t, back, proxy)
	front := serve(t, proxy, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
			derivedAtProxy = telemetry.Derived(ctx)
			return find(ctx, upstream)
		}})
	})
	if err := find(outgoing(t, longHeader, raw), dial(t, front, nil)); err != nil {
		t.Fatal(err)
	}
	front.stop()
	back.stop()

	var server, client *tracepb.Span
	for _, s := range proxy.spans(t)[findMethod] {
		if s.Kind == tracepb.Span_SPAN_KIND_CLIENT {
			client = s
		} else {
			server = s
		}
	}
	atStorage := storage.span(t, findMethod)
	root := tracecontext.OfInvocation(invocationID)
	for _, link := range []struct {
		name      string
		got, want []byte
	}{
		{"the proxy's server span hangs below the invocation", server.GetParentSpanId(), root.Span[:]},
		{"its client span below that", client.GetParentSpanId(), server.GetSpanId()},
		{"the storage's span below that", atStorage.ParentSpanId, client.GetSpanId()},
		{"one trace", atStorage.TraceId, root.Trace[:]},
	} {
		if !bytes.Equal(link.got, link.want) {
			t.Errorf("%s: got %x, want %x", link.name, link.got, link.want)
		}
	}
	if got := received.Get(longHeader); len(got) != 1 || got[0] != raw {
		t.Errorf("storage received RequestMetadata %q, want %q", got, raw)
	}
	if attributes(client)["rbe.action.id"] != "a1" {
		t.Errorf("the client span has %v", attributes(client))
	}
	if !derivedAtProxy || derivedAtStorage {
		t.Errorf("derived at the proxy: %v, at storage: %v; want it at the proxy alone", derivedAtProxy, derivedAtStorage)
	}
}

// A proxy that hands its client's metadata on by itself must not name its
// client's span as the parent of its upstream's.
func TestPassedThroughMetadataKeepsAllButTheTraceparent(t *testing.T) {
	caller := newRole(t, "proxy-server")
	var received metadata.MD
	s := serve(t, nil, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
			received = incoming(ctx)
			return nil
		}})
	})
	raw := header(t, &repb.RequestMetadata{ActionId: "passed through"})
	ctx := outgoing(t, "traceparent", traceparent, shortHeader, raw, "x-other", "1")
	ctx = telemetry.WithRequestMetadata(ctx, &repb.RequestMetadata{ActionId: "not this one"})
	if err := find(ctx, dial(t, s, caller)); err != nil {
		t.Fatal(err)
	}
	span := caller.span(t, findMethod)
	got := received.Get("traceparent")
	if len(got) != 1 {
		t.Fatalf("got traceparents %q, want one", got)
	}
	if want := "00-" + hex.EncodeToString(span.TraceId) + "-" + hex.EncodeToString(span.SpanId) + "-01"; got[0] != want {
		t.Errorf("got traceparent %s, want %s", got[0], want)
	}
	if got := received.Get(shortHeader); len(got) != 1 || got[0] != raw {
		t.Errorf("got RequestMetadata %q, want %q", got, raw)
	}
	if got := received.Get(longHeader); len(got) != 0 {
		t.Errorf("RequestMetadata was added: %q", got)
	}
	if got := received.Get("x-other"); len(got) != 1 {
		t.Errorf("got x-other %q", got)
	}
}

func TestCallWithRequestMetadataOfItsOwn(t *testing.T) {
	caller := newRole(t, "worker")
	var received metadata.MD
	s := serve(t, nil, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
			received = incoming(ctx)
			return nil
		}})
	})
	parent, err := tracecontext.Parse(traceparent)
	if err != nil {
		t.Fatal(err)
	}
	rm := &repb.RequestMetadata{ActionId: "a1"}
	ctx := telemetry.WithParent(telemetry.WithRequestMetadata(t.Context(), rm), parent)
	if err := find(ctx, dial(t, s, caller)); err != nil {
		t.Fatal(err)
	}
	if got := received.Get(longHeader); len(got) != 1 || got[0] != header(t, rm) {
		t.Errorf("got RequestMetadata %q, want %q", got, header(t, rm))
	}
	span := caller.span(t, findMethod)
	if got, want := hex.EncodeToString(span.ParentSpanId), parent.Span.String(); got != want {
		t.Errorf("got parent %s, want %s", got, want)
	}
}

func TestKeptHeaderIsPassedOnAsItCame(t *testing.T) {
	caller := newRole(t, "execution-server")
	var received metadata.MD
	s := serve(t, nil, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
			received = incoming(ctx)
			return nil
		}})
	})
	conn := dial(t, s, caller)
	for _, test := range []struct {
		name, header, actionID string
	}{
		{"with a field of a later version", header(t, &repb.RequestMetadata{ActionId: "a1"}) + "\xfa\x07\x01x", "a1"},
		{"not a message", "\xff", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := telemetry.WithRequestHeader(t.Context(), test.header)
			if got := telemetry.RequestMetadata(ctx).GetActionId(); got != test.actionID {
				t.Errorf("got action id %q, want %q", got, test.actionID)
			}
			if err := find(ctx, conn); err != nil {
				t.Fatal(err)
			}
			if got := received.Get(longHeader); len(got) != 1 || got[0] != test.header {
				t.Errorf("got RequestMetadata %q, want %q", got, test.header)
			}
		})
	}
}

func TestUnsampledCallPassesItsContextOn(t *testing.T) {
	caller := newRole(t, "worker")
	var received metadata.MD
	s := serve(t, nil, func(s grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(s, &backend{find: func(ctx context.Context) error {
			received = incoming(ctx)
			return nil
		}})
	})
	parent, err := tracecontext.Parse(unsampled)
	if err != nil {
		t.Fatal(err)
	}
	if err := find(telemetry.WithParent(t.Context(), parent), dial(t, s, caller)); err != nil {
		t.Fatal(err)
	}
	got, err := tracecontext.Parse(received.Get("traceparent")[0])
	if err != nil || got.Trace != parent.Trace || got.Sampled {
		t.Errorf("got %v and %v, want the parent's trace, not sampled", got, err)
	}
	if all := caller.spans(t); len(all) != 0 {
		t.Errorf("got spans %v, want none", all)
	}
}
