package proxy

import (
	"context"
	"net/url"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/weir-build/weir/system/proto/bots"
)

// Metadata that goes on to backends. Nothing else does: not authorization, which
// is for the proxy alone; not traceparent, which the stats handler writes anew
// for the proxy's own span; not the headers of identity and tenant, which only the
// proxy may set.
const (
	requestMetadataHeader = "build.bazel.remote.execution.v2.requestmetadata-bin"
	// Some clients leave the package out.
	requestMetadataShort = "requestmetadata-bin"
	traceStateHeader     = "tracestate"
)

func forwarded(key string) bool {
	switch key {
	case requestMetadataHeader, requestMetadataShort, traceStateHeader:
		return true
	}
	return strings.HasPrefix(key, bots.PartialPrefix) && strings.HasSuffix(key, bots.PartialSuffix)
}

// outgoing returns the context of the call to the backend: the incoming one,
// whose deadline and cancellation it keeps, with the metadata that goes on and
// the caller's identity.
func outgoing(ctx context.Context, id *identity) context.Context {
	out := metadata.MD{identityHeader: {id.String()}}
	if id.customer != "" {
		out[tenantHeader] = []string{url.PathEscape(id.customer)}
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for key, values := range md {
		if forwarded(key) {
			out[key] = values
		}
	}
	return metadata.NewOutgoingContext(ctx, out)
}
