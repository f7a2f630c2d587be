package casd

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// cacheTime is how long the kernel may remember names and attributes: as long as
// a mount lives, since every change goes through the kernel.
const cacheTime time.Duration = 24 * time.Hour

// A fuseNode turns the kernel's requests about one inode into calls of the
// overlay. There may be several for one inode over time; go-fuse keeps one of
// them, by inode number.
type fuseNode struct {
	fs.Inode
	tree *overlay
	node *inode
}

var (
	_ fs.NodeLookuper   = (*fuseNode)(nil)
	_ fs.NodeReaddirer  = (*fuseNode)(nil)
	_ fs.NodeGetattrer  = (*fuseNode)(nil)
	_ fs.NodeSetattrer  = (*fuseNode)(nil)
	_ fs.NodeOpener     = (*fuseNode)(nil)
	_ fs.NodeCreater    = (*fuseNode)(nil)
	_ fs.NodeTmpfiler   = (*fuseNode)(nil)
	_ fs.NodeMkdirer    = (*fuseNode)(nil)
	_ fs.NodeMknoder    = (*fuseNode)(nil)
	_ fs.NodeSymlinker  = (*fuseNode)(nil)
	_ fs.NodeReadlinker = (*fuseNode)(nil)
	_ fs.NodeLinker     = (*fuseNode)(nil)
	_ fs.NodeUnlinker   = (*fuseNode)(nil)
	_ fs.NodeRmdirer    = (*fuseNode)(nil)
	_ fs.NodeRenamer    = (*fuseNode)(nil)
	_ fs.NodeStatfser   = (*fuseNode)(nil)
)

// found answers with an inode.
func (f *fuseNode) found(ctx context.Context, n *inode, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	st, errno := f.tree.stat(n)
	if errno != 0 {
		return nil, errno
	}
	fillAttr(&out.Attr, &st)
	child := &fuseNode{tree: f.tree, node: n}
	return f.NewInode(ctx, child, fs.StableAttr{Mode: n.kind, Ino: n.ino}), 0
}

func fillAttr(out *fuse.Attr, st *unix.Stat_t) {
	out.Ino, out.Mode, out.Nlink = st.Ino, st.Mode, uint32(st.Nlink)
	out.Size, out.Blocks = uint64(st.Size), uint64(st.Blocks)
	out.Uid, out.Gid = st.Uid, st.Gid
	out.Atime, out.Atimensec = uint64(st.Atim.Sec), uint32(st.Atim.Nsec)
	out.Mtime, out.Mtimensec = uint64(st.Mtim.Sec), uint32(st.Mtim.Nsec)
	out.Ctime, out.Ctimensec = uint64(st.Ctim.Sec), uint32(st.Ctim.Nsec)
}

func (f *fuseNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n := f.tree.lookup(f.node, name)
	if n == nil {
		return nil, syscall.ENOENT
	}
	return f.found(ctx, n, out)
}

// Readdir lists a directory, as it is now and whenever it is read from its beginning.
func (f *fuseNode) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	return &listing{dir: f, entries: f.dirEntries()}, 0
}

// dirEntries has . and .. too, which the kernel doesn't add: there are programs that expect
// them of getdents(2), or print them.
func (f *fuseNode) dirEntries() []fuse.DirEntry {
	entries := f.tree.list(f.node)
	all := make([]fuse.DirEntry, 0, 2+len(entries))
	all = append(all,
		fuse.DirEntry{Name: ".", Mode: unix.S_IFDIR, Ino: f.node.ino},
		fuse.DirEntry{Name: "..", Mode: unix.S_IFDIR, Ino: f.tree.above(f.node).ino})
	for _, e := range entries {
		all = append(all, fuse.DirEntry{Name: e.name, Mode: e.node.kind, Ino: e.node.ino})
	}
	return all
}

// A listing is a directory being read. An entry's offset is its number, from 1 on.
type listing struct {
	dir     *fuseNode
	entries []fuse.DirEntry
	next    int
}

var _ fs.FileSeekdirer = (*listing)(nil)

// HasNext implements fs.DirStream.
func (l *listing) HasNext() bool { return l.next < len(l.entries) }

// Next implements fs.DirStream.
func (l *listing) Next() (fuse.DirEntry, syscall.Errno) {
	e := l.entries[l.next]
	l.next++
	e.Off = uint64(l.next)
	return e, 0
}

