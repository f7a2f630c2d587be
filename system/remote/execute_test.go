package remote_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-build/weir/system/remote"
)

// script is an execution service whose n-th stream sends the n-th list of
// operations and ends with its error.
type script struct {
	repb.UnimplementedExecutionServer
	streams []stream

	mu    sync.Mutex
	asked []string // the method and what it was asked for
}

type stream struct {
	operations []*longrunningpb.Operation
	err        error
}

type operationStream = grpc.ServerStreamingServer[longrunningpb.Operation]

func (s *script) play(asked string, out operationStream) error {
	s.mu.Lock()
	if len(s.asked) == len(s.streams) {
		s.mu.Unlock()
		return status.Error(codes.Internal, "the script is over")
	}
	now := s.streams[len(s.asked)]
	s.asked = append(s.asked, asked)
	s.mu.Unlock()
	for _, operation := range now.operations {
		if err := out.Send(operation); err != nil {
			return err
		}
	}
	return now.err
}

func (s *script) Execute(r *repb.ExecuteRequest, out operationStream) error {
	return s.play("execute in "+r.InstanceName, out)
}

func (s *script) WaitExecution(r *repb.WaitExecutionRequest, out operationStream) error {
	return s.play("wait for "+r.Name, out)
}

var (
	going = &longrunningpb.Operation{Name: "main/operations/1"}
	lost  = status.Error(codes.Unavailable, "connection lost")
)

func done(t *testing.T) *longrunningpb.Operation {
	response, err := anypb.New(&repb.ExecuteResponse{Result: &repb.ActionResult{ExitCode: 3}})
	if err != nil {
		t.Fatal(err)
	}
	return &longrunningpb.Operation{Name: going.Name, Done: true, Result: &longrunningpb.Operation_Response{Response: response}}
}

// play runs test against the script under synctest's clock, so that no delay is
// waited for.
func play(t *testing.T, s *script, test func(t *testing.T, client *remote.Client), options ...grpc.DialOption) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		serveOn(t, listener, func(g *grpc.Server) { repb.RegisterExecutionServer(g, s) })
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		test(t, dialConfig(t, remote.Config{URL: "grpc://127.0.0.1:1", Instance: "main", RetryLimit: -1}, options...))
	})
}

// execute plays the script for one Execute and returns how long it took by the
// clock of synctest.
func execute(t *testing.T, s *script, onUpdate func(remote.Update)) (response *repb.ExecuteResponse, took time.Duration, err error) {
	play(t, s, func(t *testing.T, client *remote.Client) {
		begun := time.Now()
		response, err = client.Execute(t.Context(), &repb.ExecuteRequest{InstanceName: "main"}, onUpdate)
		took = time.Since(begun)
	})
	return response, took, err
}

func TestExecuteReturnsTheResponse(t *testing.T) {
	s := &script{streams: []stream{{operations: []*longrunningpb.Operation{going, going, done(t)}}}}
	updates := 0
	response, _, err := execute(t, s, func(o remote.Update) {
		updates++
		if o.Name != going.Name {
			t.Errorf("an update of %q", o.Name)
		}
	})
	if err != nil || response.GetResult().GetExitCode() != 3 || updates != 3 {
		t.Errorf("got %v after %d updates, error %v", response, updates, err)
	}
}

func TestBrokenExecuteIsTakenUpByWaitExecution(t *testing.T) {
	for name, breaks := range map[string][]stream{
		"unavailable":          {{[]*longrunningpb.Operation{going}, lost}},
		"ends too early":       {{[]*longrunningpb.Operation{going}, nil}},
		"twice":                {{[]*longrunningpb.Operation{going}, lost}, {[]*longrunningpb.Operation{going, going}, lost}},
		"and can't be at once": {{[]*longrunningpb.Operation{going}, lost}, {nil, lost}, {nil, lost}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{streams: append(slices.Clone(breaks), stream{operations: []*longrunningpb.Operation{going, done(t)}})}
			response, _, err := execute(t, s, nil)
			if err != nil || response.GetResult().GetExitCode() != 3 {
				t.Errorf("got %v, error %v", response, err)
			}
			want := append([]string{"execute in main"}, slices.Repeat([]string{"wait for " + going.Name}, len(breaks))...)
			if !slices.Equal(s.asked, want) {
				t.Errorf("asked %q, want %q", s.asked, want)
			}
		})
	}
}

// A server that was restarted has forgotten the operation, so that executing
// again runs nothing twice.
func TestForgottenOperationIsExecutedAgain(t *testing.T) {
	forgotten := status.Error(codes.NotFound, "who?")
	s := &script{streams: []stream{{[]*longrunningpb.Operation{going}, lost}, {nil, forgotten}, {operations: []*longrunningpb.Operation{going, done(t)}}}}
	response, _, err := execute(t, s, nil)
	if err != nil || response.GetResult().GetExitCode() != 3 {
		t.Errorf("got %v, error %v", response, err)
	}
	want := []string{"execute in main", "wait for " + going.Name, "execute in main"}
	if !slices.Equal(s.asked, want) {
		t.Errorf("asked %q, want %q", s.asked, want)
	}
}

