package casd

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// A captureRequest is what both capture calls have in common.
type captureRequest interface {
	GetInstanceName() string
	GetPath() []string
	GetRoot() string
	GetBypassLocalCache() bool
	GetMoveFiles() bool
	GetSkipUpload() bool
}

// checkCapture checks what a call has in common with the other. The hint
// bypass_local_cache isn't taken: blobs always pass through the cache.
func (s *Server) checkCapture(r captureRequest) (*instance, error) {
	in, err := s.instances.find(r.GetInstanceName())
	if err != nil {
		return nil, err
	}
	if r.GetSkipUpload() && r.GetBypassLocalCache() {
		return nil, &inputError{"skip_upload and bypass_local_cache together would keep nothing"}
	}
	if len(r.GetPath()) > maxRequestBlobs {
		return nil, tooMany("path", len(r.GetPath()))
	}
	if root := r.GetRoot(); root != "" && !filepath.IsAbs(root) {
		return nil, &inputError{fmt.Sprintf("root %q is not absolute", root)}
	}
	return in, nil
}

// CaptureFiles implements the LocalCAS service.
func (s *Server) CaptureFiles(ctx context.Context, request *lcpb.CaptureFilesRequest) (*lcpb.CaptureFilesResponse, error) {
	in, err := s.checkCapture(request)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	record := recordedOf(request.NodeProperties, request.UnixModeMask)
	response := &lcpb.CaptureFilesResponse{Responses: make([]*lcpb.CaptureFilesResponse_Response, len(request.Path))}
	outcomes := make([]outcome, len(request.Path))
	up, uploading := in.beginUpload(ctx, request.SkipUpload)
	var group errgroup.Group
	group.SetLimit(captureWorkers)
	for i, path := range request.Path {
		answer := &lcpb.CaptureFilesResponse_Response{Path: path}
		response.Responses[i] = answer
		group.Go(func() error {
			c := &capture{store: in.store, record: record, owns: s.stager.owns, move: request.MoveFiles, uploading: uploading}
			err := s.locate(ctx, in.root, request.Root, path, func(it item) error {
				return c.captureFile(ctx, it, answer)
			})
			outcomes[i] = outcome{err, c.blobs}
			return nil
		})
	}
	_ = group.Wait() // errors are the paths'
	up.settle(ctx, outcomes)
	for i, o := range outcomes {
		if response.Responses[i].Status = statusProto(o.err); o.err != nil {
			response.Responses[i].Digest = nil
		}
	}
	return response, nil
}

func (c *capture) captureFile(ctx context.Context, it item, answer *lcpb.CaptureFilesResponse_Response) error {
	switch it.kind {
	case 0:
	case fs.ModeDir:
		return &inputError{"it is a directory, not a file"}
	default:
		return notCapturable(it.kind)
	}
	d, err := c.file(ctx, &it)
	if err != nil {
		return err
	}
	answer.Digest, answer.IsExecutable, answer.NodeProperties = d.Proto(), it.mode&0o100 != 0, c.record.of(it)
	return nil
}

// CaptureTree implements the LocalCAS service.
func (s *Server) CaptureTree(ctx context.Context, request *lcpb.CaptureTreeRequest) (*lcpb.CaptureTreeResponse, error) {
	in, err := s.checkCapture(request)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	record := recordedOf(request.NodeProperties, request.UnixModeMask)
	response := &lcpb.CaptureTreeResponse{Responses: make([]*lcpb.CaptureTreeResponse_Response, len(request.Path))}
	outcomes := make([]outcome, len(request.Path))
	up, uploading := in.beginUpload(ctx, request.SkipUpload)
	for i, path := range request.Path {
		answer := &lcpb.CaptureTreeResponse_Response{Path: path}
		response.Responses[i] = answer
		c := &capture{store: in.store, record: record, owns: s.stager.owns, move: request.MoveFiles, uploading: uploading}
		err := s.locate(ctx, in.root, request.Root, path, func(it item) error {
			return c.captureTree(ctx, it, request.OutputDirectoryFormat, answer)
		})
		outcomes[i] = outcome{err, c.blobs}
	}
	up.settle(ctx, outcomes)
	for i, o := range outcomes {
		if response.Responses[i].Status = statusProto(o.err); o.err != nil {
			response.Responses[i].TreeDigest, response.Responses[i].RootDirectoryDigest = nil, nil
		}
	}
	return response, nil
}

func (c *capture) captureTree(ctx context.Context, it item, format repb.Command_OutputDirectoryFormat, answer *lcpb.CaptureTreeResponse_Response) error {
	if it.kind != fs.ModeDir {
		return &inputError{"it is not a directory"}
	}
	t, err := c.tree(ctx, it)
	if err != nil {
		return err
	}
	// A format we don't know gets a Tree, as the protocol says.
	directories := format == repb.Command_DIRECTORY_ONLY || format == repb.Command_TREE_AND_DIRECTORY
	if err := c.keepDirectories(ctx, t, directories); err != nil {
		return err
	}
	if directories {
		answer.RootDirectoryDigest = t.rootBlob.Proto()
	}
	if format != repb.Command_DIRECTORY_ONLY {
		d, err := c.keepTree(ctx, t)
		if err != nil {
			return err
		}
		answer.TreeDigest = d.Proto()
	}
	return nil
}

