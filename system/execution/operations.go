package execution

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
)

// Bounds of a page of operations.
const (
	defaultPage = 100
	maxPage     = 1000
)

// find returns an operation by name, as a status error if there is none.
func (s *Server) find(name string) (*operation, error) {
	instance, err := digest.ParseOperationName(name)
	if err != nil {
		return nil, toStatus(err)
	}
	if _, err := s.instance(instance); err != nil {
		return nil, toStatus(err)
	}
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	op := s.shell.names[name]
	if op == nil {
		return nil, status.Errorf(codes.NotFound, "operation %q is unknown: it never was, or ended more than %v ago", name, s.config.ResultTTL)
	}
	return op, nil
}

// snapshot returns an operation as it is now.
func (s *Server) snapshot(op *operation) *longrunningpb.Operation {
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	return op.now()
}

// now returns an operation as it is; the lock is held.
func (op *operation) now() *longrunningpb.Operation {
	about := op.progress()
	return op.message(op.stage, op.response, &about)
}

// GetOperation returns an operation as it is now. Asking shows that somebody is
// waiting.
func (s *Server) GetOperation(_ context.Context, request *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	op, err := s.find(request.Name)
	if err != nil {
		return nil, err
	}
	s.locked(func(now time.Time) {
		if op.id != 0 {
			s.step(now, queue.Input{Kind: queue.Watch, Operation: op.id})
			s.step(now, queue.Input{Kind: queue.Unwatch, Operation: op.id})
		}
	})
	return s.snapshot(op), nil
}

// ListOperations returns the operations of an instance, oldest first, in pages.
// The name is the instance's, with or without `/operations`.
func (s *Server) ListOperations(_ context.Context, request *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
	name, err := digest.ParseOperationsName(request.Name)
	if err != nil {
		return nil, toStatus(err)
	}
	at, err := s.instance(name)
	if err != nil {
		return nil, toStatus(err)
	}
	if request.Filter != "" {
		return nil, status.Errorf(codes.InvalidArgument, "filter %q: filters are not supported", request.Filter)
	}
	if request.PageSize < 0 {
		return nil, status.Errorf(codes.InvalidArgument, "page size %d is negative", request.PageSize)
	}
	size := int(request.PageSize)
	if size == 0 {
		size = defaultPage
	}
	size = min(size, maxPage)
	var after uint64
	if request.PageToken != "" {
		if after, err = strconv.ParseUint(request.PageToken, 36, 64); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "page token %.40q is not one of ours", request.PageToken)
		}
	}
	return s.page(at, after, size), nil
}

func (s *Server) page(at *instance, after uint64, size int) *longrunningpb.ListOperationsResponse {
	s.shell.mu.Lock()
	var list []*operation
	for _, op := range s.shell.names {
		if op.instance == at && op.sequence > after {
			list = append(list, op)
		}
	}
	s.shell.mu.Unlock()
	// Sorted without the lock: there may be a million.
	slices.SortFunc(list, func(a, b *operation) int { return cmp.Compare(a.sequence, b.sequence) })
	response := new(longrunningpb.ListOperationsResponse)
	if len(list) > size {
		list = list[:size]
		response.NextPageToken = strconv.FormatUint(list[size-1].sequence, 36)
	}
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	for _, op := range list {
		response.Operations = append(response.Operations, op.now())
	}
	return response
}

// CancelOperation ends an operation at once, and its work if no other waits for
// it. Cancelling one that is done changes nothing.
func (s *Server) CancelOperation(_ context.Context, request *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	op, err := s.find(request.Name)
	if err != nil {
		return nil, err
	}
	s.locked(func(now time.Time) {
		switch {
		case op.id != 0:
			s.step(now, queue.Input{Kind: queue.Cancel, Operation: op.id})
		case op.response == nil:
			s.endTaskless(now, op, failure(queue.Cancelled, nil, ""))
		}
	})
	return new(emptypb.Empty), s.tell()
}

// DeleteOperation forgets an operation that is done.
func (s *Server) DeleteOperation(_ context.Context, request *longrunningpb.DeleteOperationRequest) (*emptypb.Empty, error) {
	op, err := s.find(request.Name)
	if err != nil {
		return nil, err
	}
	s.locked(func(now time.Time) {
		if op.response == nil {
			err = status.Errorf(codes.FailedPrecondition, "operation %q is not done: cancel it first", request.Name)
			return
		}
		delete(s.shell.names, op.name)
		if op.place > 0 {
			s.journalNote(now, &notes.Note{Deleted: op.name})
		}
	})
	if err != nil {
		return nil, err
	}
	return new(emptypb.Empty), s.tell()
}

// WaitOperation returns an operation when it is done, or as it is when the
// timeout or the call's deadline is near.
func (s *Server) WaitOperation(ctx context.Context, request *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	op, err := s.find(request.Name)
	if err != nil {
		return nil, err
	}
	if t := request.Timeout; t != nil {
		if err := t.CheckValid(); err != nil || t.AsDuration() < 0 {
			return nil, status.Errorf(codes.InvalidArgument, "timeout %v is not a positive duration", t)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.AsDuration())
		defer cancel()
	}
	if deadline, ok := ctx.Deadline(); ok {
		// Leave time for the answer.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)*9/10)
		defer cancel()
	}
	ignore := func(*longrunningpb.Operation) error { return nil }
	if err := s.follow(ctx, s.watch(op, ignore)); err != nil && ctx.Err() == nil {
		return nil, err
	}
	return s.snapshot(op), nil
}