// Seekdir goes on behind the entry of an offset, or from the beginning, which makes what has
// changed meanwhile appear: see rewinddir(3).
func (l *listing) Seekdir(_ context.Context, offset uint64) syscall.Errno {
	if offset == 0 {
		l.entries = l.dir.dirEntries()
	}
	if offset > uint64(len(l.entries)) {
		return syscall.EINVAL
	}
	l.next = int(offset)
	return 0
}

// Close implements fs.DirStream.
func (l *listing) Close() {}

func (f *fuseNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	st, errno := f.tree.stat(f.node)
	fillAttr(&out.Attr, &st)
	return errno
}

func (f *fuseNode) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	var c change
	if mode, ok := in.GetMode(); ok {
		c.mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		c.uid = &uid
	}
	if gid, ok := in.GetGID(); ok {
		c.gid = &gid
	}
	if size, ok := in.GetSize(); ok {
		length := int64(size)
		c.size = &length
	}
	if t, ok := in.GetATime(); ok {
		c.atime = &t
	}
	if t, ok := in.GetMTime(); ok {
		c.mtime = &t
	}
	if errno := f.tree.setattr(ctx, f.node, c); errno != 0 {
		return errno
	}
	return f.Getattr(ctx, h, out)
}

func (f *fuseNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	file, upper, errno := f.tree.open(ctx, f.node, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	h := newHandle(f.tree, f.node, file, upper)
	if !upper {
		return h, fuse.FOPEN_KEEP_CACHE, 0
	}
	return h, 0, 0
}

func (f *fuseNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return f.create(ctx, f.node, name, mode, out)
}

func (f *fuseNode) Tmpfile(ctx context.Context, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return f.create(ctx, nil, "", mode, out)
}

func (f *fuseNode) create(ctx context.Context, dir *inode, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	uid, gid := f.caller(ctx)
	n, file, errno := f.tree.create(dir, name, mode, uid, gid)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	h := newHandle(f.tree, n, file, true)
	node, errno := f.found(ctx, n, out)
	if errno != 0 {
		h.Release(ctx)
		return nil, nil, 0, errno
	}
	return node, h, 0, 0
}

// caller returns whose a new file is.
func (f *fuseNode) caller(ctx context.Context) (uid, gid uint32) {
	if c, ok := fuse.FromContext(ctx); ok {
		return c.Uid, c.Gid
	}
	return f.tree.uid, f.tree.gid
}

func (f *fuseNode) make(ctx context.Context, name string, kind, mode uint32, target string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	uid, gid := f.caller(ctx)
	n, errno := f.tree.make(f.node, name, kind, mode, uid, gid, target)
	if errno != 0 {
		return nil, errno
	}
	return f.found(ctx, n, out)
}

func (f *fuseNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return f.make(ctx, name, unix.S_IFDIR, mode, "", out)
}

func (f *fuseNode) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return f.make(ctx, name, unix.S_IFLNK, 0o777, target, out)
}

// Mknod makes files, FIFOs and sockets; devices are refused, as the mount does.
func (f *fuseNode) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	switch kind := mode & unix.S_IFMT; kind {
	case unix.S_IFIFO, unix.S_IFSOCK:
		return f.make(ctx, name, kind, mode, "", out)
	case unix.S_IFREG, 0:
		node, h, _, errno := f.create(ctx, f.node, name, mode, out)
		if errno == 0 {
			h.(*handle).Release(ctx)
		}
		return node, errno
	}
	return nil, syscall.EPERM
}

func (f *fuseNode) Readlink(context.Context) ([]byte, syscall.Errno) {
	return []byte(f.node.target), 0
}

func (f *fuseNode) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	other, ok := target.(*fuseNode)
	if !ok {
		return nil, syscall.EXDEV
	}
	if errno := f.tree.link(ctx, other.node, f.node, name); errno != 0 {
		return nil, errno
	}
	return f.found(ctx, other.node, out)
}

func (f *fuseNode) Unlink(_ context.Context, name string) syscall.Errno {
	return f.tree.unlink(f.node, name)
}

func (f *fuseNode) Rmdir(_ context.Context, name string) syscall.Errno {
	return f.tree.rmdir(f.node, name)
}

func (f *fuseNode) Rename(_ context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := newParent.(*fuseNode)
	if !ok {
		return syscall.EXDEV
	}
	return f.tree.rename(f.node, name, to.node, newName, flags)
}

// Statfs answers for the file system that takes what is written.
func (f *fuseNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	var st syscall.Statfs_t
	if err := syscall.Statfs(f.tree.scratch, &st); err != nil {
		return toErrno(err)
	}
	out.FromStatfsT(&st)
	return 0
}
