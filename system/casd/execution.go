package casd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-build/weir/system/digest"
)

// executionService forwards Execution and Operations to the execution remotes of
// instances. The name of an operation is the remote's behind the instance's, so that
// a call that has no more than the name finds the way. Request metadata and trace
// context are passed on by the handlers of system/telemetry.
type executionService struct {
	repb.UnimplementedExecutionServer
	longrunningpb.UnimplementedOperationsServer
	find func(name string) (*instance, error)
}

func (e *executionService) register(registrar grpc.ServiceRegistrar) {
	repb.RegisterExecutionServer(registrar, e)
	longrunningpb.RegisterOperationsServer(registrar, e)
}

// Execute implements the Execution service.
func (e *executionService) Execute(request *repb.ExecuteRequest, stream repb.Execution_ExecuteServer) error {
	in, err := e.executing(request)
	if err != nil {
		return toStatus(err).Err()
	}
	behind := in.remotes.Execution
	request.InstanceName = behind.Instance()
	upstream, err := repb.NewExecutionClient(behind.Conn()).Execute(stream.Context(), request)
	if err != nil {
		return err
	}
	return relay(in, upstream, stream)
}

// executing returns the instance of a request. BuildStream finds out whether a casd
// can execute by a request without an action, which is to be INVALID_ARGUMENT
// wherever there are action results, and so something to execute for.
func (e *executionService) executing(request *repb.ExecuteRequest) (*instance, error) {
	in, err := e.find(request.InstanceName)
	if err != nil {
		return nil, err
	}
	if in.remotes.Execution == nil && in.remotes.ActionCache == nil {
		return nil, noExecution(in)
	}
	if _, err := digest.FromProto(request.ActionDigest); err != nil {
		return nil, fmt.Errorf("action_digest: %w", err)
	}
	if in.remotes.Execution == nil {
		return nil, fmt.Errorf("instance %q has no execution remote, and to execute itself is %w", in.name, errUnsupported)
	}
	return in, nil
}

func noExecution(in *instance) error {
	return fmt.Errorf("execute in instance %q, without a remote for it: %w", in.name, errNoService)
}

// WaitExecution implements the Execution service.
func (e *executionService) WaitExecution(request *repb.WaitExecutionRequest, stream repb.Execution_WaitExecutionServer) error {
	in, name, err := e.operation(request.Name)
	if err != nil {
		return toStatus(err).Err()
	}
	upstream, err := repb.NewExecutionClient(in.remotes.Execution.Conn()).WaitExecution(stream.Context(), &repb.WaitExecutionRequest{Name: name})
	if err != nil {
		return err
	}
	return relay(in, upstream, stream)
}

// relay sends on what the remote says of an operation, under the name it has here.
func relay(in *instance, from grpc.ServerStreamingClient[longrunningpb.Operation], to grpc.ServerStreamingServer[longrunningpb.Operation]) error {
	for {
		operation, err := from.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := to.Send(renamed(in, operation)); err != nil {
			return err
		}
	}
}

func renamed(in *instance, operation *longrunningpb.Operation) *longrunningpb.Operation {
	operation.Name = digest.OperationName(in.name, operation.Name)
	return operation
}

// operation takes the name of an operation apart. An instance name doesn't hold the
// word in between, so the first one is ours, whatever the remote's name has.
func (e *executionService) operation(name string) (in *instance, behind string, err error) {
	const word = "operations/"
	at := 0
	if !strings.HasPrefix(name, word) {
		if at = strings.Index(name, "/"+word) + 1; at == 0 {
			return nil, "", &inputError{fmt.Sprintf("operation %.300q: want [instance/]operations/<name>", name)}
		}
	}
	if in, err = e.find(strings.TrimSuffix(name[:at], "/")); err != nil {
		return nil, "", fmt.Errorf("operation %.300q: %w", name, err)
	}
	if in.remotes.Execution == nil {
		return nil, "", noExecution(in)
	}
	return in, name[at+len(word):], nil
}

func (e *executionService) operations(name string) (*instance, string, longrunningpb.OperationsClient, error) {
	in, behind, err := e.operation(name)
	if err != nil {
		return nil, "", nil, toStatus(err).Err()
	}
	return in, behind, longrunningpb.NewOperationsClient(in.remotes.Execution.Conn()), nil
}

// GetOperation implements the Operations service.
func (e *executionService) GetOperation(ctx context.Context, request *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	in, name, client, err := e.operations(request.Name)
	if err != nil {
		return nil, err
	}
	operation, err := client.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: name})
	if err != nil {
		return nil, err
	}
	return renamed(in, operation), nil
}

// WaitOperation implements the Operations service.
func (e *executionService) WaitOperation(ctx context.Context, request *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	in, name, client, err := e.operations(request.Name)
	if err != nil {
		return nil, err
	}
	request.Name = name
	operation, err := client.WaitOperation(ctx, request)
	if err != nil {
		return nil, err
	}
	return renamed(in, operation), nil
}

// CancelOperation implements the Operations service.
func (e *executionService) CancelOperation(ctx context.Context, request *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	_, name, client, err := e.operations(request.Name)
	if err != nil {
		return nil, err
	}
	return client.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: name})
}

// DeleteOperation implements the Operations service.
func (e *executionService) DeleteOperation(ctx context.Context, request *longrunningpb.DeleteOperationRequest) (*emptypb.Empty, error) {
	_, name, client, err := e.operations(request.Name)
	if err != nil {
		return nil, err
	}
	return client.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: name})
}

// ListOperations implements the Operations service: it lists those of an instance.
func (e *executionService) ListOperations(ctx context.Context, request *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
	name, err := digest.ParseOperationsName(request.Name)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	in, err := e.find(name)
	if err == nil && in.remotes.Execution == nil {
		err = noExecution(in)
	}
	if err != nil {
		return nil, toStatus(err).Err()
	}
	request.Name = in.remotes.Execution.Instance()
	answer, err := longrunningpb.NewOperationsClient(in.remotes.Execution.Conn()).ListOperations(ctx, request)
	if err != nil {
		return nil, err
	}
	for _, operation := range answer.Operations {
		renamed(in, operation)
	}
	return answer, nil
}
