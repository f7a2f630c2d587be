package casd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

type stageStream = lcpb.LocalContentAddressableStorage_StageTreeServer

// StageTree implements the LocalCAS service. The tree lives until the client
// sends a second, empty request, closes its side, or goes away.
func (s *Server) StageTree(stream stageStream) error {
	if !s.calls.enter() {
		return toStatus(errClosing).Err()
	}
	defer s.calls.leave()
	return toStatus(s.stageTree(stream)).Err()
}

func (s *Server) stageTree(stream stageStream) error {
	request, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return &inputError{"the stream ended before a request"}
	}
	if err != nil {
		return err
	}
	w, err := s.wish(request)
	if err != nil {
		return err
	}
	// The end of casd also ends the fetches of a staging that isn't ready.
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	requests := s.listen(stream, cancel)
	st, err := s.stager.stage(ctx, w)
	if err != nil {
		return firstError(cause(ctx), err)
	}
	said := s.hold(stream, st, requests)
	if err := s.stager.release(st); err != nil {
		s.logger.Error("staged tree didn't end well", "path", st.path, "err", err)
		return firstError(said, err)
	}
	if said != nil {
		return said
	}
	// Old runners close the stream without reading this. The message is empty and
	// the first one was small: sending can't block on a client that doesn't read.
	_ = stream.Send(new(lcpb.StageTreeResponse))
	return nil
}

// cause returns why casd itself ended a context, nil if it didn't.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, errClosing) {
		return err
	}
	return nil
}

// listen receives the requests after the first in a goroutine, which ends when
// the call does: Recv can't be waited for together with anything else. When
// casd closes it cancels.
func (s *Server) listen(stream stageStream, cancel context.CancelCauseFunc) <-chan error {
	requests := make(chan error, 1)
	s.calls.add()
	go func() {
		defer s.calls.leave()
		request, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			err = nil
		case err == nil && proto.Size(request) > 0:
			err = &inputError{"a second request on a staging's stream has no field set, this has"}
		case err != nil:
			cancel(err)
		}
		requests <- err
	}()
	s.calls.add()
	go func() {
		defer s.calls.leave()
		select {
		case <-s.closing:
			cancel(errClosing)
		case <-stream.Context().Done():
		}
	}()
	return requests
}

// hold tells the client where the tree is and returns when it is no longer
// needed; the error is what the call ends with.
func (s *Server) hold(stream stageStream, st *staging, requests <-chan error) error {
	if err := stream.Send(&lcpb.StageTreeResponse{Path: st.told}); err != nil {
		return err
	}
	select {
	case err := <-requests:
		return err
	case <-s.closing:
		return errClosing
	}
}

// wish reads a request.
func (s *Server) wish(request *lcpb.StageTreeRequest) (wish, error) {
	in, err := s.instances.find(request.InstanceName)
	if err != nil {
		return wish{}, err
	}
	root, err := digest.FromProto(request.RootDigest)
	if err != nil {
		return wish{}, fmt.Errorf("root_digest: %w", err)
	}
	if err := checkUnstage(request.PreUnstageCommands, s.unstage); err != nil {
		return wish{}, err
	}
	socket, err := s.socketWish(request, in)
	if err != nil {
		return wish{}, err
	}
	who, err := ownerOf(request.AccessCredentials)
	return wish{
		in: in, root: root, path: request.Path, owner: who, mode: request.StagingMode,
		socket: socket, unstage: request.PreUnstageCommands,
	}, err
}

// ownerOf reads credentials. BuildStream sets the uid alone, so a gid of 0 says
// nothing.
func ownerOf(c *lcpb.StageTreeRequest_Credentials) (owner, error) {
	if c == nil {
		return owner{}, nil
	}
	// The largest number means "leave as it is" to chown(2).
	if c.Uid < 0 || c.Uid >= math.MaxUint32 || c.Gid < 0 || c.Gid >= math.MaxUint32 {
		return owner{}, &inputError{fmt.Sprintf("access_credentials: %d:%d are not ids of a user and a group", c.Uid, c.Gid)}
	}
	who := owner{uid: int(c.Uid), gid: int(c.Gid), known: true}
	if c.Gid == 0 {
		who.gid = -1
	}
	return who, nil
}
