package casd

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-build/weir/system/digest"
)

// Whatever decodes can be made below a folder, and nowhere else.
func FuzzDecodeDirectory(f *testing.F) {
	blob := digest.Of([]byte("x")).Proto()
	for _, seed := range []*repb.Directory{
		{},
		{Files: []*repb.FileNode{{Name: "a", Digest: blob, IsExecutable: true}, {Name: "a/../b", Digest: blob}}},
		{Files: []*repb.FileNode{{Name: "a", Digest: blob, NodeProperties: &repb.NodeProperties{
			Mtime: &timestamppb.Timestamp{Seconds: 1 << 60, Nanos: -1}, UnixMode: wrapperspb.UInt32(0o7777),
		}}}},
		{Directories: []*repb.DirectoryNode{{Name: "..", Digest: blob}}},
		{Symlinks: []*repb.SymlinkNode{{Name: "l", Target: "/x"}, {Name: "l", Target: "y"}}},
	} {
		data, _, err := digest.OfMessage(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("not a message"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir, err := decodeDirectory(digest.Of(data), data)
		if err != nil {
			var bad *badTreeError
			if !errors.As(err, &bad) {
				t.Errorf("got error %v, want a *badTreeError", err)
			}
			return
		}
		seen := make(map[string]bool)
		check := func(name string) {
			if seen[name] || name == "." || !filepath.IsLocal(name) || strings.ContainsAny(name, "/\x00") {
				t.Errorf("name %q passed", name)
			}
			seen[name] = true
		}
		for _, file := range dir.files {
			check(file.name)
			if file.mode > 0o777 || file.blob.SizeBytes < 0 {
				t.Errorf("file %q: mode %o, blob %v", file.name, file.mode, file.blob)
			}
		}
		for _, sub := range dir.dirs {
			check(sub.name)
		}
		for _, link := range dir.links {
			check(link.name)
		}
	})
}

func TestUnescapeMount(t *testing.T) {
	for in, want := range map[string]string{
		`/plain`: "/plain", `/a\040b`: "/a b", `/a\134b`: `/a\b`, `/tail\04`: `/tail\04`, `/not\999`: `/not\999`, "": "",
	} {
		if got := unescapeMount(in); got != want {
			t.Errorf("unescapeMount(%q): got %q, want %q", in, got, want)
		}
	}
}

func TestIsInside(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a/b", "/a", true}, {"/a", "/a", false}, {"/ab", "/a", false}, {"/", "/a", false}, {"/a/b", "/", true}, {"/a/..b", "/a", true},
	} {
		if got := isInside(c.path, c.dir); got != c.want {
			t.Errorf("isInside(%q, %q): got %v, want %v", c.path, c.dir, got, c.want)
		}
	}
}
