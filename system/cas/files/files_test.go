package files_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weir-build/weir/system/cas/files"
	"github.com/weir-build/weir/system/cas/lru"
)

// byName keeps a file of key "abcd" at ab/cd.
var byName = files.Naming[string]{
	Path: func(key string) string { return key[:2] + "/" + key[2:] },
	Key:  func(path string, _ int64) (string, bool) { return strings.Replace(path, "/", "", 1), true },
}

func open(t *testing.T, root string, quota int64) *files.Dir[string] {
	t.Helper()
	return openWith(t, root, files.Config{QuotaBytes: quota})
}

func openWith(t *testing.T, root string, config files.Config) *files.Dir[string] {
	t.Helper()
	d, err := files.Open(root, "", byName, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func store(t *testing.T, d *files.Dir[string], key, content string) {
	t.Helper()
	temp, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(temp, content); err != nil {
		t.Fatal(err)
	}
	if err := temp.Commit(key); err != nil {
		t.Fatal(err)
	}
}

// content returns what the file of a key holds; "" if there is none.
func content(t *testing.T, d *files.Dir[string], key string) string {
	t.Helper()
	file, size, err := d.Open(key)
	if errors.Is(err, files.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil || int64(len(data)) != size {
		t.Errorf("%s: %d bytes, Open said %d, error %v", key, len(data), size, err)
	}
	return string(data)
}

func TestCommitReplaces(t *testing.T) {
	d := open(t, t.TempDir(), 100_000)
	store(t, d, "00a", "first")
	old, _, err := d.Open("00a")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	store(t, d, "00a", strings.Repeat("second", 1000))
	if got := content(t, d, "00a"); got != strings.Repeat("second", 1000) {
		t.Errorf("after replacement: %.20q", got)
	}
	if got, err := io.ReadAll(old); err != nil || string(got) != "first" {
		t.Errorf("a reader from before reads %q, error %v", got, err)
	}
	if got, want := d.Usage(), (lru.Usage{SizeBytes: 8192, QuotaBytes: 100_000, Entries: 1}); got != want {
		t.Errorf("usage is %+v, want %+v", got, want)
	}
}

func TestSmallerQuotaAtNextOpenDropsFiles(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, 0)
	store(t, d, "00large", strings.Repeat("x", 10_000))
	store(t, d, "00small", "x")
	d.Close()
	d = open(t, root, 8192)
	if got := content(t, d, "00large"); got != "" {
		t.Error("a file larger than the quota is still there")
	}
	if got := content(t, d, "00small"); got != "x" {
		t.Errorf("the small file holds %q", got)
	}
	if _, err := os.Stat(filepath.Join(root, "00", "large")); !errors.Is(err, os.ErrNotExist) {
		t.Error("its file is still there")
	}
}

func TestUsedFilesAreProtected(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, 0)
	for _, key := range []string{"00used", "00idle"} {
		store(t, d, key, "x")
	}
	d.Close()
	d = openWith(t, root, files.Config{QuotaBytes: 2 * 4096, ProtectUsed: true})
	if got := content(t, d, "00used"); got != "x" {
		t.Fatalf("it holds %q", got)
	}
	store(t, d, "00new", "y")
	if d.Size("00used") < 0 || d.Size("00idle") >= 0 {
		t.Errorf("sizes %d and %d, want that the idle one made room", d.Size("00used"), d.Size("00idle"))
	}
	temp, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	if _, err := io.WriteString(temp, "z"); !errors.Is(err, files.ErrNoSpace) || !strings.Contains(err.Error(), "8192 bytes are kept because they were used") {
		t.Errorf("beside protected files: got %v, want ErrNoSpace that says why", err)
	}
}

// A disk has less than 1 EiB free, so nothing fits beside a reserve of that.
func TestReserveOfTheDiskIsKept(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, 0)
	store(t, d, "00a", "x")
	d.Close()
	d = openWith(t, root, files.Config{KeepFreeBytes: 1 << 60})
	temp, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	if _, err := io.WriteString(temp, "z"); !errors.Is(err, files.ErrNoSpace) || !strings.Contains(err.Error(), "of the disk free") {
		t.Errorf("got %v, want ErrNoSpace that tells of the reserve", err)
	}
	d.Close()
	d = openWith(t, root, files.Config{QuotaBytes: 1 << 20, KeepFreeBytes: 1})
	store(t, d, "00b", "x")
	if got := d.Usage().QuotaBytes; got != 1<<20 {
		t.Errorf("with a disk that is free enough the quota is %d, want %d", got, 1<<20)
	}
}

func TestEvictionLeavesLowBytes(t *testing.T) {
	d := openWith(t, t.TempDir(), files.Config{QuotaBytes: 10 * 4096, LowBytes: 2 * 4096})
	for i := range 11 {
		store(t, d, fmt.Sprintf("00%02d", i), "x")
	}
	if got := d.Usage().SizeBytes; got != 3*4096 {
		t.Errorf("%d bytes are left, want 2 files of before and the new one", got)
	}
}

func TestForgetRemovesTheFile(t *testing.T) {
	d := open(t, t.TempDir(), 0)
	store(t, d, "00a", "x")
	d.Forget("00a")
	if got := content(t, d, "00a"); got != "" || d.Size("00a") != -1 {
		t.Errorf("it holds %q and has size %d", got, d.Size("00a"))
	}
	if _, err := os.Stat(d.Path("00a")); !errors.Is(err, os.ErrNotExist) {
		t.Error("its file is still there")
	}
}

// TestFileStoredAgainSurvivesItsEviction has a few keys evict each other all the
// time: an old removal must not take the file of a new Commit, so that at the end
// the index and the folder agree.
func TestFileStoredAgainSurvivesItsEviction(t *testing.T) {
	d := open(t, t.TempDir(), 3*4096)
	keys := []string{"00a", "01b", "02c", "03d", "04e"}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 150 {
				temp, err := d.Create()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.WriteString(temp, "content"); err != nil {
					temp.Discard() // others hold all the quota
					continue
				}
				if err := temp.Commit(keys[(worker+i)%len(keys)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	there := 0
	for _, key := range keys {
		indexed := d.Size(key) >= 0
		_, err := os.Stat(d.Path(key))
		if indexed != (err == nil) {
			t.Errorf("%s: in the index %v, its file: %v", key, indexed, err)
		}
		if indexed {
			there++
		}
	}
	if got := d.Usage(); got.Entries != there || got.SizeBytes != int64(there)*4096 {
		t.Errorf("usage is %+v with %d files", got, there)
	}
}

// TestFilesBeingWrittenAreApart looks at the folders that files being written are in, of
// which one opened again has no more.
func TestFilesBeingWrittenAreApart(t *testing.T) {
	root := t.TempDir()
	for range 2 {
		d := openWith(t, root, files.Config{})
		folders := make(map[string]bool)
		for range 100 {
			temp, err := d.Create()
			if err != nil {
				t.Fatal(err)
			}
			paths, err := filepath.Glob(filepath.Join(root, "tmp", "*", "*"))
			if err != nil || len(paths) != 1 {
				t.Fatalf("%v, %v", paths, err)
			}
			folders[filepath.Dir(paths[0])] = true
			temp.Discard()
		}
		if len(folders) < 10 {
			t.Errorf("100 files were written in %d folders", len(folders))
		}
		if all, err := os.ReadDir(filepath.Join(root, "tmp")); err != nil || len(all) != len(folders) {
			t.Errorf("%d folders, %d of them used, %v", len(all), len(folders), err)
		}
		d.Close()
	}
}
