package actioncache

import (
	"context"
	"errors"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// ErrIncomplete is returned, wrapped together with ErrNotFound, when a result is
// kept but an output of it is gone from the CAS.
var ErrIncomplete = errors.New("an output is gone from the CAS")

// Limits of what Complete reads of a result. What is beyond can't be checked,
// and counts as incomplete: the action runs again.
const (
	// maxTreeBytes bounds a Tree or Directory blob. A file in it takes about
	// 100 bytes, so this is an output directory of some 600,000 files.
	maxTreeBytes = 64 << 20
	// maxDirectories bounds the directories below one root_directory_digest,
	// each of which is a read of the store.
	maxDirectories = 100_000
)

// Complete returns a Cache whose Get hides results that name blobs which store
// lacks: standard output and error, output files, and all files of output
// directories. What a result needs counts as used in store. The error of an
// incomplete result wraps ErrNotFound and ErrIncomplete.
//
// REAPI, ActionCache.GetActionResult: "Implementations SHOULD ensure that any
// blobs referenced from the CAS are available at the time of returning the
// ActionResult". A client that got a result isn't prepared to lack its files.
func Complete(cache Cache, store cas.Store) Cache {
	return &complete{Cache: cache, store: store}
}

type complete struct {
	Cache
	store cas.Store
}

// Get implements Cache. Apart from the blobs that describe output directories,
// which are read, all blobs are checked in one call of Missing.
func (c *complete) Get(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	result, err := c.Cache.Get(ctx, action)
	if err != nil {
		return nil, err
	}
	needed := &outputs{store: c.store, function: action.Func()}
	if err := needed.addResult(ctx, result); err != nil {
		return nil, hide(action, err)
	}
	missing, err := c.store.Missing(ctx, needed.blobs, nil)
	if err != nil {
		return nil, fmt.Errorf("check outputs of action %v: %w", action, err)
	}
	if len(missing) > 0 {
		return nil, incomplete(action, fmt.Errorf("blob %v and %d more", missing[0], len(missing)-1))
	}
	return result, nil
}

// hide makes an incomplete result of an error that says so, and leaves others,
// such as a store that is down, what they are.
func hide(action digest.Digest, err error) error {
	var malformed *digest.MalformedError
	if errors.Is(err, cas.ErrNotFound) || errors.Is(err, errUnreadable) || errors.As(err, &malformed) {
		return incomplete(action, err)
	}
	return fmt.Errorf("check outputs of action %v: %w", action, err)
}

func incomplete(action digest.Digest, why error) error {
	return fmt.Errorf("result of action %v: %w (%w): %w", action, ErrNotFound, ErrIncomplete, why)
}

// errUnreadable says that a blob which should describe a directory doesn't.
var errUnreadable = errors.New("unreadable directory")

// outputs collects the blobs a result needs.
type outputs struct {
	store    cas.Store
	function digest.Func // of all blobs: the action's (REAPI, ExecutionCapabilities)
	blobs    []digest.Digest
}

func (o *outputs) addResult(ctx context.Context, result *repb.ActionResult) error {
	for _, stream := range []*repb.Digest{result.StdoutDigest, result.StderrDigest} {
		if stream == nil {
			continue
		}
		if err := o.add(stream); err != nil {
			return err
		}
	}
	for _, file := range result.OutputFiles {
		if err := o.add(file.Digest); err != nil {
			return fmt.Errorf("output file %q: %w", file.Path, err)
		}
	}
	for _, directory := range result.OutputDirectories {
		if err := o.addOutputDirectory(ctx, directory); err != nil {
			return fmt.Errorf("output directory %q: %w", directory.Path, err)
		}
	}
	return nil
}

func (o *outputs) add(p *repb.Digest) error {
	d, err := o.function.FromProto(p)
	if err == nil {
		o.blobs = append(o.blobs, d)
	}
	return err
}

// addOutputDirectory adds both forms of a directory, where both are given: a
// client may use either.
func (o *outputs) addOutputDirectory(ctx context.Context, directory *repb.OutputDirectory) error {
	if directory.TreeDigest == nil && directory.RootDirectoryDigest == nil {
		return fmt.Errorf("neither a tree nor a root directory is set: %w", errUnreadable)
	}
	if directory.TreeDigest != nil {
		if err := o.addTree(ctx, directory.TreeDigest); err != nil {
			return err
		}
	}
	if directory.RootDirectoryDigest != nil {
		return o.addDirectories(ctx, directory.RootDirectoryDigest)
	}
	return nil
}

func (o *outputs) addTree(ctx context.Context, p *repb.Digest) error {
	tree := new(repb.Tree)
	if err := o.read(ctx, p, tree); err != nil {
		return err
	}
	if err := o.addFiles(tree.Root); err != nil {
		return err
	}
	for _, child := range tree.Children {
		if err := o.addFiles(child); err != nil {
			return err
		}
	}
	return nil
}

// addDirectories adds the directories from a root down and the files in them.
func (o *outputs) addDirectories(ctx context.Context, root *repb.Digest) error {
	queue := []*repb.Digest{root}
	seen := map[string]bool{root.GetHash(): true}
	for len(queue) > 0 {
		directory := new(repb.Directory)
		if err := o.read(ctx, queue[0], directory); err != nil {
			return err
		}
		queue = queue[1:]
		if err := o.addFiles(directory); err != nil {
			return err
		}
		for _, child := range directory.Directories {
			if hash := child.Digest.GetHash(); !seen[hash] {
				seen[hash] = true
				queue = append(queue, child.Digest)
			}
		}
		if len(seen) > maxDirectories {
			return fmt.Errorf("more than %d directories: %w", maxDirectories, errUnreadable)
		}
	}
	return nil
}

func (o *outputs) addFiles(directory *repb.Directory) error {
	for _, file := range directory.GetFiles() {
		if err := o.add(file.Digest); err != nil {
			return fmt.Errorf("file %q: %w", file.Name, err)
		}
	}
	return nil
}

// read reads a blob that holds a message.
func (o *outputs) read(ctx context.Context, p *repb.Digest, into proto.Message) error {
	d, err := o.function.FromProto(p)
	if err != nil {
		return err
	}
	if d.SizeBytes > maxTreeBytes {
		return fmt.Errorf("blob %v is larger than %d bytes: %w", d, int64(maxTreeBytes), errUnreadable)
	}
	data, err := o.store.Read(ctx, d)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(data, into); err != nil {
		return fmt.Errorf("blob %v: %w: %w", d, errUnreadable, err)
	}
	return nil
}
