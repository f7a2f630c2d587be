package casd

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/digest"
)

// An overlay is a tree that can be written over a snapshot that can't. Names,
// modes and symbolic links live in memory; the content of a file is a blob in
// the cache until somebody writes it, then a file in the scratch folder.
//
// It knows nothing of FUSE: the fuseNodes turn the kernel's requests into calls
// of it, and capture reads it directly, without going through the mount.
//
// Like overlayfs, it lets a file that was open for reading when its first writer
// came keep the old content.
type overlay struct {
	snapshot *snapshot
	// openBlob opens the file of a blob in the cache, fetching it first if need be.
	openBlob func(context.Context, digest.Digest) (*os.File, error)
	scratch  string // folder of the contents written, the overlay's own
	uid, gid uint32 // owner of what the snapshot holds
	// dev and path are of the mount; set before the tree is known to others.
	dev  uint64
	path string

	// mu guards the fields below and those of every inode.
	mu          sync.Mutex
	nextIno     uint64
	nextScratch uint64
	root        *inode
}

// An inode is a file, directory, symbolic link or special file of an overlay.
type inode struct {
	ino  uint64
	kind uint32 // S_IFREG, S_IFDIR, …; never changes

	mode                uint32 // permissions
	uid, gid            uint32
	atime, mtime, ctime time.Time
	nlink               uint32

	// parent and name say where a directory, or a file still in the cache, is. A
	// file of the cache has one name: a second one makes it a scratch file.
	parent *inode
	name   string

	// Directories: source until somebody looks inside, children from then on.
	source   *directory
	children map[string]*inode

	// Files: cached says that the content is blob, else it is in scratch.
	cached  bool
	blob    digest.Digest
	scratch string // path
	opens   int    // handles on the scratch file
	// readFromCache says that the kernel may read the cache's own file through
	// this inode without asking us. Such an inode never becomes writable:
	// copyUp gives the name to another.
	readFromCache bool

	target string // of a symbolic link
}

func newOverlay(s *snapshot, scratch string, uid, gid uint32, openBlob func(context.Context, digest.Digest) (*os.File, error)) *overlay {
	o := &overlay{snapshot: s, scratch: scratch, uid: uid, gid: gid, openBlob: openBlob}
	dir := s.dirs[s.root]
	o.root = o.newInode(unix.S_IFDIR, dir.mode, dir.mtime)
	o.root.source = dir
	return o
}

// newInode returns an inode with a name; mu is held, or the overlay is new.
func (o *overlay) newInode(kind, mode uint32, mtime time.Time) *inode {
	o.nextIno++
	return &inode{ino: o.nextIno, kind: kind, mode: mode, uid: o.uid, gid: o.gid, atime: mtime, mtime: mtime, ctime: mtime, nlink: 1}
}

// entries returns what is in a directory; mu is held.
func (o *overlay) entries(dir *inode) map[string]*inode {
	source := dir.source
	if source == nil {
		return dir.children
	}
	dir.source = nil
	dir.children = make(map[string]*inode, len(source.files)+len(source.dirs)+len(source.links))
	add := func(name string, child *inode) {
		child.parent, child.name = dir, name
		dir.children[name] = child
	}
	for _, f := range source.files {
		child := o.newInode(unix.S_IFREG, f.mode, f.mtime)
		child.cached, child.blob = true, f.blob
		add(f.name, child)
	}
	for _, d := range source.dirs {
		sub := o.snapshot.dirs[d.blob]
		child := o.newInode(unix.S_IFDIR, sub.mode, sub.mtime)
		child.source = sub
		add(d.name, child)
	}
	for _, l := range source.links {
		child := o.newInode(unix.S_IFLNK, 0o777, l.mtime)
		child.target = l.target
		add(l.name, child)
	}
	return dir.children
}

// lookup returns the entry of a directory, or nil.
func (o *overlay) lookup(dir *inode, name string) *inode {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.entries(dir)[name]
}

// A dirent is a name and what it names.
type dirent struct {
	name string
	node *inode
}

