package runner

import (
	"context"
	"fmt"
	"slices"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/localcas"
)

// maxCapturePaths bounds one capture request: at 100 bytes a path it stays well
// below gRPC's message limit of 4 MiB, with its response.
const maxCapturePaths = 10_000

// A capturer stores outputs and adds them to a result: files, and directories.
type capturer interface {
	files(ctx context.Context, files []output, result *repb.ActionResult) error
	directories(ctx context.Context, directories []output, result *repb.ActionResult) error
}

// casdCapturer has casd take in outputs.
type casdCapturer struct {
	casd     localcas.LocalContentAddressableStorageClient
	instance string
	root     string // of the staged tree
	command  *repb.Command
}

// capture stores what was found and adds it to the result, in the order of
// declaration.
func capture(ctx context.Context, c capturer, f found) (*repb.ActionResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	var fileErr error
	wait.Go(func() {
		for part := range slices.Chunk(f.files, maxCapturePaths) {
			if fileErr = c.files(ctx, part, f.result); fileErr != nil {
				cancel()
				return
			}
		}
	})
	var directoryErr error
	for part := range slices.Chunk(f.directories, maxCapturePaths) {
		if directoryErr = c.directories(ctx, part, f.result); directoryErr != nil {
			cancel()
			break
		}
	}
	wait.Wait()
	// Of two errors one may only say that the other came first.
	if fileErr != nil && (directoryErr == nil || status.Code(directoryErr) == codes.Canceled) {
		return nil, fileErr
	}
	if directoryErr != nil {
		return nil, directoryErr
	}
	return f.result, nil
}

func (c casdCapturer) files(ctx context.Context, files []output, result *repb.ActionResult) error {
	answer, err := c.casd.CaptureFiles(ctx, &localcas.CaptureFilesRequest{
		InstanceName:   c.instance,
		Root:           c.root,
		Path:           paths(files),
		NodeProperties: c.command.OutputNodeProperties,
	})
	if err == nil && len(answer.Responses) != len(files) {
		err = fmt.Errorf("casd answered for %d of %d files", len(answer.Responses), len(files))
	}
	if err != nil {
		return &captureError{files[0].name, err}
	}
	for i, r := range answer.Responses {
		d, err := captured(r.Status, r.Digest)
		if err != nil {
			return &captureError{files[i].name, err}
		}
		result.OutputFiles = append(result.OutputFiles, &repb.OutputFile{
			Path: files[i].name, Digest: d, IsExecutable: r.IsExecutable, NodeProperties: r.NodeProperties,
		})
	}
	return nil
}

func (c casdCapturer) directories(ctx context.Context, directories []output, result *repb.ActionResult) error {
	answer, err := c.casd.CaptureTree(ctx, &localcas.CaptureTreeRequest{
		InstanceName:          c.instance,
		Root:                  c.root,
		Path:                  paths(directories),
		NodeProperties:        c.command.OutputNodeProperties,
		OutputDirectoryFormat: c.command.OutputDirectoryFormat,
	})
	if err == nil && len(answer.Responses) != len(directories) {
		err = fmt.Errorf("casd answered for %d of %d directories", len(answer.Responses), len(directories))
	}
	if err != nil {
		return &captureError{directories[0].name, err}
	}
	for i, r := range answer.Responses {
		// Which digests there are depends on the format, but never none: an old
		// runner that didn't look made results nobody could use.
		either := r.TreeDigest
		if either == nil {
			either = r.RootDirectoryDigest
		}
		if _, err := captured(r.Status, either); err != nil {
			return &captureError{directories[i].name, err}
		}
		result.OutputDirectories = append(result.OutputDirectories, &repb.OutputDirectory{
			Path: directories[i].name, TreeDigest: r.TreeDigest, RootDirectoryDigest: r.RootDirectoryDigest,
		})
	}
	return nil
}

// captured checks one path's answer.
func captured(s *spb.Status, p *repb.Digest) (*repb.Digest, error) {
	if s.GetCode() != int32(codes.OK) {
		return nil, status.ErrorProto(s)
	}
	if _, err := digest.FromProto(p); err != nil {
		// Not to be taken for a mistake of the client's.
		return nil, fmt.Errorf("casd answered with a bad digest: %v", err)
	}
	return p, nil
}

func paths(outputs []output) []string {
	all := make([]string, len(outputs))
	for i, o := range outputs {
		all[i] = o.path
	}
	return all
}
