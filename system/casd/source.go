package casd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/digest"
)

// An item is a file, directory or symbolic link to capture, wherever it is.
type item struct {
	kind   fs.FileMode // type bits
	mode   uint32      // permissions
	mtime  time.Time
	target string // of a symbolic link
	id     fileID // of a socket, and of a directory on disk

	// tree is the mount of ours that it is read from, beneath; inside is where there a
	// directory is.
	tree   *overlay
	inside string

	// blob is the digest of a file that is known to be unchanged since it came
	// from the cache; else open opens the file, for the caller to close. A file in a
	// directory on disk has its mode and mtime from then on.
	known bool
	blob  digest.Digest
	open  func(*item) (*os.File, error)

	// list calls do for each entry of a directory, by name. What is passed to do
	// is good until do returns.
	list func(do func(name string, entry item) error) error

	// names are those of a file, or of what is below a directory: nil for what is below the
	// path of a request, in a mount, or at the end of a link.
	names *names
}

// names are what can be taken away where files are given away.
type names struct {
	root *os.Root
	path string // below root: as the client has it, for what .. behind a link means
}

// at is a path below, "." for what names itself.
func (n *names) at(below string) string {
	if below == "." {
		return n.path
	}
	return n.path + "/" + below
}

// remove removes a file below.
func (n *names) remove(below string) error { return n.root.Remove(n.at(below)) }

