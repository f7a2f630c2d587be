package casd

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// maxCapturedEntries bounds a captured tree: its Tree message, which is built in
// memory, takes about 100 bytes an entry.
const maxCapturedEntries = 1 << 20

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

// A capture stores files and directories in the local cache and remembers what
// was stored, for the upload.
type capture struct {
	store  *readThrough
	record recorded
	// owns says whether a socket is casd's own, which is no output of anybody.
	owns func(item) bool

	entries int
	blobs   []digest.Digest
}

// file stores the content of a file.
func (c *capture) file(ctx context.Context, it item) (digest.Digest, error) {
	d := it.blob
	if !it.known {
		var err error
		if d, err = c.content(ctx, it); err != nil {
			return digest.Digest{}, err
		}
	}
	c.blobs = append(c.blobs, d)
	return d, nil
}

func (c *capture) content(ctx context.Context, it item) (digest.Digest, error) {
	file, err := it.open()
	if err != nil {
		return digest.Digest{}, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return digest.Digest{}, err
	}
	if !stat.Mode().IsRegular() {
		return digest.Digest{}, notCapturable(stat.Mode())
	}
	if stat.Size() <= smallBytes {
		data, err := io.ReadAll(io.LimitReader(file, smallBytes+1))
		if err != nil {
			return digest.Digest{}, err
		}
		d := digest.Of(data)
		return d, c.store.local.Write(ctx, d, data)
	}
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		return digest.Digest{}, err
	}
	d := digest.Digest{Hash: [digest.Size]byte(hash.Sum(nil)), SizeBytes: size}
	absent, err := c.store.local.Missing(ctx, []digest.Digest{d}, nil)
	if err != nil || len(absent) == 0 {
		return d, err
	}
	return d, c.large(ctx, d, file)
}

// large stores a file in pieces. That it is read again, after it was hashed, is
// what a store costs that wants to know the digest first.
func (c *capture) large(ctx context.Context, d digest.Digest, file *os.File) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	writer, err := c.store.local.Create(ctx, d)
	if err != nil {
		return err
	}
	for {
		piece := make([]byte, pieceBytes) // the store may keep it
		n, err := file.Read(piece)
		if n > 0 {
			if err := writer.Append(piece[:n]); err != nil {
				writer.Abort()
				return changed(err)
			}
		}
		if errors.Is(err, io.EOF) {
			return changed(writer.Commit())
		}
		if err != nil {
			writer.Abort()
			return err
		}
	}
}

// changed says what it means that a file hasn't the hash it had a moment ago.
func changed(err error) error {
	var corrupt *cas.CorruptError
	if errors.As(err, &corrupt) {
		return &inputError{"the file changed while it was captured"}
	}
	return err
}

func notCapturable(mode fs.FileMode) error {
	return &inputError{fmt.Sprintf("it is a special file (%v); only files, directories and symbolic links can be captured", mode.Type())}
}

// A capturedTree is a directory and all below it as messages, each once.
type capturedTree struct {
	root     *repb.Directory
	rootBlob digest.Digest
	rootData []byte
	children []*repb.Directory // in the order in which they were first met
	data     map[digest.Digest][]byte
}

// tree stores the files of a directory and describes it.
func (c *capture) tree(ctx context.Context, it item) (*capturedTree, error) {
	t := &capturedTree{data: make(map[digest.Digest][]byte)}
	var err error
	t.root, err = c.directory(ctx, it, t, 1)
	if err != nil {
		return nil, err
	}
	t.rootData, t.rootBlob, err = digest.OfMessage(t.root)
	return t, err
}

// directory describes a directory in REAPI's canonical form: entries by name.
func (c *capture) directory(ctx context.Context, it item, t *capturedTree, depth int) (*repb.Directory, error) {
	if depth > maxDepth {
		return nil, &inputError{fmt.Sprintf("the tree is deeper than %d directories", maxDepth)}
	}
	message := &repb.Directory{NodeProperties: c.record.of(it)}
	err := it.list(func(name string, entry item) error {
		if entry.kind == fs.ModeSocket && c.owns(entry) {
			return nil
		}
		if c.entries++; c.entries > maxCapturedEntries {
			return &inputError{fmt.Sprintf("the tree has more than %d entries", maxCapturedEntries)}
		}
		if err := c.entry(ctx, name, entry, message, t, depth); err != nil {
			return &entryError{name, err}
		}
		return nil
	})
	return message, err
}

func (c *capture) entry(ctx context.Context, name string, it item, into *repb.Directory, t *capturedTree, depth int) error {
	switch it.kind {
	case fs.ModeDir:
		message, err := c.directory(ctx, it, t, depth+1)
		if err != nil {
			return err
		}
		data, d, err := digest.OfMessage(message)
		if err != nil {
			return err
		}
		if _, there := t.data[d]; !there {
			t.data[d] = data
			t.children = append(t.children, message)
		}
		into.Directories = append(into.Directories, &repb.DirectoryNode{Name: name, Digest: d.Proto()})
	case fs.ModeSymlink:
		into.Symlinks = append(into.Symlinks, &repb.SymlinkNode{Name: name, Target: it.target, NodeProperties: c.record.of(it)})
	case 0:
		d, err := c.file(ctx, it)
		if err != nil {
			return err
		}
		into.Files = append(into.Files, &repb.FileNode{
			Name: name, Digest: d.Proto(), IsExecutable: it.mode&0o100 != 0, NodeProperties: c.record.of(it),
		})
	default:
		return notCapturable(it.kind)
	}
	return nil
}

// An entryError says where in a tree something is wrong.
type entryError struct {
	name string
	err  error
}

func (e *entryError) Error() string {
	path, err := e.name, e.err
	for inner, ok := err.(*entryError); ok; inner, ok = err.(*entryError) {
		path, err = path+"/"+inner.name, inner.err
	}
	return path + ": " + err.Error()
}

func (e *entryError) Unwrap() error { return e.err }

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
	for d, data := range t.data {
		if err := c.keepDirectory(ctx, d, data, send); err != nil {
			return err
		}
	}
	return c.keepDirectory(ctx, t.rootBlob, t.rootData, send)
}

func (c *capture) keepDirectory(ctx context.Context, d digest.Digest, data []byte, send bool) error {
	if send {
		return c.keep(ctx, d, data)
	}
	return c.store.local.Write(ctx, d, data)
}

func (c *capture) keep(ctx context.Context, d digest.Digest, data []byte) error {
	if err := c.store.local.Write(ctx, d, data); err != nil {
		return err
	}
	c.blobs = append(c.blobs, d)
	return nil
}
