package cas_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
)

func openDisk(t testing.TB, dir string, config cas.DiskConfig) *cas.Disk {
	t.Helper()
	store, err := cas.OpenDisk(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func objectFile(dir string, d digest.Digest) string {
	return filepath.Join(dir, "objects", d.Hex()[:2], d.Hex()[2:])
}

func write(t testing.TB, store cas.Store, data []byte) digest.Digest {
	t.Helper()
	d := digest.Of(data)
	if err := store.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	return d
}

func has(t testing.TB, store cas.Store, d digest.Digest) bool {
	t.Helper()
	missing, err := store.Missing(t.Context(), []digest.Digest{d}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(missing) == 0
}

func TestDisk(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store { return openDisk(t, t.TempDir(), cas.DiskConfig{}) })
	castest.RunEvicting(t, func(t *testing.T, quota int64) castest.EvictingStore {
		return openDisk(t, t.TempDir(), cas.DiskConfig{QuotaBytes: quota})
	})
}

func TestDiskWithFsync(t *testing.T) {
	store := openDisk(t, t.TempDir(), cas.DiskConfig{Fsync: true})
	data, d := castest.Blob(1, 100_000)
	castest.WritePieces(t, store, d, data, 30_000)
	if got := castest.ReadPieces(t, store, d, 0, 1<<20); !bytes.Equal(got, data) {
		t.Error("read other bytes")
	}
}

func TestDiskLayoutIsCasds(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir, cas.DiskConfig{})
	d := write(t, store, []byte("hello"))
	got, err := os.ReadFile(objectFile(dir, d))
	if err != nil || string(got) != "hello" {
		t.Errorf("the file holds %q, error %v", got, err)
	}
	stat, err := os.Stat(objectFile(dir, d))
	if err != nil || stat.Mode().Perm()&0o222 != 0 {
		t.Errorf("the file's mode is %v, want it read-only; error %v", stat.Mode(), err)
	}
}

func TestDiskKeepsBlobsOverRestart(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir, cas.DiskConfig{})
	d := write(t, store, []byte("hello"))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = openDisk(t, dir, cas.DiskConfig{})
	got, err := store.Read(t.Context(), d)
	if err != nil || string(got) != "hello" {
		t.Errorf("read %q, error %v", got, err)
	}
	if got := store.Usage(); got.Entries != 1 || got.SizeBytes != 4096 {
		t.Errorf("usage is %+v, want one block", got)
	}
}

// Two files whose names differ at their ends only are blobs of two functions.
func TestDiskKeepsFunctionsApartOverRestart(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir, cas.DiskConfig{})
	data := []byte("hello")
	d := digest.BLAKE3.Of(data)
	if err := store.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	namesake, err := digest.New(d.Hex(), d.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(objectFile(dir, namesake) + ".blake3"); err != nil {
		t.Error(err)
	}
	store.Close()
	store = openDisk(t, dir, cas.DiskConfig{})
	if got, err := store.Read(t.Context(), d); err != nil || string(got) != "hello" {
		t.Errorf("read %q, error %v", got, err)
	}
	if has(t, store, namesake) {
		t.Error("a BLAKE3 hash is found as if it were one of SHA-256")
	}
}

func TestDiskRestartEvictsByAge(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir, cas.DiskConfig{})
	var digests []digest.Digest
	for i := range 4 {
		data, d := castest.Blob(uint64(i), 4096)
		write(t, store, data)
		digests = append(digests, d)
	}
	// The order of last use is another than that of writing.
	for age, i := range []int{2, 0, 3, 1} {
		when := time.Now().Add(-time.Duration(age) * time.Hour)
		if err := os.Chtimes(objectFile(dir, digests[i]), when, when); err != nil {
			t.Fatal(err)
		}
	}
	store.Close()
	store = openDisk(t, dir, cas.DiskConfig{QuotaBytes: 2 * 4096})
	for i, want := range []bool{true, false, true, false} {
		if got := has(t, store, digests[i]); got != want {
			t.Errorf("blob %d there: %v, want %v", i, got, want)
		}
		_, err := os.Stat(objectFile(dir, digests[i]))
		if got := err == nil; got != want {
			t.Errorf("file of blob %d there: %v, want %v", i, got, want)
		}
	}
}

func TestDiskUseRefreshesOldTimes(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir, cas.DiskConfig{})
	d := write(t, store, []byte("hello"))
	store.Close()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(objectFile(dir, d), old, old); err != nil {
		t.Fatal(err)
	}
	store = openDisk(t, dir, cas.DiskConfig{})
	has(t, store, d)
	stat, err := os.Stat(objectFile(dir, d))
	if err != nil {
		t.Fatal(err)
	}
	if stat.ModTime().Before(old.Add(time.Minute)) {
		t.Error("the time of a blob in use is still an hour old")
	}
}

