package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// Staging without casd (--disable-localcas): the runner fetches the input root from a
// plain CAS into a folder of its own.

const (
	// maxTreeDirectories bounds a tree: a Directory that is in itself many times over
	// takes few bytes.
	maxTreeDirectories = 1_000_000
	// maxNameBytes is NAME_MAX of every Linux file system.
	maxNameBytes = 255
)

// stagedTime is the modification time of files that have none of their own: casd's.
var stagedTime = time.Date(2011, 11, 11, 11, 11, 11, 0, time.UTC)

// stageByItself fetches the input root.
func (r *Run) stageByItself(ctx context.Context) (*tree, error) {
	parent := r.Options.Workspace
	if parent == "" {
		parent = os.TempDir()
	} else if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "buildboxrun")
	if err != nil {
		return nil, err
	}
	t, err := staged(dir, func() error { return removeTree(dir) })
	if err != nil {
		return nil, err
	}
	p := &placer{client: r.Client, root: t.root, user: r.Options.RunAs}
	if err := errors.Join(t.root.Chmod(".", 0o755), p.give(".")); err != nil {
		return nil, errors.Join(err, t.release())
	}
	if err := p.place(ctx, r.InputRoot); err != nil {
		if errors.Is(err, cas.ErrNotFound) {
			err = &MissingError{What: "input root", Digest: r.InputRoot, Err: err}
		} else {
			err = fmt.Errorf("stage input root %v: %w", r.InputRoot, err)
		}
		return nil, errors.Join(err, t.release())
	}
	return t, nil
}

// placer puts a tree into a folder.
type placer struct {
	client *remote.Client
	root   *os.Root
	user   *User // whom it belongs to; nil changes nothing

	files       []placedFile
	directories []string
}

// A placedFile is one that has a place and no content yet.
type placedFile struct {
	path string
	node *repb.FileNode
	blob digest.Digest
}

// placedDirectory is a directory that has a place and no content yet.
type placedDirectory struct {
	path string
	blob digest.Digest
}

// place makes the directories, level by level, then the files in them.
func (p *placer) place(ctx context.Context, root digest.Digest) error {
	level := []placedDirectory{{".", root}}
	for len(level) > 0 {
		if len(p.directories)+len(level) > maxTreeDirectories {
			return inputErrorf("the input root has more than %d directories", maxTreeDirectories)
		}
		digests := make([]digest.Digest, len(level))
		for i, d := range level {
			digests[i] = d.blob
		}
		var next []placedDirectory
		for i, blob := range p.client.ReadBlobs(ctx, digests) {
			if blob.Err != nil {
				return fmt.Errorf("directory %v: %w", digests[i], blob.Err)
			}
			below, err := p.directory(level[i], blob.Value)
			if err != nil {
				return err
			}
			next = append(next, below...)
			p.directories = append(p.directories, level[i].path)
		}
		level = next
	}
	if err := p.fill(ctx); err != nil {
		return err
	}
	for _, dir := range p.directories {
		if err := p.root.Chtimes(dir, stagedTime, stagedTime); err != nil {
			return err
		}
	}
	return nil
}

