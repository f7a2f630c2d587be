package files_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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
	d, err := files.Open(root, "", byName, files.Config{QuotaBytes: quota})
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

func TestLowWatermarkAndProtection(t *testing.T) {
	root := t.TempDir()
	open := func(config files.Config) *files.Dir[string] {
		d, err := files.Open(root, "", byName, config)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open(files.Config{QuotaBytes: 10 * 4096, Low: lru.Low{Bytes: 5 * 4096}})
	for i := range 11 {
		store(t, d, fmt.Sprintf("aa%d", i), "x")
	}
	if got := d.Usage().Entries; got != 5 {
		t.Errorf("%d files are left, want 5", got)
	}
	d.Close()
	d = open(files.Config{QuotaBytes: 6 * 4096, Protect: true})
	defer d.Close()
	for i := range 6 {
		store(t, d, fmt.Sprintf("bb%d", i), "x")
	}
	temp, err := d.Create()
	if err != nil {
		t.Fatal(err)
	}
	defer temp.Discard()
	if _, err := temp.Write([]byte("x")); !errors.Is(err, files.ErrNoSpace) {
		t.Errorf("a seventh file beside six that are protected: %v, want no space", err)
	}
}

// A disk that others fill takes room from the files.
func TestFreeSpaceIsKept(t *testing.T) {
	root := t.TempDir()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(root, &fs); err != nil {
		t.Fatal(err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	for reserve, want := range map[int64]bool{free / 2: true, 2 * free: false} {
		d, err := files.Open(filepath.Join(root, fmt.Sprint(reserve)), "", byName, files.Config{FreeBytes: reserve})
		if err != nil {
			t.Fatal(err)
		}
		temp, err := d.Create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := temp.Write([]byte("x")); (err == nil) != want || err != nil && !errors.Is(err, files.ErrNoSpace) {
			t.Errorf("with %d of %d bytes to be kept free: %v", reserve, free, err)
		}
		temp.Discard()
		d.Close()
	}
}
