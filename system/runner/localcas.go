package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/runner/early"
)

// unstageLimit bounds the wait for casd to clean a staged tree up, of which a
// large one has many thousand files to unlink.
const unstageLimit = 30 * time.Second

// stageByCasd has casd stage the input root. The tree outlives ctx, which bounds the
// staging only.
func (r *Run) stageByCasd(ctx context.Context) (*tree, error) {
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	keep := context.AfterFunc(ctx, cancel)
	tree, err := r.openTree(streamCtx, cancel)
	if err == nil && !keep() {
		err = errors.Join(context.Cause(ctx), tree.root.Close())
	}
	if err == nil {
		return tree, nil
	}
	cancel()
	if status.Code(err) == codes.NotFound {
		// BuildBox's casd says so, without saying which blob.
		return nil, &MissingError{What: "input root", Digest: r.InputRoot, Err: err}
	}
	return nil, fmt.Errorf("stage input root %v: %w", r.InputRoot, err)
}

// socket is what casd is asked for, nil if the action doesn't want one. Only the Action's
// properties count: the tree is staged while the Command is still on its way.
func (r *Run) socket() *localcas.RemoteApisSocketConfig {
	path := strings.TrimLeft(property(r.platform, early.SocketProperty), "/")
	if path == "" {
		return nil
	}
	return &localcas.RemoteApisSocketConfig{Path: path, ActionCacheUpdateEnabled: r.Options.NestedUpdates}
}

func (r *Run) openTree(ctx context.Context, cancel context.CancelFunc) (*tree, error) {
	stream, err := localcas.NewLocalContentAddressableStorageClient(r.Client.Conn()).StageTree(ctx)
	if err != nil {
		return nil, err
	}
	user := r.Options.RunAs
	if user == nil {
		user = &User{os.Getuid(), os.Getgid()}
	}
	// The reason of a Send that fails is in the reply.
	if err := stream.Send(&localcas.StageTreeRequest{
		InstanceName:      r.Options.Remote.Instance,
		RootDigest:        r.InputRoot.Proto(),
		Path:              r.Options.Workspace,
		AccessCredentials: &localcas.StageTreeRequest_Credentials{Uid: int64(user.UID), Gid: int64(user.GID)},
		StagingMode:       r.Options.StagingMode,
		RemoteApisSocket:  r.socket(),
	}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	response, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("casd ended the call without an answer")
	}
	if err != nil {
		return nil, err
	}
	path := response.Path
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("casd staged it in %q, which is no absolute path", path)
	}
	return staged(path, func() error {
		timer := time.AfterFunc(unstageLimit, cancel)
		defer timer.Stop()
		defer cancel()
		if err := stream.Send(&localcas.StageTreeRequest{}); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("unstage %s: %w", path, err)
		}
		_ = stream.CloseSend()
		for {
			_, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("unstage %s: %w", path, err)
			}
		}
	})
}
