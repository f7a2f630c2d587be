package casd

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-build/weir/system/digest"
)

// recorded says which properties of files a capture keeps. Names it doesn't know
// are ignored, as REAPI asks.
type recorded struct {
	mtime, unixMode bool
	mask            uint32 // of unix_mode
}

func recordedOf(names []string, mask *wrapperspb.UInt32Value) recorded {
	r := recorded{mask: 0o7777}
	if mask != nil {
		r.mask = mask.Value
	}
	r.mtime, r.unixMode = slices.Contains(names, "mtime"), slices.Contains(names, "unix_mode")
	return r
}

// of returns the properties of an item, nil if none are asked for.
func (r recorded) of(it item) *repb.NodeProperties {
	if !r.mtime && !r.unixMode {
		return nil
	}
	p := new(repb.NodeProperties)
	if r.mtime {
		p.Mtime = timestamppb.New(it.mtime)
	}
	if r.unixMode && it.kind != fs.ModeSymlink {
		p.UnixMode = wrapperspb.UInt32(it.mode & r.mask)
	}
	return p
}

// captureWorkers is how many files one call reads and hashes at a time: as many as keep
// two to four cores busy, while one waits for its disk.
const captureWorkers = 4

// A capture stores files and directories in the local cache and remembers what
// was stored, for the upload.
type capture struct {
	store  *readThrough
	record recorded
	// owns says whether a socket is casd's own, which is no output of anybody.
	owns func(item) bool
	// move says that the client has no more use for the files: those that can be
	// become the cache's own and lose their names.
	move bool
	// uploading is told of small blobs that are perhaps to be sent, while they are in
	// memory; nil if nothing is.
	uploading func(digest.Digest, []byte)

	entries int
	blobs   []digest.Digest
}

// file stores the content of a file.
func (c *capture) file(ctx context.Context, it *item) (digest.Digest, error) {
	d := it.blob
	if !it.known {
		file, err := it.open(it)
		if err != nil {
			return digest.Digest{}, err
		}
		defer file.Close()
		var adopted bool
		if d, adopted, err = c.take(ctx, file, c.move && it.names != nil && it.names.mayRemove(".")); err != nil {
			return digest.Digest{}, err
		}
		if adopted {
			if err := it.names.remove("."); err != nil {
				return digest.Digest{}, err
			}
		}
	}
	c.blobs = append(c.blobs, d)
	return d, nil
}

// take stores an open file, which may become the cache's own if its name can be taken
// away; then adopted says that this is to be done.
func (c *capture) take(ctx context.Context, file *os.File, removable bool) (d digest.Digest, adopted bool, err error) {
	if removable {
		return c.store.local.Adopt(ctx, file, c.uploading)
	}
	d, err = c.store.local.Keep(ctx, file, c.uploading)
	return d, false, err
}

func notCapturable(mode fs.FileMode) error {
	return &inputError{fmt.Sprintf("it is a special file (%v); only files, directories and symbolic links can be captured", mode.Type())}
}

// keepTree stores the Tree message and returns its digest.
func (c *capture) keepTree(ctx context.Context, t *capturedTree) (digest.Digest, error) {
	data, d, err := digest.OfMessage(&repb.Tree{Root: t.root, Children: t.children})
	if err != nil {
		return digest.Digest{}, err
	}
	return d, c.keep(ctx, d, data)
}

// keepDirectories stores the Directory messages, and has them sent if send is set.
// Here they are kept whatever the client asks for: BuildStream asks for a Tree, but
// then works with its Directories, which it reads from the cache's folder.
func (c *capture) keepDirectories(ctx context.Context, t *capturedTree, send bool) error {
	var group errgroup.Group
	group.SetLimit(captureWorkers)
	for d, data := range t.data {
		group.Go(func() error { return c.store.local.Write(ctx, d, data) })
		if send {
			c.send(d, data)
		}
	}
	return group.Wait()
}

func (c *capture) keep(ctx context.Context, d digest.Digest, data []byte) error {
	if err := c.store.local.Write(ctx, d, data); err != nil {
		return err
	}
	c.send(d, data)
	return nil
}

// send has a message sent.
func (c *capture) send(d digest.Digest, data []byte) {
	if c.uploading != nil && !d.IsEmpty() && d.SizeBytes <= smallBytes {
		c.uploading(d, data)
	}
	c.blobs = append(c.blobs, d)
}
