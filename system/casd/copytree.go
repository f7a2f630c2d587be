package casd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/digest"
)

// maxCopiedEntries bounds a tree that is written out: a snapshot of a few
// kilobytes can stand for a tree that no disk holds.
const maxCopiedEntries = 1 << 20

// An owner is for whom a tree is staged.
type owner struct {
	uid, gid int  // gid is -1 if it doesn't matter
	known    bool // the client said who it is
}

// foreign says that the owner isn't casd's own user.
func (o owner) foreign() bool { return o.known && o.uid != os.Geteuid() }

// canLink says whether files of the cache may be linked into a tree of the
// owner: only for somebody who can't write or chmod them there. Root can, and
// so can casd's own user.
func (o owner) canLink() bool { return o.foreign() && o.uid != 0 }

// A copier writes a snapshot out as real files: reflinks where the file system
// has them, hard links where that is safe, else copies.
type copier struct {
	snapshot *snapshot
	openBlob func(context.Context, digest.Digest) (*os.File, error)
	owner    owner

	noClone, noLink bool // found out on the way
	linked          int  // hard links made
}

// copy fills the empty directory at path.
func (c *copier) copy(ctx context.Context, path string) error {
	if c.snapshot.total.entries > maxCopiedEntries {
		return &badTreeError{Directory: c.snapshot.root,
			Reason: fmt.Sprintf("the tree has more than %d entries, too many to copy; FUSE staging has no such limit", maxCopiedEntries)}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	return c.fill(ctx, root, c.snapshot.dirs[c.snapshot.root])
}

// fill writes a directory, whose names have been checked, into root.
func (c *copier) fill(ctx context.Context, root *os.Root, dir *directory) error {
	handle, err := root.Open(".")
	if err != nil {
		return err
	}
	defer handle.Close()
	fd := int(handle.Fd())
	for i := range dir.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.file(ctx, root, fd, &dir.files[i]); err != nil {
			return err
		}
	}
	for _, link := range dir.links {
		if err := root.Symlink(link.target, link.name); err != nil {
			return err
		}
		if err := c.finish(fd, link.name, link.mtime); err != nil {
			return err
		}
	}
	for _, sub := range dir.dirs {
		if err := root.Mkdir(sub.name, 0o700); err != nil {
			return err
		}
		if err := c.below(ctx, root, sub); err != nil {
			return err
		}
	}
	// Last, because what came before changes the time and may need the right.
	if c.owner.known {
		if err := c.give(handle); err != nil {
			return err
		}
	}
	if err := handle.Chmod(fs.FileMode(c.dirMode(dir))); err != nil {
		return err
	}
	return setTimes("/proc/self/fd/"+strconv.Itoa(fd)+"/.", &dir.mtime, &dir.mtime)
}

func (c *copier) below(ctx context.Context, root *os.Root, sub directoryNode) error {
	inner, err := root.OpenRoot(sub.name)
	if err != nil {
		return err
	}
	defer inner.Close()
	return c.fill(ctx, inner, c.snapshot.dirs[sub.blob])
}

// dirMode lets the owner write, if need be by letting everybody.
func (c *copier) dirMode(dir *directory) uint32 {
	if c.owner.foreign() && os.Geteuid() != 0 {
		return 0o777
	}
	return dir.mode
}

func (c *copier) file(ctx context.Context, root *os.Root, dirfd int, f *fileNode) error {
	var from *os.File
	if f.blob.SizeBytes > 0 {
		var err error
		if from, err = c.openBlob(ctx, f.blob); err != nil {
			return err
		}
		defer from.Close()
	}
	if done, err := c.link(dirfd, f, from); done || err != nil {
		return err
	}
	to, err := root.OpenFile(f.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = c.write(to, from, f)
	err = firstError(err, to.Close())
	if err != nil {
		return fmt.Errorf("stage file %s: %w", f.name, err)
	}
	return c.finish(dirfd, f.name, f.mtime)
}

// write fills a new file and makes it its owner's.
func (c *copier) write(to, from *os.File, f *fileNode) error {
	if from != nil {
		err := errNotHere
		if !c.noClone {
			err = clone(to, from)
			c.noClone = errors.Is(err, errNotHere)
		}
		if errors.Is(err, errNotHere) {
			err = copyBytes(to, from, f.blob.SizeBytes)
		}
		if err != nil {
			return err
		}
	}
	if c.owner.known {
		if err := c.give(to); err != nil {
			return err
		}
	}
	return to.Chmod(fs.FileMode(f.mode))
}

// give makes a file the owner's, where casd may.
func (c *copier) give(file *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return file.Chown(c.owner.uid, c.owner.gid)
}

// link makes a hard link to the file of the cache, if that is safe, would look
// right, and cloning doesn't work. Such a file keeps the cache's time and mode
// (read-only). done says that the file stands.
func (c *copier) link(dirfd int, f *fileNode, from *os.File) (done bool, err error) {
	if !c.noClone || c.noLink || from == nil || !f.bare || !c.owner.canLink() {
		return false, nil
	}
	stat, err := from.Stat()
	if err != nil {
		return false, err
	}
	mode := uint32(stat.Mode().Perm())
	if mode&0o222 != 0 || mode&0o444 != 0o444 || (mode&0o111 != 0) != (f.mode&0o111 != 0) {
		return false, nil
	}
	source := "/proc/self/fd/" + strconv.Itoa(int(from.Fd()))
	err = unix.Linkat(unix.AT_FDCWD, source, dirfd, f.name, unix.AT_SYMLINK_FOLLOW)
	switch {
	case err == nil:
		c.linked++
		return true, nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP):
		c.noLink = true // another file system, or one without links
		return false, nil
	case errors.Is(err, unix.EMLINK), errors.Is(err, unix.ENOENT):
		return false, nil // this file has too many, or was evicted just now
	}
	return false, fmt.Errorf("link file %s: %w", f.name, err)
}

// finish sets the time of an entry, of a symbolic link its own.
func (c *copier) finish(dirfd int, name string, mtime time.Time) error {
	stamp := timespec(mtime)
	return unix.UtimesNanoAt(dirfd, name, []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW)
}