// directory makes what is in a Directory, and returns the directories in it.
func (p *placer) directory(at placedDirectory, data []byte) (below []placedDirectory, err error) {
	message := new(repb.Directory)
	if err := proto.Unmarshal(data, message); err != nil {
		return nil, inputErrorf("decode directory %v: %s", at.blob, err)
	}
	// inside returns the path of a node.
	inside := func(name string) (string, error) {
		if name == "" || name == "." || name == ".." || len(name) > maxNameBytes || strings.ContainsAny(name, "/\x00") {
			return "", inputErrorf("directory %v: %.300q can't be the name of a file", at.blob, name)
		}
		return path.Join(at.path, name), nil
	}
	for _, node := range message.Directories {
		name, err := inside(node.Name)
		if err != nil {
			return nil, err
		}
		blob, err := digest.FromProto(node.Digest)
		if err != nil {
			return nil, fmt.Errorf("directory %v, node %q: %w", at.blob, node.Name, err)
		}
		if err := p.root.Mkdir(name, 0o755); err != nil {
			return nil, p.refused(name, err)
		}
		if err := p.give(name); err != nil {
			return nil, err
		}
		below = append(below, placedDirectory{name, blob})
	}
	for _, node := range message.Symlinks {
		name, err := inside(node.Name)
		if err != nil {
			return nil, err
		}
		if err := p.root.Symlink(node.Target, name); err != nil {
			return nil, p.refused(name, err)
		}
		if err := p.give(name); err != nil {
			return nil, err
		}
	}
	for _, node := range message.Files {
		name, err := inside(node.Name)
		if err != nil {
			return nil, err
		}
		blob, err := digest.FromProto(node.Digest)
		if err != nil {
			return nil, fmt.Errorf("directory %v, node %q: %w", at.blob, node.Name, err)
		}
		p.files = append(p.files, placedFile{name, node, blob})
	}
	return below, nil
}

// refused tells what is the client's fault from what is this machine's.
func (p *placer) refused(path string, err error) error {
	if errors.Is(err, os.ErrExist) || errors.Is(err, os.ErrInvalid) {
		return inputErrorf("input %q: %s", path, cause(err))
	}
	return fmt.Errorf("input %q: %w", path, cause(err))
}

func (p *placer) give(name string) error {
	return p.user.give(func(uid, gid int) error { return p.root.Lchown(name, uid, gid) })
}

// fill writes the files: small ones many at a time, large ones in pieces.
func (p *placer) fill(ctx context.Context) error {
	var batch []placedFile
	var size int64
	flush := func() error {
		digests := make([]digest.Digest, len(batch))
		for i, f := range batch {
			digests[i] = f.blob
		}
		for i, blob := range p.client.ReadBlobs(ctx, digests) {
			if blob.Err != nil {
				return fmt.Errorf("file %q: %w", batch[i].path, blob.Err)
			}
			if err := p.write(batch[i], func(w io.Writer) error { _, err := w.Write(blob.Value); return err }); err != nil {
				return err
			}
		}
		batch, size = batch[:0], 0
		return nil
	}
	for _, f := range p.files {
		if f.blob.SizeBytes > maxSmallLog {
			if err := p.write(f, func(w io.Writer) error { return copyBlob(ctx, p.client, f.blob, w) }); err != nil {
				return fmt.Errorf("file %q: %w", f.path, err)
			}
			continue
		}
		if size += f.blob.SizeBytes; size > maxSmallLog {
			if err := flush(); err != nil {
				return err
			}
			size = f.blob.SizeBytes
		}
		batch = append(batch, f)
	}
	return flush()
}

// write makes a file with its properties.
func (p *placer) write(f placedFile, content func(io.Writer) error) error {
	mode := os.FileMode(0o644)
	if f.node.IsExecutable {
		mode = 0o755
	}
	if m := f.node.NodeProperties.GetUnixMode(); m != nil {
		mode = os.FileMode(m.Value & 0o777)
	}
	file, err := p.root.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return p.refused(f.path, err)
	}
	err = content(file)
	if err == nil {
		err = p.user.give(file.Chown)
	}
	err = errors.Join(err, file.Chmod(mode), file.Close())
	if err != nil {
		return err
	}
	mtime := stagedTime
	if t := f.node.NodeProperties.GetMtime(); t.IsValid() {
		mtime = t.AsTime()
	}
	return p.root.Chtimes(f.path, mtime, mtime)
}

// copyBlob copies a blob, checked.
func copyBlob(ctx context.Context, client *remote.Client, d digest.Digest, w io.Writer) error {
	reader, err := client.Open(ctx, d, 0)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		piece, err := reader.Next(maxSmallLog)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
}

// removeTree removes a folder, in which the command may have locked itself out.
func removeTree(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, entry os.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700) // RemoveAll says what is left
		}
		return nil
	})
	return os.RemoveAll(dir)
}
