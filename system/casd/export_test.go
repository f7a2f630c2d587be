package casd

import (
	"fmt"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// NoteOf is the note that tells of a directory where the client placed a tree.
func NoteOf(path string) (string, error) {
	id, err := identity(path)
	return fmt.Sprintf("%s true\n%s", id, path), err
}

// CountRequests counts what the kernel asks of mounts made from now on, of files that
// are looked up, opened, read and closed.
func (s *Server) CountRequests(n *atomic.Int64) {
	s.stager.mounting.watch = func(raw fuse.RawFileSystem) fuse.RawFileSystem { return &counted{raw, n} }
}

// counted is a file system that counts requests.
type counted struct {
	fuse.RawFileSystem
	n *atomic.Int64
}

func (c *counted) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	c.n.Add(1)
	return c.RawFileSystem.Lookup(cancel, header, name, out)
}

func (c *counted) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	c.n.Add(1)
	return c.RawFileSystem.GetAttr(cancel, in, out)
}

func (c *counted) Access(cancel <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	c.n.Add(1)
	return c.RawFileSystem.Access(cancel, in)
}

func (c *counted) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	c.n.Add(1)
	return c.RawFileSystem.Open(cancel, in, out)
}

func (c *counted) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	c.n.Add(1)
	return c.RawFileSystem.Read(cancel, in, buf)
}

func (c *counted) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	c.n.Add(1)
	return c.RawFileSystem.Flush(cancel, in)
}

func (c *counted) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	c.n.Add(1)
	c.RawFileSystem.Release(cancel, in)
}