// mayRemove tells whether this process may remove a file below, of its own.
func (n *names) mayRemove(below string) bool {
	dir := "."
	if path := n.at(below); strings.Contains(path, "/") {
		dir = path[:strings.LastIndexByte(path, '/')]
	}
	handle, err := n.root.Open(dir)
	if err != nil {
		return false
	}
	defer handle.Close()
	return unix.Faccessat(int(handle.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}

// escapes is the error for a path that leads out of where it may lead.
func escapes(path, root string) error {
	return &inputError{fmt.Sprintf("path %q leads out of %q", path, root)}
}

// leadsOut is escapes where the client shall not learn what it is kept in.
func leadsOut(path string) error {
	return &inputError{fmt.Sprintf("path %q leads out of the directory it is below", path)}
}

// diskItem calls use with what is at a path below the last of bounds, which lie
// inside each other. A path may lead through symbolic links, but not out of where it
// begins, and the same holds for each bound but the first.
func diskItem(bounds []string, path string, use func(item) error) error {
	var more []string
	for i, bound := range bounds[1:] {
		rel, err := filepath.Rel(bounds[i], bound)
		if err != nil {
			return err
		}
		more = append(more, rel)
	}
	r, err := openBelow(bounds[0], more...)
	if err != nil {
		return err
	}
	defer r.Close()
	stat, err := r.Stat(path)
	if err != nil {
		return confined(err, path)
	}
	it := fileItem(r, path, stat)
	// Of what a link leads to, the link isn't the name.
	if named, err := r.Lstat(path); err == nil && os.SameFile(named, stat) {
		it.names = &names{r, path}
	}
	return use(it)
}

// confined turns the error that os.Root has for an escape, the only one that
// doesn't come from the kernel, into ours.
func confined(err error, path string) error {
	var errno syscall.Errno
	if err == nil || errors.As(err, &errno) {
		return err
	}
	return leadsOut(path)
}

// fileItem returns what a path below r names.
func fileItem(r *os.Root, path string, stat fs.FileInfo) item {
	it := unseenItem(r, path, stat.Mode().Type())
	it.mode, it.mtime = uint32(stat.Mode().Perm()), stat.ModTime()
	if st, ok := stat.Sys().(*syscall.Stat_t); ok && (it.kind == fs.ModeSocket || it.kind == fs.ModeDir) {
		it.id = fileID{st.Dev, st.Ino}
	}
	return it
}

// unseenItem returns what a path below r names, of which only the kind is known.
func unseenItem(r *os.Root, path string, kind fs.FileMode) item {
	return item{
		kind: kind,
		open: func(it *item) (*os.File, error) { return openRegular(r, path, it) },
		list: func(do func(string, item) error) error { return listDisk(r, path, do) },
	}
}

// openRegular opens a file and completes the item. It doesn't block: what was a file a
// moment ago may be a FIFO now.
func openRegular(r *os.Root, path string, it *item) (*os.File, error) {
	file, err := r.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	stat, err := file.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = notCapturable(stat.Mode())
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	it.mode, it.mtime = uint32(stat.Mode().Perm()), stat.ModTime()
	return file, nil
}

func listDisk(r *os.Root, path string, do func(string, item) error) error {
	inner, err := r.OpenRoot(path)
	if err != nil {
		return err
	}
	defer inner.Close()
	handle, err := inner.Open(".")
	if err != nil {
		return err
	}
	entries, err := handle.ReadDir(-1)
	handle.Close()
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, entry := range entries {
		name := entry.Name()
		if entry.Type().IsRegular() {
			// Opening it will tell the rest.
			if err := do(name, unseenItem(inner, name, 0)); err != nil {
				return err
			}
			continue
		}
		stat, err := inner.Lstat(name)
		if err != nil {
			return err
		}
		it := fileItem(inner, name, stat)
		if it.kind == fs.ModeSymlink {
			if it.target, err = inner.Readlink(name); err != nil {
				return err
			}
		}
		if err := do(name, it); err != nil {
			return err
		}
	}
	return nil
}

// maxLinks is how many symbolic links a path may lead through, as in Linux.
const maxLinks = 40

// item returns what is at the end of some paths, each of which begins where the one
// before ends, and may lead through symbolic links, but not out of where it begins. It
// doesn't go through the mount.
func (o *overlay) item(ctx context.Context, steps ...string) (item, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	here := o.root
	for _, step := range steps {
		trail, err := o.walk([]*inode{here}, step)
		if err != nil {
			return item{}, err
		}
		here = trail[len(trail)-1]
	}
	return o.itemOf(ctx, here)
}

// walk follows path from the last directory of trail, which it can't leave by
// the first, and returns the way to where it ends. mu is held.
func (o *overlay) walk(trail []*inode, path string) ([]*inode, error) {
	trail = slices.Clone(trail)
	rest := strings.Split(path, "/")
	links := 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		here := trail[len(trail)-1]
		if name == "" || name == "." {
			continue
		}
		if here.kind != unix.S_IFDIR {
			return nil, &fs.PathError{Op: "walk", Path: path, Err: syscall.ENOTDIR}
		}
		if name == ".." {
			if len(trail) == 1 {
				return nil, leadsOut(path)
			}
			trail = trail[:len(trail)-1]
			continue
		}
		next := o.entries(here)[name]
		switch {
		case next == nil:
			return nil, &fs.PathError{Op: "walk", Path: path, Err: syscall.ENOENT}
		case next.kind != unix.S_IFLNK:
			trail = append(trail, next)
		case strings.HasPrefix(next.target, "/"):
			return nil, leadsOut(path)
		default:
			if links++; links > maxLinks {
				return nil, &fs.PathError{Op: "walk", Path: path, Err: syscall.ELOOP}
			}
			rest = append(strings.Split(next.target, "/"), rest...)
		}
	}
	return trail, nil
}

// itemOf describes an inode; mu is held.
func (o *overlay) itemOf(ctx context.Context, n *inode) (item, error) {
	st, errno := o.statLocked(n)
	if errno != 0 {
		return item{}, errno
	}
	it := item{mode: n.mode & 0o777, mtime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec), target: n.target, tree: o}
	switch n.kind {
	case unix.S_IFDIR:
		it.kind, it.inside = fs.ModeDir, o.inside(n)
		it.list = func(do func(string, item) error) error { return o.listItems(ctx, n, do) }
	case unix.S_IFLNK:
		it.kind = fs.ModeSymlink
	case unix.S_IFREG:
		it.known, it.blob = n.cached, n.blob
		path := n.scratch
		it.open = func(*item) (*os.File, error) { return os.Open(path) }
	case unix.S_IFSOCK:
		it.kind, it.id = fs.ModeSocket, fileID{o.dev, n.ino}
	default:
		it.kind = fs.ModeNamedPipe
	}
	return it, nil
}

func (o *overlay) listItems(ctx context.Context, n *inode, do func(string, item) error) error {
	for _, e := range o.list(n) {
		if err := ctx.Err(); err != nil {
			return err
		}
		o.mu.Lock()
		it, err := o.itemOf(ctx, e.node)
		o.mu.Unlock()
		if err != nil {
			return err
		}
		if err := do(e.name, it); err != nil {
			return err
		}
	}
	return nil
}
