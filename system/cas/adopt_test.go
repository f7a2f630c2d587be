package cas_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
)

// folders returns one for a store and one for files, on one disk.
func folders(t *testing.T) (store, files string) {
	root := t.TempDir()
	store, files = filepath.Join(root, "store"), filepath.Join(root, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	return store, files
}

func TestAdoptedFileIsTheBlobs(t *testing.T) {
	const size = 1<<20 + 77
	for _, c := range []struct {
		name string
		mode os.FileMode
		// other does what somebody else has done to the file.
		other func(t *testing.T, path string)
		want  bool
	}{
		{"a file", 0o755, nil, true},
		{"a file that only its owner may read", 0o600, nil, true},
		{"a file that somebody has open for reading", 0o644, func(t *testing.T, path string) { open(t, path, os.O_RDONLY) }, true},
		{"not one that somebody has open for writing", 0o644, func(t *testing.T, path string) { open(t, path, os.O_RDWR) }, false},
		{"not one with another name", 0o644, func(t *testing.T, path string) {
			if err := os.Link(path, path+"2"); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, files := folders(t)
			store := openDisk(t, dir, cas.DiskConfig{})
			data, want := castest.Blob(5, size)
			path := filepath.Join(files, "file")
			if err := os.WriteFile(path, data, c.mode); err != nil {
				t.Fatal(err)
			}
			if c.other != nil {
				c.other(t, path)
			}
			file := open(t, path, os.O_RDONLY)
			before := stat(t, path)
			got, adopted, err := store.Adopt(t.Context(), file, nil)
			if err != nil || got != want || adopted != c.want {
				t.Fatalf("got %v, adopted %v, %v; want %v, %v", got, adopted, err, want, c.want)
			}
			if stored, err := store.Read(t.Context(), want); err != nil || !bytes.Equal(stored, data) {
				t.Errorf("read %d other bytes, error %v", len(stored), err)
			}
			blob := stat(t, objectFile(dir, want))
			if os.SameFile(before, blob) != c.want {
				t.Errorf("the blob's file is that file: %v, want %v", !c.want, c.want)
			}
			if blob.Mode() != 0o444 {
				t.Errorf("the blob's mode is %v", blob.Mode())
			}
			if after := stat(t, path); !c.want && (after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime())) {
				t.Errorf("a file that wasn't adopted changed from %v to %v", before, after)
			}
			if usage := store.Usage(); usage.Entries != 1 || usage.SizeBytes != 1<<20+4096 {
				t.Errorf("usage: %+v", usage)
			}
			noTemporaryFiles(t, dir)
		})
	}
}

// A file that is given twice at a time, by two paths to it, is adopted at most once: its
// second owner must not change what is the blob's by then.
func TestFileIsAdoptedOnce(t *testing.T) {
	dir, files := folders(t)
	store := openDisk(t, dir, cas.DiskConfig{})
	for round := range 300 {
		data, want := castest.Blob(uint64(100+round), 4000)
		path := filepath.Join(files, "file")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		var (
			adopts  sync.WaitGroup
			adopted atomic.Int64
			begin   = make(chan struct{})
		)
		for range 4 {
			file := open(t, path, os.O_RDONLY)
			adopts.Go(func() {
				defer file.Close()
				<-begin
				got, taken, err := store.Adopt(t.Context(), file, nil)
				if err != nil || got != want {
					t.Errorf("got %v, %v; want %v", got, err, want)
				}
				if taken {
					adopted.Add(1)
				}
			})
		}
		close(begin)
		adopts.Wait()
		if n := adopted.Load(); n > 1 {
			t.Errorf("round %d: it was adopted %d times", round, n)
		}
		if mode := stat(t, objectFile(dir, want)).Mode(); mode != 0o444 {
			t.Errorf("round %d: the blob's mode is %v", round, mode)
		}
		noTemporaryFiles(t, dir)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
}

func TestFileThatCannotBeStoredIsGivenBack(t *testing.T) {
	dir, files := folders(t)
	store := openDisk(t, dir, cas.DiskConfig{})
	data, want := castest.Blob(8, 1000)
	path := filepath.Join(files, "file")
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
	before := stat(t, path)
	folder := filepath.Dir(objectFile(dir, want))
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o644); err != nil { // no folder any more
		t.Fatal(err)
	}
	if _, adopted, err := store.Adopt(t.Context(), open(t, path, os.O_RDONLY), nil); err == nil || adopted {
		t.Errorf("it was stored: adopted %v, %v", adopted, err)
	}
	if after := stat(t, path); after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("it changed from %v to %v", before, after)
	}
	noTemporaryFiles(t, dir)
}

func TestFileOfAStoredBlobStays(t *testing.T) {
	dir, files := folders(t)
	store := openDisk(t, dir, cas.DiskConfig{})
	data, want := castest.Blob(6, 1000)
	write(t, store, data)
	path := filepath.Join(files, "file")
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
	if got, adopted, err := store.Adopt(t.Context(), open(t, path, os.O_RDONLY), nil); got != want || adopted || err != nil {
		t.Errorf("got %v, adopted %v, %v", got, adopted, err)
	}
	if mode := stat(t, path).Mode(); mode != 0o640 {
		t.Errorf("its mode became %v", mode)
	}
}

func TestFileElsewhereIsCopied(t *testing.T) {
	dir := t.TempDir()
	elsewhere := otherFileSystem(t, dir)
	store := openDisk(t, dir, cas.DiskConfig{})
	data, want := castest.Blob(7, 1000)
	path := filepath.Join(elsewhere, "file")
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	before := stat(t, path)
	if got, adopted, err := store.Adopt(t.Context(), open(t, path, os.O_RDONLY), nil); got != want || adopted || err != nil {
		t.Errorf("got %v, adopted %v, %v", got, adopted, err)
	}
	if after := stat(t, path); after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("it changed from %v to %v", before, after)
	}
	if !has(t, store, want) {
		t.Error("it isn't stored")
	}
}

// otherFileSystem returns a folder that isn't on the file system of dir. The second place
// is for machines where folders for tests are in memory, too.
func otherFileSystem(t *testing.T, dir string) string {
	t.Helper()
	device := func(path string) uint64 { return stat(t, path).Sys().(*syscall.Stat_t).Dev }
	for _, place := range []string{"/dev/shm", "/var/tmp"} {
		folder, err := os.MkdirTemp(place, "weir-adopt-")
		if err != nil {
			t.Logf("not in %s: %v", place, err)
			continue
		}
		t.Cleanup(func() { os.RemoveAll(folder) })
		if device(folder) != device(dir) {
			return folder
		}
	}
	t.Skip("neither /dev/shm nor /var/tmp is another file system that can be written to")
	return ""
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	file, err := os.OpenFile(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
