package storage

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// Limits of GetTree.
const (
	// maxPageBytes ends a page. With one more directory of maxDirectoryBytes it
	// stays under 4 MiB, the default receive limit of gRPC clients.
	maxPageBytes = 1 << 20
	// maxDirectoryBytes bounds one Directory message: some 25,000 files. A
	// digest of another blob doesn't make the server read gigabytes.
	maxDirectoryBytes = 5 << 19
	// maxTreeDirectories bounds the directories of one tree, whose digests are
	// held during the call: 200 bytes each.
	maxTreeDirectories = 1_000_000
)

// GetTree sends the directories of a tree, each once however often it occurs,
// in breadth-first order. Those that are missing are left out, as REAPI says.
// A page token is the digest of the first directory after the page, so it stays
// good when parts of the tree go or come.
func (s casService) GetTree(request *repb.GetTreeRequest, stream repb.ContentAddressableStorage_GetTreeServer) error {
	return s.wire(stream.Context(), s.getTree(request, stream))
}

func (s casService) getTree(request *repb.GetTreeRequest, stream repb.ContentAddressableStorage_GetTreeServer) error {
	in, function, err := s.asked(request.InstanceName, request.DigestFunction)
	if err != nil {
		return err
	}
	root, err := function.FromProto(request.RootDigest)
	if err != nil {
		return fmt.Errorf("root_digest: %w", err)
	}
	if request.PageSize < 0 {
		return invalid("page_size %d is negative", request.PageSize)
	}
	from := root
	if request.PageToken != "" {
		if from, err = parsePageToken(function, request.PageToken); err != nil {
			return err
		}
	}
	pages := &pager{size: int(request.PageSize), send: stream.Send}
	walk := &treeWalk{store: in.CAS, seen: map[digest.Digest]bool{root: true}, queue: []digest.Digest{root}}
	if err := walk.run(stream.Context(), from, pages); err != nil {
		return err
	}
	if !walk.reached {
		return invalid("page_token %q is of no directory of this tree", request.PageToken)
	}
	return pages.flush("")
}

// treeWalk goes through a tree in breadth-first order.
type treeWalk struct {
	store   cas.Store
	seen    map[digest.Digest]bool
	queue   []digest.Digest
	reached bool // whether the directory to start from was met
}

// run sends the directories that come at or after from to pages.
func (w *treeWalk) run(ctx context.Context, from digest.Digest, pages *pager) error {
	for i := 0; i < len(w.queue); i++ {
		d := w.queue[i]
		w.reached = w.reached || d == from
		directory, sizeBytes, err := readDirectory(ctx, w.store, d)
		if errors.Is(err, cas.ErrNotFound) && i > 0 {
			continue
		}
		if err != nil {
			return err
		}
		if w.reached {
			if err := pages.add(d, directory, sizeBytes); err != nil {
				return err
			}
		}
		if err := w.enqueue(d, directory); err != nil {
			return err
		}
	}
	return nil
}

func (w *treeWalk) enqueue(parent digest.Digest, directory *repb.Directory) error {
	for _, node := range directory.Directories {
		d, err := parent.Func().FromProto(node.Digest)
		if err != nil {
			return fmt.Errorf("directory %v, entry %q: %w", parent, node.Name, err)
		}
		if !w.seen[d] {
			w.seen[d] = true
			w.queue = append(w.queue, d)
		}
	}
	if len(w.queue) > maxTreeDirectories {
		return tooLarge("the tree has more than %d directories", maxTreeDirectories)
	}
	return nil
}

func readDirectory(ctx context.Context, store cas.Store, d digest.Digest) (*repb.Directory, int, error) {
	if d.SizeBytes > maxDirectoryBytes {
		return nil, 0, invalid("blob %v is too large for a Directory, of which the limit is %d bytes", d, maxDirectoryBytes)
	}
	data, err := store.Read(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	directory := new(repb.Directory)
	if err := proto.Unmarshal(data, directory); err != nil {
		return nil, 0, invalid("blob %v is not a Directory: %v", d, err)
	}
	return directory, len(data), nil
}

// pager makes pages of directories.
type pager struct {
	size  int // most directories a page may have; 0 means no limit
	send  func(*repb.GetTreeResponse) error
	page  []*repb.Directory
	bytes int
}

// add adds a directory, after sending the page if it has no more room.
func (p *pager) add(d digest.Digest, directory *repb.Directory, sizeBytes int) error {
	full := p.size > 0 && len(p.page) == p.size || len(p.page) > 0 && p.bytes+sizeBytes > maxPageBytes
	if full {
		if err := p.flush(pageToken(d)); err != nil {
			return err
		}
	}
	p.page = append(p.page, directory)
	p.bytes += sizeBytes
	return nil
}

func (p *pager) flush(next string) error {
	page := p.page
	p.page, p.bytes = nil, 0
	return p.send(&repb.GetTreeResponse{Directories: page, NextPageToken: next})
}

// pageToken returns the token of the page that begins with d.
func pageToken(d digest.Digest) string {
	return base64.RawURLEncoding.EncodeToString([]byte(d.String()))
}

// parsePageToken is the inverse of pageToken.
func parsePageToken(function digest.Func, token string) (digest.Digest, error) {
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return digest.Digest{}, invalid("page_token %.100q was not given out by this server", token)
	}
	d, err := function.Parse(string(text))
	if err != nil || pageToken(d) != token {
		return digest.Digest{}, invalid("page_token %.100q was not given out by this server", token)
	}
	return d, nil
}