func TestDiskSecondOpenerIsRefused(t *testing.T) {
	dir := t.TempDir()
	openDisk(t, dir, cas.DiskConfig{})
	_, err := cas.OpenDisk(dir, cas.DiskConfig{})
	if err == nil || !strings.Contains(err.Error(), "another process uses this folder") {
		t.Errorf("error %v", err)
	}
}

func TestDiskStartDropsWhatIsNoBlob(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir, cas.DiskConfig{})
	d := write(t, store, []byte("hello"))
	torn := write(t, store, []byte("torn by a power failure"))
	store.Close()
	bad := []string{filepath.Join(dir, "tmp", "17"), filepath.Join(dir, "tmp", "n0", "32"), filepath.Join(dir, "objects", "ab", "short"),
		filepath.Join(dir, "objects", "ab", strings.Repeat("G", 62))}
	for _, path := range bad {
		if err := os.WriteFile(path, []byte("rubbish"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(objectFile(dir, torn), 0o644)
	if err := os.Truncate(objectFile(dir, torn), 0); err != nil {
		t.Fatal(err)
	}
	store = openDisk(t, dir, cas.DiskConfig{})
	for _, path := range append(bad, objectFile(dir, torn)) {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
	if got := store.Usage().Entries; got != 1 || !has(t, store, d) {
		t.Errorf("%d blobs after the start, want the good one", got)
	}
}

// TestDiskReplacesTornBlob has a blob that lost its end before the start, and
// one that loses it while the store runs.
func TestDiskReplacesTornBlob(t *testing.T) {
	dir := t.TempDir()
	data, d := castest.Blob(1, 10_000)
	for _, restart := range []bool{true, false} {
		var log bytes.Buffer
		config := cas.DiskConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		store, err := cas.OpenDisk(dir, config)
		if err != nil {
			t.Fatal(err)
		}
		write(t, store, data)
		os.Chmod(objectFile(dir, d), 0o644)
		if err := os.Truncate(objectFile(dir, d), 5000); err != nil {
			t.Fatal(err)
		}
		if restart {
			store.Close()
			if store, err = cas.OpenDisk(dir, config); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := store.Read(t.Context(), d); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("restart=%v: read a torn blob: error %v, want ErrNotFound", restart, err)
		}
		if has(t, store, d) {
			t.Errorf("restart=%v: a torn blob isn't missing", restart)
		}
		if got := strings.Contains(log.String(), "dropped a damaged blob"); got == restart {
			t.Errorf("restart=%v: log is %q", restart, log.String())
		}
		write(t, store, data)
		if got, err := store.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
			t.Errorf("restart=%v: after writing it again: error %v", restart, err)
		}
		if got := store.Usage(); got.Entries != 1 || got.SizeBytes != 3*4096 {
			t.Errorf("restart=%v: usage is %+v, want one blob of three blocks", restart, got)
		}
		store.Close()
	}
}

func TestDiskFileDeletedByOthersIsNotFound(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir, cas.DiskConfig{})
	data, d := castest.Blob(1, 100)
	write(t, store, data)
	if err := os.Remove(objectFile(dir, d)); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenFile(t.Context(), d); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
	if has(t, store, d) {
		t.Error("the index still has it")
	}
	write(t, store, data)
	file, err := store.OpenFile(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read other bytes, error %v", err)
	}
}

func TestDiskLeavesNoTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	store := openDisk(t, dir, cas.DiskConfig{QuotaBytes: 100_000})
	data, d := castest.Blob(1, 1000)
	castest.WritePieces(t, store, d, data, 100)
	for _, bad := range [][]byte{data[:10], make([]byte, 1000)} {
		w, err := store.Create(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(bad); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err == nil {
			t.Error("wrong data was committed")
		}
	}
	w, err := store.Create(t.Context(), digest.Of([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	w.Abort()
	noTemporaryFiles(t, dir)
	if got := store.Usage().SizeBytes; got != 4096 {
		t.Errorf("%d bytes held, want one block", got)
	}
}

// Clients that read the folder themselves expect a file of every blob.
func TestEmptyBlobMayHaveAFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "objects", digest.Empty.Hex()[:2], digest.Empty.Hex()[2:])
	for range 2 { // the second finds the file of the first
		store, err := cas.OpenDisk(dir, cas.DiskConfig{EmptyFile: true, QuotaBytes: 4096})
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range []string{"a", "b", ""} { // the quota has room for one
			if err := store.Write(t.Context(), digest.Of([]byte(data)), []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		if stat, err := os.Stat(path); err != nil || stat.Size() != 0 || stat.Mode().Perm() != 0o444 {
			t.Errorf("got %v, %v, want an empty file", stat, err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	openDisk(t, dir, cas.DiskConfig{})
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("where it isn't asked for: got %v, want no file", err)
	}
}
