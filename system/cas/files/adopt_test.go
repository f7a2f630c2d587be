package files_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/weir-build/weir/system/cas/files"
)

// A name that perhaps doesn't reach the disk is taken back, and so is what its file became.
func TestFileWhoseNameIsNotSyncedIsGivenBack(t *testing.T) {
	root := t.TempDir()
	d := openWith(t, filepath.Join(root, "store"), files.Config{Fsync: true})
	path := filepath.Join(root, "file")
	if err := os.WriteFile(path, []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	temp, err := d.Adopt(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := withoutDescriptors(t, func() error { return temp.Commit("abcd") }); err == nil {
		t.Error("it was stored")
	}
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if after.Mode() != before.Mode() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("it changed from %v of %v to %v of %v", before.Mode(), before.ModTime(), after.Mode(), after.ModTime())
	}
	if _, err := os.Stat(d.Path("abcd")); err == nil {
		t.Error("it still has the name of what is stored")
	}
	if got := d.Usage().SizeBytes; got != 0 {
		t.Errorf("it takes %d bytes of the quota", got)
	}
}

// withoutDescriptors calls do where nothing can be opened.
func withoutDescriptors(t *testing.T, do func() error) error {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	return do()
}
