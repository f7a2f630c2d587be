package schema_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const instance = "acme"

// pool is the property that platforms of the test differ in. The real worker
// offers realPool, bots what their situation calls for.
const (
	pool     = "pool="
	realPool = pool + "real"
)

// A driver is a cluster with one real worker, and what drives it.
type driver struct {
	*testing.T
	cluster *clustertest.Cluster
	token   string // the file of the token that workers show
	client  *remote.Client
	tracer  trace.Tracer
}

func start(t *testing.T) *driver {
	t.Helper()
	d := &driver{T: t, token: filepath.Join(t.TempDir(), "token")}
	tokens := filepath.Join(t.TempDir(), "tokens.json")
	d.write(d.token, []byte("good"))
	content, err := json.Marshal(map[string]any{"good": map[string]any{"id": "1", "instance_name": instance, "customer_slug": "c", "is_active": true}})
	if err != nil {
		t.Fatal(err)
	}
	d.write(tokens, content)
	d.cluster = clustertest.Start(t, stack.Cluster{
		Instance: instance, Workers: 1, Slots: 1, Platform: []string{realPool}, StorageQuota: 64 << 20, Tokens: tokens, Token: d.token,
		Execution: stack.Execution{Journal: stack.Journal{Dir: filepath.Join(t.TempDir(), "journal")}},
	})
	recorder := d.cluster.Recorder("client")
	d.client, d.tracer = d.cluster.Dial(recorder), recorder.Tracer
	return d
}

func (d *driver) write(path string, content []byte) {
	d.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		d.Fatal(err)
	}
}

// build calls f with the context of a build of its own, whose client has a trace.
func (d *driver) build(f func(ctx context.Context)) {
	d.Helper()
	ctx, root := d.tracer.Start(d.Context(), semconv.SpanInvocation, trace.WithAttributes(attribute.String(semconv.AttrToolName, "test")))
	defer root.End()
	f(ctx)
}

// upload stores what an action consists of and returns its digest.
func (d *driver) upload(ctx context.Context, a clustertest.Action) digest.Digest {
	d.Helper()
	at, blobs := a.Blobs(d)
	if err := d.client.WriteBlobs(ctx, blobs); err != nil {
		d.Fatal(err)
	}
	return at
}

// run uploads an action and executes it to its end.
func (d *driver) run(ctx context.Context, a clustertest.Action, change ...func(*repb.ExecuteRequest)) *repb.ExecuteResponse {
	d.Helper()
	return d.send(ctx, d.upload(ctx, a), change...).end()
}

// An operation is an Execute, or a WaitExecution, under way.
type operation struct {
	d      *driver
	name   string
	stream interface {
		Recv() (*longrunningpb.Operation, error)
	}
}

func (d *driver) send(ctx context.Context, action digest.Digest, change ...func(*repb.ExecuteRequest)) *operation {
	d.Helper()
	request := &repb.ExecuteRequest{InstanceName: instance, ActionDigest: action.Proto(), DigestFunction: repb.DigestFunction_SHA256}
	for _, f := range change {
		f(request)
	}
	stream, err := repb.NewExecutionClient(d.client.Conn()).Execute(ctx, request)
	if err != nil {
		d.Fatal(err)
	}
	return &operation{d: d, stream: stream}
}

func skipLookup(r *repb.ExecuteRequest) { r.SkipCacheLookup = true }

// until reads up to a stage.
func (o *operation) until(stage repb.ExecutionStage_Value) *longrunningpb.Operation {
	o.d.Helper()
	for {
		message, err := o.stream.Recv()
		if err != nil {
			o.d.Fatalf("no stage %v: %v", stage, err)
		}
		o.name = message.Name
		about := new(repb.ExecuteOperationMetadata)
		if err := message.Metadata.UnmarshalTo(about); err != nil {
			o.d.Fatal(err)
		}
		if about.Stage == stage {
			return message
		}
	}
}

// queued reads until the operation waits for a worker.
func (o *operation) queued() *operation {
	o.d.Helper()
	o.until(repb.ExecutionStage_QUEUED)
	return o
}

// end reads to the end of the call, and returns the response.
func (o *operation) end() *repb.ExecuteResponse {
	o.d.Helper()
	message := o.until(repb.ExecutionStage_COMPLETED)
	response := new(repb.ExecuteResponse)
	if err := message.GetResponse().UnmarshalTo(response); err != nil {
		o.d.Fatal(err)
	}
	if _, err := o.stream.Recv(); err == nil {
		o.d.Error("a message after the last one")
	}
	return response
}

// want checks how an action ended.
func (d *driver) want(response *repb.ExecuteResponse, code codes.Code, exitCode int32) {
	d.Helper()
	if got := codes.Code(response.Status.GetCode()); got != code || response.Result.GetExitCode() != exitCode {
		d.Fatalf("got %v, want the code %v and the exit code %d", response, code, exitCode)
	}
}

// bot is a worker that only the actions of one pool come to.
func (d *driver) bot(name string) *clustertest.Bot {
	d.Helper()
	return d.cluster.Bot(name, d.token, pool+name)
}

// complete reports a lease's result, which must be welcome.
func (d *driver) complete(b *clustertest.Bot, result *repb.ActionResult) {
	d.Helper()
	if err := b.Complete(b.Take(), result); err != nil {
		d.Fatal(err)
	}
}

// eventually waits for what happens by itself, at nobody's call.
func (d *driver) eventually(what string, f func() bool) {
	d.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); !f(); {
		select {
		case <-tick.C:
		case <-limit:
			d.Fatalf("it didn't come to pass that %s", what)
		}
	}
}

// as returns a context whose calls are a client's that tells all of itself.
func as(ctx context.Context, invocation string) context.Context {
	return telemetry.WithRequestMetadata(ctx, &repb.RequestMetadata{
		ToolDetails: &repb.ToolDetails{ToolName: "test", ToolVersion: "1"}, ToolInvocationId: invocation,
		CorrelatedInvocationsId: "all of them", ActionId: "a", ActionMnemonic: "Test", TargetId: "//a:b",
	})
}
