package execution

import (
	"reflect"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// What is held of an operation is all that its outcome has: a field that is added
// must be packed, too.
func TestOutcomeComesBackWhole(t *testing.T) {
	at := func(ns int64) time.Time { return time.Unix(1_760_000_000, ns) }
	metadata := &repb.RequestMetadata{ToolInvocationId: "build", ActionId: "a1"}
	header, err := proto.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	call := tracecontext.OfInvocation("build")
	call.Sampled = false
	op := &operation{
		name: "operations/1", instance: &instance{name: "main"}, action: digest.Of([]byte("action")), kept: semconv.KeptFailed,
		client: client{call: call, action: call.Child(semconv.SpanAction, 0), metadata: metadata, header: string(header)},
		outcome: outcome{
			received: at(1), cacheCheck: build.Interval{Start: at(2), End: at(3)}, cache: semconv.CacheMiss,
			deduplicated: true, joined: at(4), link: tracecontext.OfInvocation("other"), doneAt: at(9), platform: "OSFamily=linux",
			executed: &repb.ExecuteResponse{Message: "cancelled"},
			work:     &repb.ActionResult{ExitCode: 3},
			usage:    []build.Attribute{build.Number(semconv.AttrMaxRSS, 7)},
			attempts: []build.Attempt{{
				Queued: at(5), Leased: at(6), Ended: at(7), Worker: "w", QueueReason: semconv.ReasonBusy, RetryReason: "worker_lost",
				Counts: true, Late: true,
			}},
		},
	}
	for _, v := range []reflect.Value{reflect.ValueOf(op.outcome), reflect.ValueOf(op.outcome.attempts[0])} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("the test leaves %s.%s unset", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
	got := unpack(op.pack(nil))
	if diff := cmp.Diff(op.outcome, got.outcome, cmp.AllowUnexported(outcome{}), protocmp.Transform()); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if got.name != op.name || got.instance.name != op.instance.name || got.action != op.action || got.kept != op.kept {
		t.Errorf("got operation %+v, want %+v", got, op)
	}
	if got.client.call != op.client.call || got.client.action != op.client.action || !proto.Equal(got.client.request(), metadata) {
		t.Errorf("got client %+v, want %+v", got.client, op.client)
	}
}
