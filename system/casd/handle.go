package casd

import (
	"context"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A handle is an open file of a mount: the cache's own file, for reading, or a
// scratch file. Where the kernel has FUSE passthrough it reads and writes the
// file itself and asks us only to open it.
//
// go-fuse's LoopbackFile does more, but would forward ioctl, by which an action
// could mark a file of the cache immutable.
type handle struct {
	tree  *overlay
	node  *inode
	file  *fs.LoopbackFile
	upper bool // a scratch file
	empty bool // stands for the empty blob, which has no file
}

var (
	_ fs.FileReader          = (*handle)(nil)
	_ fs.FileWriter          = (*handle)(nil)
	_ fs.FileReleaser        = (*handle)(nil)
	_ fs.FileFlusher         = (*handle)(nil)
	_ fs.FileFsyncer         = (*handle)(nil)
	_ fs.FileAllocater       = (*handle)(nil)
	_ fs.FileLseeker         = (*handle)(nil)
	_ fs.FilePassthroughFder = (*handle)(nil)
)

func newHandle(tree *overlay, n *inode, file *os.File, upper bool) *handle {
	empty := !upper && n.blob.SizeBytes == 0
	return &handle{tree: tree, node: n, file: fs.NewLoopbackFileFromOS(file), upper: upper, empty: empty}
}

// PassthroughFd implements fs.FilePassthroughFder. An inode has either scratch
// handles or handles of the cache in its whole life, see overlay.copyUp: else
// the kernel would write the file of the cache for a writer that came while a
// reader had it open.
func (h *handle) PassthroughFd() (int, bool) {
	if h.empty {
		return -1, false
	}
	return h.file.PassthroughFd()
}

func (h *handle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return h.file.Read(ctx, dest, off)
}

func (h *handle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if !h.upper {
		return 0, syscall.EBADF
	}
	return h.file.Write(ctx, data, off)
}

func (h *handle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if !h.upper {
		return syscall.EBADF
	}
	return h.file.Allocate(ctx, off, size, mode)
}

func (h *handle) Lseek(ctx context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	return h.file.Lseek(ctx, off, whence)
}

// Flush is sent at each close(2). ENOSYS makes the kernel stop asking.
func (h *handle) Flush(context.Context) syscall.Errno { return syscall.ENOSYS }

// Fsync does nothing: a tree doesn't outlive casd, let alone a power failure.
func (h *handle) Fsync(context.Context, uint32) syscall.Errno { return 0 }

func (h *handle) Release(ctx context.Context) syscall.Errno {
	errno := h.file.Release(ctx)
	if h.upper {
		h.tree.release(h.node)
	}
	return errno
}