// locate finds what a path of a request means and calls use with it: a path below
// root, if that is set, which is itself below the root of a namespace, within, if
// that is set. Trees of our own mounts are read directly: through the mount, every
// byte would make a detour through the kernel back to us.
func (s *Server) locate(ctx context.Context, within, root, path string, use func(item) error) error {
	if strings.ContainsRune(path, 0) || strings.ContainsRune(root, 0) {
		return &inputError{"the path holds NUL"}
	}
	if root == "" && within != "" {
		root = "/"
	}
	if root == "" {
		if !filepath.IsAbs(path) {
			return &inputError{fmt.Sprintf("path %q is neither absolute nor is there a root", path)}
		}
		resolved := filepath.Clean(path)
		if st, _ := s.stager.find(resolved); st != nil {
			return describe(path, s.read(ctx, []string{"/"}, resolved[1:], use))
		}
		// The client names what it likes; only what is below isn't trusted. It may
		// lead into a mount after all.
		resolved, err := filepath.EvalSymlinks(path)
		if err != nil {
			return describe(path, err)
		}
		parent, name := filepath.Dir(resolved), filepath.Base(resolved)
		if resolved == "/" {
			name = "."
		}
		return describe(path, s.read(ctx, []string{parent}, name, use))
	}
	root = filepath.Clean(root)
	inside, err := below(root, path)
	if err != nil {
		return err
	}
	bounds := []string{root}
	if within != "" {
		bounds = []string{within}
		if root != "/" {
			bounds = append(bounds, filepath.Join(within, root))
		}
	}
	return describe(filepath.Join(root, inside), s.read(ctx, bounds, inside, use))
}

// below returns a path relative to root, which it may be already.
func below(root, path string) (string, error) {
	if filepath.IsAbs(path) {
		rel, err := filepath.Rel(root, filepath.Clean(path))
		if err != nil || !filepath.IsLocal(rel) {
			return "", escapes(path, root)
		}
		return rel, nil
	}
	if rel := filepath.Join(".", path); !filepath.IsLocal(rel) {
		return "", escapes(path, root)
	}
	if path == "" {
		return ".", nil
	}
	return path, nil
}

// read calls use with what is at a path below the last of bounds, which lie inside
// each other.
func (s *Server) read(ctx context.Context, bounds []string, path string, use func(item) error) error {
	st, inside := s.stager.find(filepath.Join(bounds[len(bounds)-1], path))
	direct := func(it item) error {
		it, err := s.stager.beneath(ctx, it)
		if err != nil {
			return err
		}
		return use(it)
	}
	if st == nil {
		return diskItem(bounds, path, direct)
	}
	// From the root of the mount to each bound that is inside, then to the path.
	steps, last := []string(nil), st.path
	for _, bound := range bounds {
		if bound == last || isInside(bound, last) {
			rel, _ := filepath.Rel(last, bound)
			steps, last = append(steps, rel), bound
			inside = path
		}
	}
	it, err := st.tree.item(ctx, append(steps, inside)...)
	if err != nil {
		return err
	}
	return direct(it)
}

// describe says which path an error is about.
func describe(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("capture %q: %w", path, err)
}

// An outcome is what became of one path: an error, or blobs in the cache.
type outcome struct {
	err   error
	blobs []digest.Digest
}

// beginUpload returns what sends the blobs of a call, and what tells it of those in memory;
// nil and nil if none are to be sent.
func (in *instance) beginUpload(ctx context.Context, skip bool) (*uploads, func(digest.Digest, []byte)) {
	if skip || !in.store.sends() {
		return nil, nil
	}
	u := in.store.newUploads()
	return u, func(d digest.Digest, data []byte) { u.offer(ctx, d, data) }
}

// settle uploads what was captured and isn't on its way yet, and turns the outcomes of
// paths whose blobs couldn't be sent into errors. nil sends nothing.
func (u *uploads) settle(ctx context.Context, outcomes []outcome) {
	if u == nil {
		return
	}
	var all []digest.Digest
	for _, o := range outcomes {
		if o.err == nil {
			all = append(all, o.blobs...)
		}
	}
	failed, err := u.finish(ctx, all)
	for i := range outcomes {
		o := &outcomes[i]
		if o.err != nil {
			continue
		}
		if o.err = err; err != nil {
			continue
		}
		for _, d := range o.blobs {
			if reason, ok := failed[d]; ok {
				o.err = fmt.Errorf("upload blob %v: %w", d, reason)
				break
			}
		}
	}
}
