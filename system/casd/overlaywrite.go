package casd

import (
	"context"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// add puts a new inode in a directory; mu is held.
func (o *overlay) add(dir *inode, name string, n *inode) syscall.Errno {
	if dir.nlink == 0 {
		return syscall.ENOENT // the directory was removed while someone was in it
	}
	entries := o.entries(dir)
	if entries[name] != nil {
		return syscall.EEXIST
	}
	n.parent, n.name = dir, name
	entries[name] = n
	dir.changed()
	return 0
}

func (n *inode) changed() {
	now := time.Now()
	n.mtime, n.ctime = now, now
}

// make creates a directory, symbolic link, FIFO or socket.
func (o *overlay) make(dir *inode, name string, kind, mode, uid, gid uint32, target string) (*inode, syscall.Errno) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.newInode(kind, mode&0o7777, time.Now())
	n.uid, n.gid, n.target = uid, gid, target
	if kind == unix.S_IFDIR {
		n.children = make(map[string]*inode)
	}
	return n, o.add(dir, name, n)
}

// create makes a file and opens it; dir is nil for one without a name. The
// caller calls release when it has closed the file.
func (o *overlay) create(dir *inode, name string, mode, uid, gid uint32) (*inode, *os.File, syscall.Errno) {
	o.mu.Lock()
	defer o.mu.Unlock()
	path, file, err := o.newScratch()
	if err != nil {
		return nil, nil, toErrno(err)
	}
	n := o.newInode(unix.S_IFREG, mode&0o7777, time.Now())
	n.uid, n.gid, n.scratch, n.opens = uid, gid, path, 1
	if dir == nil {
		n.nlink = 0
		return n, file, 0
	}
	if errno := o.add(dir, name, n); errno != 0 {
		file.Close()
		os.Remove(path)
		return nil, nil, errno
	}
	return n, file, 0
}

// open opens the content of a file. upper says that it is a scratch file, which
// release must be called for.
func (o *overlay) open(ctx context.Context, n *inode, flags uint32) (file *os.File, upper bool, errno syscall.Errno) {
	write := flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
	if write {
		limit := int64(-1)
		if flags&unix.O_TRUNC != 0 {
			limit = 0
		}
		if errno := o.copyUp(ctx, n, limit); errno != 0 {
			return nil, false, errno
		}
	}
	o.mu.Lock()
	if n.cached {
		n.readFromCache = true
		blob := n.blob
		o.mu.Unlock()
		if blob.SizeBytes == 0 {
			file, err := os.Open(os.DevNull)
			return file, false, toErrno(err)
		}
		file, err := o.openBlob(ctx, blob)
		return file, false, toErrno(err)
	}
	defer o.mu.Unlock()
	// For writing too, whatever the flags: all handles of an inode share the
	// file that the first of them gave the kernel.
	file, err := os.OpenFile(n.scratch, os.O_RDWR, 0)
	if err == nil && flags&unix.O_TRUNC != 0 {
		err = file.Truncate(0)
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, false, toErrno(err)
	}
	n.opens++
	return file, true, 0
}

// release says that a handle on a scratch file is closed.
func (o *overlay) release(n *inode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n.opens--
	o.dropContent(n)
}

// dropContent deletes a scratch file that nothing leads to; mu is held.
func (o *overlay) dropContent(n *inode) {
	if n.nlink == 0 && n.opens == 0 && n.scratch != "" {
		os.Remove(n.scratch)
	}
}

// link gives a file another name.
func (o *overlay) link(ctx context.Context, n, dir *inode, name string) syscall.Errno {
	// A file with two names must not change identity, so it can't be the cache's.
	if errno := o.copyUp(ctx, n, -1); errno != 0 {
		return errno
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if errno := o.add(dir, name, n); errno != 0 {
		return errno
	}
	n.nlink++
	n.ctime = time.Now()
	return 0
}

// unlink removes a name of anything but a directory.
func (o *overlay) unlink(dir *inode, name string) syscall.Errno {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.entries(dir)[name]
	if n == nil {
		return syscall.ENOENT
	}
	o.removeName(dir, name, n)
	return 0
}

func (o *overlay) rmdir(dir *inode, name string) syscall.Errno {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.entries(dir)[name]
	if n == nil {
		return syscall.ENOENT
	}
	if len(o.entries(n)) > 0 {
		return syscall.ENOTEMPTY
	}
	o.removeName(dir, name, n)
	return 0
}

// removeName takes a name away from what it names; mu is held.
func (o *overlay) removeName(dir *inode, name string, n *inode) {
	delete(dir.children, name)
	dir.changed()
	n.nlink--
	n.ctime = time.Now()
	o.dropContent(n)
}

// rename moves an entry. The kernel has checked that types match and that no
// directory goes into itself.
func (o *overlay) rename(from *inode, name string, to *inode, newName string, flags uint32) syscall.Errno {
	o.mu.Lock()
	defer o.mu.Unlock()
	sources, targets := o.entries(from), o.entries(to)
	n, there := sources[name], targets[newName]
	if n == nil {
		return syscall.ENOENT
	}
	if flags&unix.RENAME_EXCHANGE != 0 {
		if there == nil {
			return syscall.ENOENT
		}
		sources[name], there.parent, there.name = there, from, name
	} else {
		switch {
		case there == n:
			return 0 // two names of one file: POSIX says to do nothing
		case there != nil && flags&unix.RENAME_NOREPLACE != 0:
			return syscall.EEXIST
		case there != nil && there.kind == unix.S_IFDIR && len(o.entries(there)) > 0:
			return syscall.ENOTEMPTY
		case there != nil:
			o.removeName(to, newName, there)
		case to.nlink == 0:
			return syscall.ENOENT
		}
		delete(sources, name)
	}
	targets[newName], n.parent, n.name = n, to, newName
	n.ctime = time.Now()
	from.changed()
	to.changed()
	return 0
}

// A change is what setattr changes; nil fields stay as they are.
type change struct {
	mode, uid, gid *uint32
	size           *int64
	atime, mtime   *time.Time
}

// setattr changes attributes, and the length of a file.
func (o *overlay) setattr(ctx context.Context, n *inode, c change) syscall.Errno {
	if c.size != nil {
		if errno := o.copyUp(ctx, n, *c.size); errno != 0 {
			return errno
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n.ctime = time.Now()
	if c.mode != nil {
		n.mode = *c.mode & 0o7777
	}
	if c.uid != nil {
		n.uid = *c.uid
	}
	if c.gid != nil {
		n.gid = *c.gid
	}
	upper := n.kind == unix.S_IFREG && !n.cached
	if c.size != nil && upper {
		if err := os.Truncate(n.scratch, *c.size); err != nil {
			return toErrno(err)
		}
	}
	if c.atime != nil {
		n.atime = *c.atime
	}
	if c.mtime != nil {
		n.mtime = *c.mtime
	}
	if upper && (c.atime != nil || c.mtime != nil) {
		return toErrno(setTimes(n.scratch, c.atime, c.mtime))
	}
	return 0
}

// setTimes sets those times of a file that aren't nil.
func setTimes(path string, atime, mtime *time.Time) error {
	stamp := func(t *time.Time) unix.Timespec {
		if t == nil {
			return unix.Timespec{Nsec: unix.UTIME_OMIT}
		}
		return timespec(*t)
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{stamp(atime), stamp(mtime)}, unix.AT_SYMLINK_NOFOLLOW)
}
