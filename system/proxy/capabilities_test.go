package proxy_test

import (
	"context"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/bazelbuild/remote-apis/build/bazel/semver"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/system/proxy"
)

// capable answers with its capabilities, or fails.
type capable struct {
	repb.UnimplementedCapabilitiesServer
	answer *repb.ServerCapabilities
	err    error
}

func (c *capable) GetCapabilities(context.Context, *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	return c.answer, c.err
}

func (c *capable) start(t *testing.T) *backend {
	return startBackend(t, nil, func(r *grpc.Server) { repb.RegisterCapabilitiesServer(r, c) })
}

func version(major, minor int32) *semver.SemVer { return &semver.SemVer{Major: major, Minor: minor} }

func cacheCapabilities() *repb.CacheCapabilities {
	return &repb.CacheCapabilities{
		DigestFunctions:               []repb.DigestFunction_Value{repb.DigestFunction_SHA256, repb.DigestFunction_BLAKE3, repb.DigestFunction_SHA256TREE},
		ActionCacheUpdateCapabilities: &repb.ActionCacheUpdateCapabilities{UpdateEnabled: true},
		MaxBatchTotalSizeBytes:        4 << 20,
		SupportedCompressors:          []repb.Compressor_Value{repb.Compressor_ZSTD},
	}
}

func TestCapabilities(t *testing.T) {
	cas := &capable{answer: &repb.ServerCapabilities{
		CacheCapabilities: cacheCapabilities(), DeprecatedApiVersion: version(2, 0), LowApiVersion: version(2, 0), HighApiVersion: version(2, 11),
	}}
	execution := &capable{answer: &repb.ServerCapabilities{
		ExecutionCapabilities: &repb.ExecutionCapabilities{DigestFunction: repb.DigestFunction_SHA256, ExecEnabled: true},
		DeprecatedApiVersion:  version(2, 0), LowApiVersion: version(2, 0), HighApiVersion: version(2, 3),
	}}
	casBackend, executionBackend := cas.start(t), execution.start(t)
	c := config(casBackend, proxy.JWT, proxy.AuthToken, proxy.JWT)
	c.Listeners[1].Services = []string{allServices[0], allServices[2], allServices[4], "google.longrunning.Bots"}
	c.Listeners[2].Services = allServices[:1]
	c.Backends["execution"] = proxy.Backend{Address: executionBackend.addr}
	c.Default.Execution = "execution"
	c.PerInstance = map[string]proxy.Set{"cache-only": {CAS: "all", ActionCache: "all"}}
	c.JWKSetPath = writeFile(t, "jwks.json", jwks(t))
	c.Tokens = &proxy.TokenFile{Path: writeFile(t, "tokens.json", []byte(tokenMap))}
	p := startProxy(t, c)

	cache := &repb.CacheCapabilities{
		DigestFunctions:               []repb.DigestFunction_Value{repb.DigestFunction_SHA256, repb.DigestFunction_BLAKE3},
		ActionCacheUpdateCapabilities: &repb.ActionCacheUpdateCapabilities{UpdateEnabled: true},
		MaxBatchTotalSizeBytes:        4 << 20,
	}
	readOnly := proto.Clone(cache).(*repb.CacheCapabilities)
	readOnly.ActionCacheUpdateCapabilities.UpdateEnabled = false
	low := version(2, 0)
	for _, test := range []struct {
		name     string
		listener int
		token    string
		instance string
		want     *repb.ServerCapabilities
	}{
		{"exec", 0, newToken("acme", "exec").signed(t), "acme", &repb.ServerCapabilities{CacheCapabilities: cache,
			ExecutionCapabilities: execution.answer.ExecutionCapabilities, DeprecatedApiVersion: low, LowApiVersion: low, HighApiVersion: version(2, 3)}},
		{"cache_rw", 0, newToken("acme", "cache_rw").signed(t), "acme", &repb.ServerCapabilities{CacheCapabilities: cache,
			DeprecatedApiVersion: low, LowApiVersion: low, HighApiVersion: version(2, 11)}},
		{"cache_ro", 0, newToken("acme", "cache_ro").signed(t), "acme", &repb.ServerCapabilities{CacheCapabilities: readOnly,
			DeprecatedApiVersion: low, LowApiVersion: low, HighApiVersion: version(2, 11)}},
		{"instance without execution", 0, newToken("cache-only", "exec").signed(t), "cache-only", &repb.ServerCapabilities{CacheCapabilities: cache,
			DeprecatedApiVersion: low, LowApiVersion: low, HighApiVersion: version(2, 11)}},
		{"worker", 1, activeToken, "acme", &repb.ServerCapabilities{CacheCapabilities: readOnly,
			DeprecatedApiVersion: low, LowApiVersion: low, HighApiVersion: version(2, 11)}},
	} {
		got, err := repb.NewCapabilitiesClient(p.conns[test.listener]).GetCapabilities(bearing(t, test.token), &repb.GetCapabilitiesRequest{InstanceName: test.instance})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if diff := cmp.Diff(test.want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s: capabilities (-want +got):\n%s", test.name, diff)
		}
	}
	_, err := repb.NewCapabilitiesClient(p.conns[2]).GetCapabilities(bearing(t, newToken("acme", "exec").signed(t)), &repb.GetCapabilitiesRequest{InstanceName: "acme"})
	if got := status.Code(err); got != codes.Unimplemented {
		t.Errorf("listener without Capabilities: got %v, want Unimplemented", got)
	}
}

