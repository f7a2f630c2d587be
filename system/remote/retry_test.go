package remote_test

import (
	"context"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/remote"
)

// troubled answers the first calls with a status.
type troubled struct {
	repb.UnimplementedCapabilitiesServer
	code  codes.Code
	times int
	calls int
}

func (s *troubled) GetCapabilities(context.Context, *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	if s.calls++; s.calls <= s.times {
		return nil, status.Error(s.code, "not now")
	}
	return new(repb.ServerCapabilities), nil
}

func TestRetriesAreOfTheStatusesAskedFor(t *testing.T) {
	for _, test := range []struct {
		code codes.Code
		on   []string
		want int // calls
	}{
		{codes.Unavailable, nil, 3},
		{codes.Internal, nil, 1},
		{codes.Internal, []string{"ABORTED", "INTERNAL"}, 3},
		{codes.Unavailable, []string{"INTERNAL"}, 3},
	} {
		server := &troubled{code: test.code, times: 2}
		address := serve(t, func(s *grpc.Server) { repb.RegisterCapabilitiesServer(s, server) })
		client, err := remote.Dial(remote.Config{URL: "grpc://" + address, RetryDelay: time.Millisecond, RetryOn: test.on})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Capabilities(t.Context())
		client.Close()
		if server.calls != test.want || (err == nil) != (test.want > 2) {
			t.Errorf("%v, retried on %q: %d calls, error %v, want %d calls", test.code, test.on, server.calls, err, test.want)
		}
	}
}
