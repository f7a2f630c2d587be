package casd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// What somebody mounted in a tree and forgot is unmounted, not emptied, and a symbolic
// link is removed, not followed.
func TestEndOfStagingSparesWhatIsElsewhere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	deep := strings.Repeat("d/", 40)
	for _, place := range []string{"mnt", "a/b/mnt", deep + "mnt"} {
		t.Run(place, func(t *testing.T) {
			w := newWorld(t)
			s := w.stage(w.putTree(files{"f": "x", "a/b/g": "y"}), lcpb.StageTreeRequest_COPY_OR_LINK)
			elsewhere := t.TempDir()
			kept := filepath.Join(elsewhere, "kept")
			if err := os.WriteFile(kept, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			point := filepath.Join(s.path, place)
			if err := os.MkdirAll(point, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(elsewhere, filepath.Join(filepath.Dir(point), "link")); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount(elsewhere, point, "", unix.MS_BIND, ""); err != nil {
				t.Skipf("needs the right to mount: %v", err)
			}
			s.end()
			noMounts(t, s.path)
			if _, err := os.Stat(kept); err != nil {
				t.Errorf("file in a folder that was mounted in the tree: %v", err)
			}
		})
	}
}
