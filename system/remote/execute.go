package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// maxReconnects bounds how often in a row a broken Execute stream is taken
	// up again without a message in between.
	maxReconnects = 5
	// reconnectDelay is how long to wait before; it doubles each time.
	reconnectDelay = 200 * time.Millisecond
	// endPatience is how long a stream may stay open after its last message.
	endPatience = time.Second
)

// An Update is what a message of an Execute stream says.
type Update struct {
	// Name is the operation's.
	Name string
	// Done tells that it is the last one.
	Done bool
}

// Execute runs an action and returns the response, whose status the caller must
// look at. If the stream breaks after the operation's name is known, it is taken
// up by WaitExecution; a server that was restarted meanwhile and knows nothing of
// the operation is asked to execute again. If onUpdate isn't nil it is called with
// every message, also of those that a server should not have sent after the last.
func (c *Client) Execute(ctx context.Context, request *repb.ExecuteRequest, onUpdate func(Update)) (*repb.ExecuteResponse, error) {
	// gRPC keeps a stream that wasn't read to its end until its context ends.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.operations(ctx, repb.Execution_Execute_FullMethodName, request)
	var name string
	now := new(operation)
	for broken := 0; ; {
		if err == nil {
			err = stream.RecvMsg(now)
		}
		if err == nil {
			broken, name = 0, now.Name
			if onUpdate != nil {
				onUpdate(now.Update)
			}
			if !now.Done {
				continue
			}
			// Read to the end, so that the call ends well rather than abandoned; a
			// server that leaves it open is abandoned all the same.
			defer time.AfterFunc(endPatience, cancel).Stop()
			for more := (operation{}); err == nil; {
				if err = stream.RecvMsg(&more); err == nil && onUpdate != nil {
					onUpdate(more.Update)
				}
			}
			return now.response, now.err
		}
		if errors.Is(err, io.EOF) {
			err = status.Error(codes.Unavailable, "the stream ended before the operation did")
		}
		if name == "" {
			return nil, fmt.Errorf("execute: %w", err)
		}
		forgotten := status.Code(err) == codes.NotFound && broken > 0
		if status.Code(err) != codes.Unavailable && !forgotten || broken == maxReconnects {
			return nil, fmt.Errorf("execute, operation %s: %w", name, err)
		}
		if err := sleep(ctx, reconnectDelay<<broken); err != nil {
			return nil, err
		}
		broken++
		if forgotten {
			stream, err = c.operations(ctx, repb.Execution_Execute_FullMethodName, request)
		} else {
			stream, err = c.operations(ctx, repb.Execution_WaitExecution_FullMethodName, &repb.WaitExecutionRequest{Name: name})
		}
	}
}

var operationStream = &grpc.StreamDesc{ServerStreams: true}

// operations opens a stream of operations, to be received as such.
func (c *Client) operations(ctx context.Context, method string, request proto.Message) (grpc.ClientStream, error) {
	stream, err := c.conn.NewStream(ctx, operationStream, method, grpc.ForceCodecV2(operationsRead))
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
