package casd_test

import (
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// rawNames returns what getdents(2) says is in a directory, and the inode numbers.
func rawNames(t *testing.T, path string) map[string]uint64 {
	t.Helper()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	found := make(map[string]uint64)
	buffer := make([]byte, 4096)
	for {
		n, err := unix.ReadDirent(int(dir.Fd()), buffer)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return found
		}
		for rest := buffer[:n]; len(rest) > 0; {
			// struct linux_dirent64: d_ino, d_off, d_reclen, d_type, d_name
			length := int(rest[16]) | int(rest[17])<<8
			ino := uint64(0)
			for i := 7; i >= 0; i-- {
				ino = ino<<8 | uint64(rest[i])
			}
			name := unix.ByteSliceToString(rest[19:length])
			if _, twice := found[name]; twice {
				t.Errorf("%s is listed twice", name)
			}
			found[name] = ino
			rest = rest[length:]
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
