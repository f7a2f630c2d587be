package cas_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
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
				got, err := store.Keep(t.Context(), iotest.HalfReader(bytes.NewReader(data)))
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
			if _, err := store.Keep(c.ctx, c.source(data)); !errors.Is(err, c.want) {
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
