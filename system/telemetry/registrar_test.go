package telemetry_test

import (
	"context"
	"io"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/telemetry"
)

// Who reads spans and metrics can't tell which way a server is observed.
func TestObservedIsLikeTheHandler(t *testing.T) {
	byRegistrar = true
	defer func() { byRegistrar = false }()
	for name, test := range map[string]func(*testing.T){
		"parents":        TestServerSpanFindsItsParent,
		"metadata":       TestServerSpanCarriesRequestMetadata,
		"unsampled":      TestUnsampledCallIsMeasuredButNotTraced,
		"who failed":     TestSpanStatusSaysWhoFailed,
		"untraced":       TestProbesLongPollsAndLooksAreMeasuredButNotTraced,
		"unknown":        TestUnknownMethodsShareOneSeriesAndName,
		"open streams":   TestOpenStreamIsActiveUntilItEnds,
		"exemplars":      TestSampledCallIsTheExemplar,
		"errors of ours": TestErrorsThatAreNoStatusHaveTheCodeThatIsSent,
	} {
		t.Run(name, test)
	}
}

func TestErrorsThatAreNoStatusHaveTheCodeThatIsSent(t *testing.T) {
	for want, err := range map[codes.Code]error{codes.Canceled: context.Canceled, codes.DeadlineExceeded: context.DeadlineExceeded, codes.Unknown: io.ErrUnexpectedEOF} {
		t.Run(want.String(), func(t *testing.T) {
			r := newRole(t, "storage-server")
			s := serve(t, r, func(s grpc.ServiceRegistrar) {
				repb.RegisterContentAddressableStorageServer(s, &backend{find: func(context.Context) error { return err }})
			})
			if got := status.Code(find(t.Context(), dial(t, s, nil))); got != want {
				t.Fatalf("the client got %v, want %v", got, want)
			}
			s.stop()
			if m := r.metric(t, "rpc_server_call_duration_seconds", "rpc_method", findMethod, "rpc_response_status_code", telemetry.CodeName(want)); m.GetHistogram().GetSampleCount() != 1 {
				t.Errorf("got %v, want one call with %v", m, want)
			}
		})
	}
}
