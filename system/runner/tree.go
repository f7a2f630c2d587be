package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/localcas"
)

// unstageLimit bounds the wait for casd to clean a staged tree up, of which a
// large one has many thousand files to unlink.
const unstageLimit = 30 * time.Second

// tree is an input root that casd has staged.
type tree struct {
	path   string // absolute
	root   *os.Root
	stream grpc.BidiStreamingClient[localcas.StageTreeRequest, localcas.StageTreeResponse]
	cancel context.CancelFunc
}

// stage has casd stage a tree. It outlives ctx, which bounds the staging only,
// and is given back by release.
func stage(ctx context.Context, casd localcas.LocalContentAddressableStorageClient, request *localcas.StageTreeRequest, root digest.Digest) (*tree, error) {
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	keep := context.AfterFunc(ctx, cancel)
	t := &tree{cancel: cancel}
	err := t.open(streamCtx, casd, request)
	if err == nil && !keep() {
		err = context.Cause(ctx)
	}
	if err == nil {
		return t, nil
	}
	if t.root != nil {
		t.root.Close()
	}
	cancel()
	if status.Code(err) == codes.NotFound {
		// BuildBox's casd says so, without saying which blob.
		return nil, &MissingError{What: "input root", Digest: root, Err: err}
	}
	return nil, fmt.Errorf("stage input root %v: %w", root, err)
}

func (t *tree) open(ctx context.Context, casd localcas.LocalContentAddressableStorageClient, request *localcas.StageTreeRequest) (err error) {
	if t.stream, err = casd.StageTree(ctx); err != nil {
		return err
	}
	// The reason of a Send that fails is in the reply.
	if err := t.stream.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	response, err := t.stream.Recv()
	if errors.Is(err, io.EOF) {
		return errors.New("casd ended the call without an answer")
	}
	if err != nil {
		return err
	}
	if t.path = response.Path; !filepath.IsAbs(t.path) {
		return fmt.Errorf("casd staged it in %q, which is no absolute path", t.path)
	}
	t.root, err = os.OpenRoot(t.path)
	return err
}

// release gives the tree back and waits until it is gone.
func (t *tree) release() error {
	// A mount can't be removed while it is open.
	t.root.Close()
	timer := time.AfterFunc(unstageLimit, t.cancel)
	defer timer.Stop()
	defer t.cancel()
	if err := t.stream.Send(&localcas.StageTreeRequest{}); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("unstage %s: %w", t.path, err)
	}
	_ = t.stream.CloseSend()
	for {
		_, err := t.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unstage %s: %w", t.path, err)
		}
	}
}

// makeParents makes the working directory and the directories that outputs go
// to. REAPI wants the first to be in the input root; who forgets it is forgiven.
func (t *tree) makeParents(workingDirectory string, outputs []output) error {
	parents := []string{path.Clean(workingDirectory)}
	for _, o := range outputs {
		parents = append(parents, path.Dir(o.path))
	}
	last := ""
	for _, parent := range parents {
		if parent == "." || parent == last {
			continue
		}
		last = parent
		// Root refuses to follow links out of the tree.
		if err := t.root.MkdirAll(parent, 0o755); err != nil {
			return inputErrorf("make directory %q in the input root: %s", parent, cause(err))
		}
	}
	if info, err := t.root.Stat(path.Clean(workingDirectory)); err != nil || !info.IsDir() {
		return inputErrorf("working directory %q is no directory in the input root", workingDirectory)
	}
	return nil
}

// cause strips an error of the path it names, which is that of the staged tree.
func cause(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
