package cas_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/iotest"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
)

func TestKeepFindsOutTheDigest(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
	}{
		{"of nothing", 0},
		{"of a byte", 1},
		{"of as much as is held in memory", 1 << 20},
		{"of a byte more", 1<<20 + 1},
		{"of twice that", 2<<20 + 2},
		{"of much more", 3_500_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			store := openDisk(t, dir, cas.DiskConfig{})
			data, want := castest.Blob(uint64(c.size), c.size)
			for _, again := range []bool{false, true} {
				got, err := store.Keep(t.Context(), iotest.HalfReader(bytes.NewReader(data)), nil)
				if err != nil || got != want {
					t.Fatalf("again %v: got %v, %v, want %v", again, got, err, want)
				}
				if stored, err := store.Read(t.Context(), want); err != nil || !bytes.Equal(stored, data) {
					t.Errorf("again %v: read %d other bytes, error %v", again, len(stored), err)
				}
			}
			noTemporaryFiles(t, dir)
		})
	}
}

// TestFreshBlobsAreTold keeps files, and gives others away, twice each.
func TestFreshBlobsAreTold(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
		want int // blobs told of
	}{
		{"nothing", 0, 0},
		{"a byte", 1, 1},
		{"as much as is held in memory", 1 << 20, 1},
		{"a byte more", 1<<20 + 1, 0},
		{"more than twice that", 2<<20 + 100, 0},
	} {
		for _, adopt := range []bool{false, true} {
			dir, files := folders(t)
			store := openDisk(t, dir, cas.DiskConfig{})
			data, want := castest.Blob(uint64(c.size), c.size)
			told := 0
			fresh := func(got digest.Digest, content []byte) {
				if told++; got != want || !bytes.Equal(content, data) || !has(t, store, got) {
					t.Errorf("%s, adopt %v: told of %v with %d bytes, want %v, stored", c.name, adopt, got, len(content), want)
				}
			}
			for i := range 2 {
				path := filepath.Join(files, strconv.Itoa(i))
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
				file := open(t, path, os.O_RDONLY)
				var err error
				if adopt {
					_, _, err = store.Adopt(t.Context(), file, fresh)
				} else {
					_, err = store.Keep(t.Context(), file, fresh)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if told != c.want {
				t.Errorf("%s, adopt %v: told of %d blobs, want %d", c.name, adopt, told, c.want)
			}
		}
	}
}

func TestWhatCantBeKeptLeavesNothing(t *testing.T) {
	broken := errors.New("the source is broken")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name   string
		ctx    context.Context
		size   int
		source func([]byte) io.Reader
		want   error
	}{
		{"a source that fails at its start", t.Context(), 0, func([]byte) io.Reader { return iotest.ErrReader(broken) }, broken},
		{"a source that fails in its midst", t.Context(), 1_500_000, func(data []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken))
		}, broken},
		{"more than the quota", t.Context(), 3 << 20, func(data []byte) io.Reader { return bytes.NewReader(data) }, cas.ErrNoSpace},
		{"what nobody waits for", canceled, 1_500_000, func(data []byte) io.Reader { return bytes.NewReader(data) }, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			store := openDisk(t, dir, cas.DiskConfig{QuotaBytes: 2 << 20})
			data, d := castest.Blob(1, c.size)
			if _, err := store.Keep(c.ctx, c.source(data), nil); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if c.size > 0 && has(t, store, d) {
				t.Error("it is stored")
			}
			if got := store.Usage().SizeBytes; got != 0 {
				t.Errorf("it takes %d bytes of the quota", got)
			}
			noTemporaryFiles(t, dir)
		})
	}
}

func noTemporaryFiles(t *testing.T, dir string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(dir, "tmp", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files: %v, error %v", left, err)
	}
}
