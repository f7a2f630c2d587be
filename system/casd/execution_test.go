package casd_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
)

// executor is an execution remote. It has one operation and remembers what it was
// asked.
type executor struct {
	repb.UnimplementedExecutionServer
	repb.UnimplementedCapabilitiesServer
	longrunningpb.UnimplementedOperationsServer
	asked []string
}

// operationName is as odd as a server may have it.
const operationName = "far/operations/1"

func newExecutor(t *testing.T) (*executor, string) {
	t.Helper()
	e := new(executor)
	return e, "grpc://" + serve(t, func(r grpc.ServiceRegistrar) {
		repb.RegisterExecutionServer(r, e)
		repb.RegisterCapabilitiesServer(r, e)
		longrunningpb.RegisterOperationsServer(r, e)
	})
}

func (e *executor) Execute(request *repb.ExecuteRequest, stream repb.Execution_ExecuteServer) error {
	e.asked = append(e.asked, "execute in "+request.InstanceName)
	if err := stream.Send(&longrunningpb.Operation{Name: operationName}); err != nil {
		return err
	}
	return stream.Send(&longrunningpb.Operation{Name: operationName, Done: true})
}

func (e *executor) WaitExecution(request *repb.WaitExecutionRequest, stream repb.Execution_WaitExecutionServer) error {
	e.asked = append(e.asked, "wait for "+request.Name)
	return stream.Send(&longrunningpb.Operation{Name: request.Name, Done: true})
}

func (e *executor) GetOperation(_ context.Context, request *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	e.asked = append(e.asked, "get "+request.Name)
	return &longrunningpb.Operation{Name: request.Name}, nil
}

func (e *executor) CancelOperation(_ context.Context, request *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	e.asked = append(e.asked, "cancel "+request.Name)
	return new(emptypb.Empty), nil
}

func (e *executor) ListOperations(_ context.Context, request *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
	e.asked = append(e.asked, "list "+request.Name)
	return &longrunningpb.ListOperationsResponse{Operations: []*longrunningpb.Operation{{Name: operationName}}}, nil
}

func (e *executor) GetCapabilities(context.Context, *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	return &repb.ServerCapabilities{ExecutionCapabilities: &repb.ExecutionCapabilities{ExecEnabled: true}}, nil
}

// drain reads a stream to its end.
func drain(stream grpc.ServerStreamingClient[longrunningpb.Operation], err error) ([]*longrunningpb.Operation, error) {
	if err != nil {
		return nil, err
	}
	var all []*longrunningpb.Operation
	for {
		operation, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, operation)
	}
}

func TestExecutionIsForwarded(t *testing.T) {
	w := newWorld(t)
	e, url := newExecutor(t)
	there := w.register(&lcpb.GetInstanceNameForRemotesRequest{Execution: &lcpb.Remote{Url: url, InstanceName: "far"}})
	execution, operations := repb.NewExecutionClient(w.conn), longrunningpb.NewOperationsClient(w.conn)
	ctx := t.Context()

	got, err := drain(execution.Execute(ctx, &repb.ExecuteRequest{InstanceName: there.Instance(), ActionDigest: digest.Empty.Proto()}))
	if err != nil || len(got) != 2 || !got[1].Done {
		t.Fatalf("got %v, %v, want two messages", got, err)
	}
	name := got[0].Name
	if want := there.Instance() + "/operations/" + operationName; name != want || got[1].Name != want {
		t.Errorf("names are %q and %q, want %q", name, got[1].Name, want)
	}
	if got, err := drain(execution.WaitExecution(ctx, &repb.WaitExecutionRequest{Name: name})); err != nil || len(got) != 1 || got[0].Name != name {
		t.Errorf("wait: got %v, %v", got, err)
	}
	if got, err := operations.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: name}); err != nil || got.Name != name {
		t.Errorf("get: got %v, %v", got, err)
	}
	if _, err := operations.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: name}); err != nil {
		t.Errorf("cancel: %v", err)
	}
	list, err := operations.ListOperations(ctx, &longrunningpb.ListOperationsRequest{Name: there.Instance()})
	if err != nil || len(list.Operations) != 1 || list.Operations[0].Name != name {
		t.Errorf("list: got %v, %v", list, err)
	}
	want := []string{"execute in far", "wait for " + operationName, "get " + operationName, "cancel " + operationName, "list far"}
	if diff := cmp.Diff(e.asked, want); diff != "" {
		t.Errorf("the remote was asked (-got +want):\n%s", diff)
	}
	capabilities, err := there.Capabilities(ctx)
	if err != nil || !capabilities.GetExecutionCapabilities().GetExecEnabled() || capabilities.CacheCapabilities == nil {
		t.Errorf("capabilities: got %v, %v", capabilities, err)
	}
}

// BuildStream, by way of a request without an action, asks whether casd knows
// instances with an action cache and without an execution remote.
func TestExecutionWithoutARemote(t *testing.T) {
	w := newWorld(t, func(c *casd.Config) {
		c.Instances = map[string]casd.Remotes{"near": {CAS: remoteOf(c), ActionCache: remoteOf(c)}, "none": {}}
	})
	execution := repb.NewExecutionClient(w.conn)
	for _, c := range []struct {
		instance string
		action   *repb.Digest
		want     codes.Code
	}{
		{"near", nil, codes.InvalidArgument},
		{"near", digest.Empty.Proto(), codes.FailedPrecondition},
		{"none", nil, codes.Unimplemented},
		{"other", nil, codes.InvalidArgument},
	} {
		_, err := drain(execution.Execute(t.Context(), &repb.ExecuteRequest{InstanceName: c.instance, ActionDigest: c.action}))
		if status.Code(err) != c.want {
			t.Errorf("%q, action %v: got %v, want %v", c.instance, c.action, err, c.want)
		}
	}
	operations := longrunningpb.NewOperationsClient(w.conn)
	for name, want := range map[string]codes.Code{
		"near/operations/x": codes.Unimplemented, "other/operations/x": codes.InvalidArgument,
		"operations/x": codes.InvalidArgument, "x": codes.InvalidArgument, "": codes.InvalidArgument,
	} {
		if _, err := operations.GetOperation(t.Context(), &longrunningpb.GetOperationRequest{Name: name}); status.Code(err) != want {
			t.Errorf("operation %q: got %v, want %v", name, err, want)
		}
	}
}

// remoteOf is the remote of the instance that a world has by default.
func remoteOf(c *casd.Config) *remote.Client { return c.Instances["near"].CAS }
