package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

// Execute runs an action and returns the response, whose status the caller must
// look at. If the stream breaks after the operation's name is known, it is taken
// up by WaitExecution; a server that was restarted meanwhile and knows nothing of
// the operation is asked to execute again. If onUpdate isn't nil it is called with
// every message, also of those that a server should not have sent after the last.
func (c *Client) Execute(ctx context.Context, request *repb.ExecuteRequest, onUpdate func(*longrunningpb.Operation)) (*repb.ExecuteResponse, error) {
	// gRPC keeps a stream that wasn't read to its end until its context ends.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := repb.NewExecutionClient(c.conn)
	stream, err := client.Execute(ctx, request)
	var name string
	for broken := 0; ; {
		var operation *longrunningpb.Operation
		if err == nil {
			operation, err = stream.Recv()
		}
		if err == nil {
			broken, name = 0, operation.Name
			if onUpdate != nil {
				onUpdate(operation)
			}
			if !operation.Done {
				continue
			}
			// Read to the end, so that the call ends well rather than abandoned; a
			// server that leaves it open is abandoned all the same.
			defer time.AfterFunc(endPatience, cancel).Stop()
			for err == nil {
				var more *longrunningpb.Operation
				if more, err = stream.Recv(); err == nil && onUpdate != nil {
					onUpdate(more)
				}
			}
			return executeResponse(operation)
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
			stream, err = client.Execute(ctx, request)
		} else {
			stream, err = client.WaitExecution(ctx, &repb.WaitExecutionRequest{Name: name})
		}
	}
}

func executeResponse(operation *longrunningpb.Operation) (*repb.ExecuteResponse, error) {
	if failure := operation.GetError(); failure != nil {
		return nil, fmt.Errorf("operation %s: %w", operation.Name, status.ErrorProto(failure))
	}
	response := new(repb.ExecuteResponse)
	if err := operation.GetResponse().UnmarshalTo(response); err != nil {
		return nil, fmt.Errorf("response of operation %s: %w", operation.Name, err)
	}
	return response, nil
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
