package casd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/system/digest"
)

// maxCapturedEntries bounds a captured tree: its Tree message, which is built in
// memory, takes about 100 bytes an entry.
const maxCapturedEntries = 1 << 20

// A capturedTree is a directory and all below it as messages, each once.
type capturedTree struct {
	root     *repb.Directory
	rootBlob digest.Digest
	children []*repb.Directory // in the order in which they were first met
	data     map[digest.Digest][]byte
}

// A branch is a directory of a tree that is being captured: its message lacks the
// digests of files, which others may still be hashing, and the directories.
type branch struct {
	parent  *branch // nil for the root
	name    string
	message *repb.Directory
	files   []*leaf // of message.Files, one each
	dirs    []*branch
	// names are the root's if files are given away, else nil; removable says that those in
	// this directory can be taken away.
	names     *names
	removable bool
}

// A leaf is a file, and what it holds once it is stored.
type leaf struct {
	name    string
	blob    digest.Digest
	adopted bool // by the cache, so that its name is to go
}

// path returns where below the root b's entry is.
func (b *branch) path(name string) string {
	for ; b.parent != nil; b = b.parent {
		name = b.name + "/" + name
	}
	return name
}

// wrong says of an error of b's entry where in the tree that is, unless it says so itself.
func (b *branch) wrong(name string, err error) error {
	if located := (*entryError)(nil); errors.As(err, &located) {
		return err
	}
	return &entryError{b.path(name), err}
}

// An entryError says where in a tree something is wrong.
type entryError struct {
	path string
	err  error
}

func (e *entryError) Error() string { return e.path + ": " + e.err.Error() }

func (e *entryError) Unwrap() error { return e.err }

// tree stores the files of a directory and describes it: it walks while others hash.
func (c *capture) tree(ctx context.Context, it item) (*capturedTree, error) {
	group, storing := errgroup.WithContext(ctx)
	group.SetLimit(captureWorkers)
	root := &branch{}
	if c.move {
		root.names = it.names
	}
	walked := c.walk(storing, group, it, root, 1)
	// A file that couldn't be stored is why the walk was stopped.
	if err := firstError(group.Wait(), walked); err != nil {
		return nil, err
	}
	t := &capturedTree{root: root.message, data: make(map[digest.Digest][]byte)}
	if err := c.assemble(t, root); err != nil {
		return nil, err
	}
	var err error
	if t.rootBlob, _, err = t.add(t.root); err != nil {
		return nil, err
	}
	return t, discardAdopted(root.names, root)
}

// discardAdopted takes away the names of files that are the cache's now.
func discardAdopted(of *names, b *branch) error {
	for _, file := range b.files {
		if !file.adopted {
			continue
		}
		if err := of.remove(b.path(file.name)); err != nil {
			return b.wrong(file.name, err)
		}
	}
	for _, sub := range b.dirs {
		if err := discardAdopted(of, sub); err != nil {
			return err
		}
	}
	return nil
}

// walk describes a directory in REAPI's canonical form, entries by name, and has its
// files stored by the group.
func (c *capture) walk(ctx context.Context, group *errgroup.Group, it item, b *branch, depth int) error {
	if depth > maxDepth {
		return &inputError{fmt.Sprintf("the tree is deeper than %d directories", maxDepth)}
	}
	b.message = &repb.Directory{NodeProperties: c.record.of(it)}
	b.removable = b.names != nil && b.names.mayRemove(b.path("file"))
	return it.list(func(name string, entry item) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if entry.kind == fs.ModeSocket && c.owns(entry) {
			return nil
		}
		if c.entries++; c.entries > maxCapturedEntries {
			return &inputError{fmt.Sprintf("the tree has more than %d entries", maxCapturedEntries)}
		}
		return c.entry(ctx, group, name, entry, b, depth)
	})
}

func (c *capture) entry(ctx context.Context, group *errgroup.Group, name string, it item, b *branch, depth int) error {
	switch it.kind {
	case fs.ModeDir:
		sub := &branch{parent: b, name: name}
		if it.tree == nil {
			sub.names = b.names
		}
		b.dirs = append(b.dirs, sub)
		if err := c.walk(ctx, group, it, sub, depth+1); err != nil {
			return b.wrong(name, err)
		}
	case fs.ModeSymlink:
		b.message.Symlinks = append(b.message.Symlinks, &repb.SymlinkNode{Name: name, Target: it.target, NodeProperties: c.record.of(it)})
	case 0:
		file := &leaf{name: name, blob: it.blob}
		if !it.known {
			if err := c.storeLeaf(ctx, group, &it, file, b); err != nil {
				return b.wrong(name, err)
			}
		}
		b.files = append(b.files, file)
		b.message.Files = append(b.message.Files, &repb.FileNode{
			Name: name, IsExecutable: it.mode&0o100 != 0, NodeProperties: c.record.of(it),
		})
	default:
		return b.wrong(name, notCapturable(it.kind))
	}
	return nil
}

// storeLeaf opens a file and has the group store it.
func (c *capture) storeLeaf(ctx context.Context, group *errgroup.Group, it *item, file *leaf, b *branch) error {
	opened, err := it.open(it)
	if err != nil {
		return err
	}
	group.Go(func() error {
		defer opened.Close()
		var err error
		if file.blob, file.adopted, err = c.take(ctx, opened, b.removable); err != nil {
			return b.wrong(file.name, err)
		}
		return nil
	})
	return nil
}

// assemble completes the message of a branch whose files are stored, and adds those
// below it to the tree.
func (c *capture) assemble(t *capturedTree, b *branch) error {
	for i, file := range b.files {
		b.message.Files[i].Digest = file.blob.Proto()
		c.blobs = append(c.blobs, file.blob)
	}
	for _, sub := range b.dirs {
		if err := c.assemble(t, sub); err != nil {
			return err
		}
		d, isNew, err := t.add(sub.message)
		if err != nil {
			return err
		}
		if isNew {
			t.children = append(t.children, sub.message)
		}
		b.message.Directories = append(b.message.Directories, &repb.DirectoryNode{Name: sub.name, Digest: d.Proto()})
	}
	return nil
}

// add gives a tree the blob of one of its directories, once.
func (t *capturedTree) add(message *repb.Directory) (d digest.Digest, isNew bool, err error) {
	data, d, err := digest.OfMessage(message)
	if err != nil {
		return d, false, err
	}
	if _, there := t.data[d]; there {
		return d, false, nil
	}
	t.data[d] = data
	return d, true, nil
}