// list returns what is in a directory, by name.
func (o *overlay) list(dir *inode) []dirent {
	o.mu.Lock()
	defer o.mu.Unlock()
	entries := o.entries(dir)
	all := make([]dirent, 0, len(entries))
	for name, node := range entries {
		all = append(all, dirent{name, node})
	}
	slices.SortFunc(all, func(a, b dirent) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all
}

// above returns the directory that a directory is in; of the root, itself.
func (o *overlay) above(dir *inode) *inode {
	o.mu.Lock()
	defer o.mu.Unlock()
	if dir.parent == nil {
		return dir
	}
	return dir.parent
}

// inside returns where below the root a directory is; mu is held.
func (o *overlay) inside(dir *inode) string {
	path := ""
	for ; dir.parent != nil; dir = dir.parent {
		path = filepath.Join(dir.name, path)
	}
	return path
}

// stat returns the attributes of an inode. Size and times of a scratch file are
// the file's, which the kernel may be writing without telling us.
func (o *overlay) stat(n *inode) (unix.Stat_t, syscall.Errno) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.statLocked(n)
}

func (o *overlay) statLocked(n *inode) (unix.Stat_t, syscall.Errno) {
	var st unix.Stat_t
	switch {
	case n.kind != unix.S_IFREG:
		st.Size = int64(len(n.target))
	case n.cached:
		st.Size = n.blob.SizeBytes
	default:
		if err := unix.Lstat(n.scratch, &st); err != nil {
			return st, toErrno(err)
		}
	}
	if n.kind != unix.S_IFREG || n.cached {
		st.Blocks = (st.Size + 511) / 512
		st.Atim, st.Mtim = timespec(n.atime), timespec(n.mtime)
	}
	if ctime := timespec(n.ctime); ctime.Nano() > st.Ctim.Nano() {
		st.Ctim = ctime
	}
	st.Ino, st.Mode = n.ino, n.kind|n.mode
	assign(&st.Nlink, n.nlink)
	st.Uid, st.Gid = n.uid, n.gid
	return st, 0
}

// assign sets a field that is as wide as the processor's kernel has it.
func assign[T uint32 | uint64](field *T, value uint32) { *field = T(value) }

// newScratch makes an empty scratch file; mu is held.
func (o *overlay) newScratch() (string, *os.File, error) {
	o.nextScratch++
	path := filepath.Join(o.scratch, strconv.FormatUint(o.nextScratch, 10))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	return path, file, err
}

// copyUp gives a file of the cache a scratch file of its own, with its first
// limit bytes, all of them if limit is negative. It returns ESTALE if the name
// stands for another inode now: the kernel then looks the name up again and
// repeats what it was doing, see the path-walk retry in Linux' fs/namei.c.
func (o *overlay) copyUp(ctx context.Context, n *inode, limit int64) syscall.Errno {
	o.mu.Lock()
	if !n.cached {
		o.mu.Unlock()
		return 0
	}
	path, file, err := o.newScratch()
	o.mu.Unlock()
	if err == nil {
		err = o.copyBlob(ctx, file, n.blob, limit)
	}
	if file != nil {
		err = firstError(err, file.Close())
	}
	if err != nil {
		os.Remove(path)
		return toErrno(err)
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	stale := n.readFromCache
	if !n.cached || stale && n.nlink == 0 {
		// Another writer was faster, or there is no name left to give away.
		os.Remove(path)
		if stale {
			return syscall.ESTALE
		}
		return 0
	}
	if err := os.Chtimes(path, n.atime, n.mtime); err != nil {
		os.Remove(path)
		return toErrno(err)
	}
	if !stale {
		n.cached, n.scratch = false, path
		return 0
	}
	o.nextIno++
	fresh := *n
	fresh.ino, fresh.cached, fresh.readFromCache, fresh.scratch = o.nextIno, false, false, path
	n.parent.children[n.name] = &fresh
	n.parent, n.nlink = nil, 0
	return syscall.ESTALE
}

func (o *overlay) copyBlob(ctx context.Context, to *os.File, blob digest.Digest, limit int64) error {
	if blob == digest.Empty || limit == 0 {
		return nil
	}
	from, err := o.openBlob(ctx, blob)
	if err != nil {
		return err
	}
	defer from.Close()
	if limit < 0 || limit >= blob.SizeBytes {
		return cloneOrCopy(to, from, blob.SizeBytes)
	}
	return copyBytes(to, from, limit)
}

func timespec(t time.Time) unix.Timespec { return unix.NsecToTimespec(t.UnixNano()) }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