func TestVersionsOfCapabilities(t *testing.T) {
	for _, test := range []struct {
		name                 string
		cas, execution, want *repb.ServerCapabilities
		code                 codes.Code
	}{
		{"none", &repb.ServerCapabilities{}, &repb.ServerCapabilities{},
			&repb.ServerCapabilities{LowApiVersion: version(2, 0), HighApiVersion: version(2, 0)}, codes.OK},
		{"overlap",
			&repb.ServerCapabilities{LowApiVersion: version(2, 0), HighApiVersion: version(2, 4)},
			&repb.ServerCapabilities{LowApiVersion: version(2, 3), HighApiVersion: version(2, 11), DeprecatedApiVersion: version(2, 0)},
			&repb.ServerCapabilities{LowApiVersion: version(2, 3), HighApiVersion: version(2, 4)}, codes.OK},
		{"deprecated",
			&repb.ServerCapabilities{LowApiVersion: version(2, 2), HighApiVersion: version(2, 4), DeprecatedApiVersion: version(2, 1)},
			&repb.ServerCapabilities{LowApiVersion: version(2, 3), HighApiVersion: version(2, 3), DeprecatedApiVersion: version(2, 0)},
			&repb.ServerCapabilities{LowApiVersion: version(2, 3), HighApiVersion: version(2, 3), DeprecatedApiVersion: version(2, 1)}, codes.OK},
		{"apart",
			&repb.ServerCapabilities{LowApiVersion: version(2, 0), HighApiVersion: version(2, 1)},
			&repb.ServerCapabilities{LowApiVersion: version(2, 3), HighApiVersion: version(2, 11)}, nil, codes.FailedPrecondition},
	} {
		c := config((&capable{answer: test.cas}).start(t), proxy.NoAuth)
		c.Backends["execution"] = proxy.Backend{Address: (&capable{answer: test.execution}).start(t).addr}
		c.Default.Execution = "execution"
		p := startProxy(t, c)
		got, err := repb.NewCapabilitiesClient(p.conns[0]).GetCapabilities(t.Context(), &repb.GetCapabilitiesRequest{})
		if status.Code(err) != test.code {
			t.Errorf("%s: got %v, want %v", test.name, err, test.code)
		}
		if diff := cmp.Diff(test.want, got, protocmp.Transform()); test.code == codes.OK && diff != "" {
			t.Errorf("%s: capabilities (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestCapabilitiesOfOneServerForAll(t *testing.T) {
	b := (&capable{answer: &repb.ServerCapabilities{CacheCapabilities: cacheCapabilities(), ExecutionCapabilities: &repb.ExecutionCapabilities{ExecEnabled: true}}}).start(t)
	c := config(b, proxy.JWT)
	c.JWKSetPath = writeFile(t, "jwks.json", jwks(t))
	p := startProxy(t, c)
	for scope, want := range map[string]bool{"exec": true, "cache_rw": false} {
		got, err := repb.NewCapabilitiesClient(p.conns[0]).GetCapabilities(bearing(t, newToken("acme", scope).signed(t)), &repb.GetCapabilitiesRequest{InstanceName: "acme"})
		if err != nil {
			t.Fatal(err)
		}
		if got.GetExecutionCapabilities().GetExecEnabled() != want {
			t.Errorf("with scope %s: got execution capabilities %v, want them: %v", scope, got.ExecutionCapabilities, want)
		}
	}
	if n := len(b.seen()); n != 2 {
		t.Errorf("the backend was asked %d times, want 2", n)
	}
}

func TestCapabilitiesWithoutExecutionServer(t *testing.T) {
	c := config((&capable{answer: &repb.ServerCapabilities{}}).start(t), proxy.NoAuth)
	c.Backends["execution"] = proxy.Backend{Address: (&capable{err: status.Error(codes.Internal, "broken")}).start(t).addr}
	c.Default.Execution = "execution"
	p := startProxy(t, c)
	_, err := repb.NewCapabilitiesClient(p.conns[0]).GetCapabilities(t.Context(), &repb.GetCapabilitiesRequest{})
	if s := status.Convert(err); s.Code() != codes.Internal || s.Message() != "broken" {
		t.Errorf("got %v, want Internal: broken", err)
	}
}