func TestExecuteGivesUpWhenNothingComesAnyMore(t *testing.T) {
	s := &script{streams: append([]stream{{[]*longrunningpb.Operation{going}, lost}}, slices.Repeat([]stream{{nil, lost}}, 100)...)}
	_, took, err := execute(t, s, nil)
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), going.Name) {
		t.Errorf("error %v, want UNAVAILABLE with the operation's name", err)
	}
	if got, want := len(s.asked), 1+remote.MaxReconnects; got != want {
		t.Errorf("%d streams, want %d", got, want)
	}
	// 0.2 + 0.4 + 0.8 + 1.6 + 3.2 s.
	if took != 6200*time.Millisecond {
		t.Errorf("gave up after %v, want 6.2s", took)
	}
}

// A message in between starts the count anew.
func TestExecuteThatAdvancesIsNotGivenUp(t *testing.T) {
	s := &script{streams: append(slices.Repeat([]stream{{[]*longrunningpb.Operation{going}, lost}}, 4*remote.MaxReconnects),
		stream{operations: []*longrunningpb.Operation{done(t)}})}
	if _, _, err := execute(t, s, nil); err != nil {
		t.Errorf("error %v", err)
	}
}

// Before its name is known an operation can't be found again, and sending the
// request twice could run the action twice.
func TestExecuteIsNotRepeated(t *testing.T) {
	for name, c := range map[string]stream{
		"refused":      {nil, lost},
		"says nothing": {nil, nil},
	} {
		s := &script{streams: []stream{c, {operations: []*longrunningpb.Operation{done(t)}}}}
		if _, _, err := execute(t, s, nil); status.Code(err) != codes.Unavailable || len(s.asked) != 1 {
			t.Errorf("%s: error %v after %q, want UNAVAILABLE after one call", name, err, s.asked)
		}
	}
}

func TestExecuteEndsWithTheServersError(t *testing.T) {
	packed, err := anypb.New(&emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	failed := &longrunningpb.Operation{Name: going.Name, Done: true, Result: &longrunningpb.Operation_Error{
		Error: status.New(codes.ResourceExhausted, "no quota").Proto()}}
	other := &longrunningpb.Operation{Name: going.Name, Done: true, Result: &longrunningpb.Operation_Response{Response: packed}}
	for _, c := range []struct {
		name    string
		streams []stream
		code    codes.Code
		text    string
	}{
		{"at once", []stream{{nil, status.Error(codes.FailedPrecondition, "input missing")}}, codes.FailedPrecondition, "execute: "},
		{"later", []stream{{[]*longrunningpb.Operation{going}, status.Error(codes.Internal, "bug")}}, codes.Internal, going.Name},
		{"unknown from the start", []stream{{[]*longrunningpb.Operation{going}, status.Error(codes.NotFound, "what?")}}, codes.NotFound, going.Name},
		{"of the operation", []stream{{[]*longrunningpb.Operation{failed}, nil}}, codes.ResourceExhausted, "no quota"},
		{"a response of another type", []stream{{[]*longrunningpb.Operation{other}, nil}}, codes.Unknown, "response of operation " + going.Name},
		{"no response", []stream{{[]*longrunningpb.Operation{{Name: going.Name, Done: true}}, nil}}, codes.Unknown, "response of operation " + going.Name},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := execute(t, &script{streams: c.streams}, nil)
			if err == nil || status.Code(err) != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v with code %v, want %v about %q", err, status.Code(err), c.code, c.text)
			}
		})
	}
}

// The streams of a finished Execute are let go even if its caller's context
// lives on, as that of a load generator does.
func TestExecuteLeavesNoStreamBehind(t *testing.T) {
	var contexts []context.Context
	remember := func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		contexts = append(contexts, ctx)
		return streamer(ctx, desc, conn, method, options...)
	}
	s := &script{streams: []stream{{[]*longrunningpb.Operation{going}, lost}, {operations: []*longrunningpb.Operation{done(t)}}}}
	play(t, s, func(t *testing.T, client *remote.Client) {
		if _, err := client.Execute(t.Context(), &repb.ExecuteRequest{}, nil); err != nil {
			t.Fatal(err)
		}
		open := 0
		for _, ctx := range contexts {
			if ctx.Err() == nil {
				open++
			}
		}
		if len(contexts) != 2 || open != 0 {
			t.Errorf("%d of %d streams are open, want 0 of 2", open, len(contexts))
		}
	}, grpc.WithStreamInterceptor(remember))
}

func TestCancelledExecuteEndsBetweenReconnects(t *testing.T) {
	s := &script{streams: []stream{{[]*longrunningpb.Operation{going}, lost}}}
	play(t, s, func(t *testing.T, client *remote.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := client.Execute(ctx, &repb.ExecuteRequest{}, nil); err != context.DeadlineExceeded {
			t.Errorf("error %v, want that of the context", err)
		}
		if len(s.asked) != 1 {
			t.Errorf("asked %q, want one call", s.asked)
		}
	})
}
