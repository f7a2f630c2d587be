package proxy_test

import (
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proxy"
)

// BenchmarkProxyFindMissing is what a call costs with and without a proxy in
// between; their difference is the proxy.
func BenchmarkProxyFindMissing(b *testing.B) {
	addr := startCAS(b, listen(b))
	c := config(&backend{addr: addr}, proxy.NoAuth, proxy.JWT)
	c.JWKSetPath = writeFile(b, "jwks.json", jwks(b))
	p := startProxy(b, c)
	direct := dial(b, addr)
	defer direct.Close()

	request := &repb.FindMissingBlobsRequest{InstanceName: "acme"}
	for i := range 10 {
		request.BlobDigests = append(request.BlobDigests, digest.Of([]byte{byte(i)}).Proto())
	}
	ctx := bearing(b, newToken("acme", "cache_ro").signed(b))
	for _, path := range []struct {
		name string
		conn *grpc.ClientConn
	}{{"direct", direct}, {"no_auth", p.conns[0]}, {"jwt", p.conns[1]}} {
		b.Run("path="+path.name, func(b *testing.B) {
			client := repb.NewContentAddressableStorageClient(path.conn)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.FindMissingBlobs(ctx, request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
