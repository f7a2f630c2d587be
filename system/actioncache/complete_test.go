package actioncache_test

import (
	"context"
	"errors"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// countingStore counts calls of Missing, lacks the blobs told, and fails
// altogether if err is set.
type countingStore struct {
	cas.Store
	calls int
	lacks map[digest.Digest]bool
	err   error
}

func (s *countingStore) Missing(ctx context.Context, digests, dst []digest.Digest) ([]digest.Digest, error) {
	s.calls++
	if s.err != nil {
		return nil, s.err
	}
	for _, d := range digests {
		if s.lacks[d] {
			dst = append(dst, d)
		}
	}
	return s.Store.Missing(ctx, digests, dst)
}

func (s *countingStore) Read(ctx context.Context, d digest.Digest) ([]byte, error) {
	if s.lacks[d] {
		return nil, cas.ErrNotFound
	}
	return s.Store.Read(ctx, d)
}

// world is a result with every kind of output, all of it in a store.
type world struct {
	store  *countingStore
	cache  actioncache.Cache
	result *repb.ActionResult
	blobs  map[string]digest.Digest // by what they are
}

func newWorld(t *testing.T) *world {
	w := &world{
		store: &countingStore{Store: cas.NewMemory(cas.MemoryConfig{}), lacks: map[digest.Digest]bool{}},
		blobs: map[string]digest.Digest{},
	}
	blob := func(name string) *repb.Digest { return w.put(t, name, []byte(name)) }
	message := func(name string, m proto.Message) *repb.Digest {
		data, _, err := digest.OfMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		return w.put(t, name, data)
	}
	file := func(name string) []*repb.FileNode {
		return []*repb.FileNode{{Name: "f", Digest: blob(name)}}
	}
	treeChild := &repb.Directory{Files: file("file in tree's child")}
	_, childDigest, err := digest.OfMessage(treeChild)
	if err != nil {
		t.Fatal(err)
	}
	tree := message("tree", &repb.Tree{
		Root: &repb.Directory{Files: file("file in tree's root"),
			Directories: []*repb.DirectoryNode{{Name: "c", Digest: childDigest.Proto()}}},
		Children: []*repb.Directory{treeChild},
	})
	leaf := message("leaf directory", &repb.Directory{Files: file("file in leaf")})
	root := message("root directory", &repb.Directory{Files: file("file in root"),
		Directories: []*repb.DirectoryNode{{Name: "a", Digest: leaf}, {Name: "b", Digest: leaf}}})
	w.result = &repb.ActionResult{
		StdoutDigest: blob("stdout"),
		StderrDigest: blob("stderr"),
		OutputFiles:  []*repb.OutputFile{{Path: "out", Digest: blob("output file")}},
		OutputDirectories: []*repb.OutputDirectory{
			{Path: "tree", TreeDigest: tree},
			{Path: "root", RootDirectoryDigest: root},
			{Path: "empty", TreeDigest: digest.Empty.Proto()},
		},
	}
	cache := actioncache.NewMemory(actioncache.MemoryConfig{})
	put(t, cache, action(1), w.result)
	w.cache = actioncache.Complete(cache, w.store)
	return w
}

func (w *world) put(t *testing.T, name string, data []byte) *repb.Digest {
	d := digest.Of(data)
	if err := w.store.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	w.blobs[name] = d
	return d.Proto()
}

func TestCompleteResultIsFoundWithOneLookup(t *testing.T) {
	w := newWorld(t)
	wantResult(t, w.cache, action(1), w.result)
	if w.store.calls != 1 {
		t.Errorf("%d calls of Missing, want 1", w.store.calls)
	}
	wantNotFound(t, w.cache, action(2))
}

func TestEachAbsentOutputMakesTheResultIncomplete(t *testing.T) {
	w := newWorld(t)
	if len(w.blobs) != 10 {
		t.Fatalf("the result names %d blobs, want 10", len(w.blobs))
	}
	for name, d := range w.blobs {
		w.store.lacks = map[digest.Digest]bool{d: true}
		_, err := w.cache.Get(t.Context(), action(1))
		if !errors.Is(err, actioncache.ErrNotFound) || !errors.Is(err, actioncache.ErrIncomplete) {
			t.Errorf("without %s: error %v, want ErrNotFound and ErrIncomplete", name, err)
		}
	}
	w.store.lacks = nil
	wantResult(t, w.cache, action(1), w.result)
}

func TestResultThatCannotBeCheckedIsIncomplete(t *testing.T) {
	w := newWorld(t)
	text := w.put(t, "text", []byte("\xffthis is no message"))
	huge := &repb.Digest{Hash: text.Hash, SizeBytes: 1 << 40}
	results := map[string]*repb.ActionResult{
		"malformed digest":  {OutputFiles: []*repb.OutputFile{{Path: "a", Digest: &repb.Digest{Hash: "x"}}}},
		"no digest":         {OutputFiles: []*repb.OutputFile{{Path: "a"}}},
		"no directory form": {OutputDirectories: []*repb.OutputDirectory{{Path: "a"}}},
		"tree is no tree":   {OutputDirectories: []*repb.OutputDirectory{{Path: "a", TreeDigest: text}}},
		"huge tree":         {OutputDirectories: []*repb.OutputDirectory{{Path: "a", TreeDigest: huge}}},
		"root is no directory": {OutputDirectories: []*repb.OutputDirectory{
			{Path: "a", RootDirectoryDigest: text}}},
	}
	for name, result := range results {
		put(t, w.cache, action(9), result)
		if _, err := w.cache.Get(t.Context(), action(9)); !errors.Is(err, actioncache.ErrIncomplete) {
			t.Errorf("%s: error %v, want ErrIncomplete", name, err)
		}
	}
}

func TestStoreFailureIsNoMiss(t *testing.T) {
	w := newWorld(t)
	w.store.err = errors.New("store is down")
	_, err := w.cache.Get(t.Context(), action(1))
	if !errors.Is(err, w.store.err) || errors.Is(err, actioncache.ErrNotFound) {
		t.Errorf("error %v, want that of the store and not ErrNotFound", err)
	}
}
