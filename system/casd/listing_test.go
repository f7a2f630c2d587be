package casd_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// A rawEntry is one of getdents(2).
type rawEntry struct {
	name string
	ino  uint64
	next int64 // where the listing goes on behind it
}

// rawEntries makes one call of getdents(2).
func rawEntries(t *testing.T, dir *os.File, size int) (entries []rawEntry) {
	t.Helper()
	buffer := make([]byte, size)
	n, err := unix.ReadDirent(int(dir.Fd()), buffer)
	if err != nil {
		t.Fatal(err)
	}
	for rest := buffer[:n]; len(rest) > 0; {
		// struct linux_dirent64: d_ino, d_off, d_reclen, d_type, d_name
		length := binary.NativeEndian.Uint16(rest[16:])
		entries = append(entries, rawEntry{
			name: unix.ByteSliceToString(rest[19:length]), ino: binary.NativeEndian.Uint64(rest), next: int64(binary.NativeEndian.Uint64(rest[8:])),
		})
		rest = rest[length:]
	}
	return entries
}

// rawNames returns what getdents(2) says is in a directory, and the inode numbers.
func rawNames(t *testing.T, path string) map[string]uint64 {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	found := make(map[string]uint64)
	for {
		entries := rawEntries(t, dir, 4096)
		if len(entries) == 0 {
			return found
		}
		for _, e := range entries {
			if _, twice := found[e.name]; twice {
				t.Errorf("%s is listed twice", e.name)
			}
			found[e.name] = e.ino
		}
	}
}

func TestListingsHaveDotAndDotDot(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stage(w.putTree(files{"a": "a", "d/b": "b", "d/e/": ""}), mode)
		inode := func(path string) uint64 {
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				t.Fatal(err)
			}
			return st.Ino
		}
		for dir, want := range map[string][]string{"": {".", "..", "a", "d"}, "/d": {".", "..", "b", "e"}, "/d/e": {".", ".."}} {
			found := rawNames(t, s.path+dir)
			var names []string
			for name, ino := range found {
				names = append(names, name)
				if name != ".." && ino != inode(s.path+dir+"/"+name) {
					t.Errorf("%q: %s has inode %d, listed is %d", dir, name, inode(s.path+dir+"/"+name), ino)
				}
			}
			slices.Sort(names)
			if !slices.Equal(names, want) {
				t.Errorf("%q lists %v, want %v", dir, names, want)
			}
			if dir != "" && found[".."] != inode(s.path+dir+"/..") {
				t.Errorf("%q: .. has inode %d, listed is %d", dir, inode(s.path+dir+"/.."), found[".."])
			}
		}
		s.end()
	})
}

// As POSIX has it of rewinddir(3): from its beginning on, a listing is of the directory as
// it is.
func TestListingFromTheBeginningIsAnew(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		s := w.stage(w.putTree(files{"a": "a", "b": "b"}), mode)
		dir, err := os.Open(s.path)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		list := func() []string {
			t.Helper()
			if _, err := dir.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			names, err := dir.Readdirnames(-1)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(names)
			return names
		}
		if got := list(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("lists %v", got)
		}
		writeFile(t, s.path+"/c", "c", 0o644)
		if err := os.Remove(s.path + "/a"); err != nil {
			t.Fatal(err)
		}
		if got := list(); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("then lists %v", got)
		}
		dir.Close()
		s.end()
	})
}

// Programs read in pieces of any size, musl's in 2 KiB, look at what they have found before
// they go on, and go back to where they were.
func TestListingsGoOnAnywhere(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		tree := make(files)
		for i := range 300 {
			tree[fmt.Sprintf("file-%03d", i)] = "f"
		}
		s := w.stage(w.putTree(tree), mode)
		for _, size := range []int{64, 500, 2048, 32 << 10} {
			for _, looks := range []bool{false, true} {
				dir, err := os.Open(s.path)
				if err != nil {
					t.Fatal(err)
				}
				var all []rawEntry
				for more := rawEntries(t, dir, size); len(more) > 0; more = rawEntries(t, dir, size) {
					all = append(all, more...)
					for _, e := range more {
						if _, err := os.Lstat(s.path + "/" + e.name); looks && err != nil {
							t.Fatal(err)
						}
					}
				}
				if len(all) != len(tree)+2 {
					t.Errorf("in pieces of %d bytes, looking at each %v: %d entries, want %d", size, looks, len(all), len(tree)+2)
				}
				for i := len(all) - 1; i >= 0; i -= 17 {
					if _, err := dir.Seek(all[i].next, io.SeekStart); err != nil {
						t.Fatal(err)
					}
					got := 0
					for more := rawEntries(t, dir, size); len(more) > 0; more = rawEntries(t, dir, size) {
						if i+1+got < len(all) && more[0].name != all[i+1+got].name {
							t.Fatalf("behind %s comes %s, want %s", all[i].name, more[0].name, all[i+1].name)
						}
						got += len(more)
					}
					if got != len(all)-1-i {
						t.Errorf("in pieces of %d bytes behind entry %d: %d, want %d", size, i, got, len(all)-1-i)
					}
				}
				dir.Close()
			}
		}
		s.end()
	})
}
