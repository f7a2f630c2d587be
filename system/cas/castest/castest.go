// Package castest is the contract of cas.Store as a test: each implementation
// runs it.
//
//	func TestMemory(t *testing.T) {
//		castest.Run(t, func(t *testing.T) cas.Store { return cas.NewMemory(cas.MemoryConfig{}) })
//	}
package castest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// Run tests a store against the contract. newStore returns an empty store that
// has room for a few MiB; it is called for each part.
func Run(t *testing.T, newStore func(t *testing.T) cas.Store) {
	parts := []struct {
		name string
		test func(*testing.T, cas.Store)
	}{
		{"WrittenBlobIsRead", testRoundTrip},
		{"PiecesAreJoined", testPieces},
		{"EmptyBlobIsAlwaysThere", testEmpty},
		{"MissingKeepsOrderAndDuplicates", testMissing},
		{"OpenStartsAtOffset", testOffsets},
		{"NextHonoursLimit", testLimits},
		{"AbsentBlobIsNotFound", testNotFound},
		{"WrongSizeIsNotFound", testWrongSize},
		{"WrongDataIsRefused", testCorrupt},
		{"AbortLeavesNothing", testAbort},
		{"NothingIsVisibleBeforeCommit", testVisibility},
		{"WritingTwiceIsFine", testTwice},
		{"FunctionsNameBlobsOfTheirOwn", testFunctions},
		{"ConcurrentWritersOfOneBlob", testConcurrentWriters},
		{"ConcurrentReadersAndWriters", testConcurrentMix},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) { part.test(t, newStore(t)) })
	}
}

// Blob returns size bytes that depend on the seed alone, and their digest.
func Blob(seed uint64, size int) ([]byte, digest.Digest) {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	random.Read(data)
	return data, digest.Of(data)
}

// WritePieces stores data piece by piece.
func WritePieces(t testing.TB, store cas.Store, d digest.Digest, data []byte, piece int) {
	t.Helper()
	w, err := store.Create(t.Context(), d)
	if err != nil {
		t.Fatalf("create %v: %v", d, err)
	}
	for part := range slices.Chunk(data, piece) {
		if err := w.Append(part); err != nil {
			t.Fatalf("append to %v: %v", d, err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatalf("commit %v: %v", d, err)
	}
}

// ReadPieces reads a blob from an offset to its end.
func ReadPieces(t testing.TB, store cas.Store, d digest.Digest, offset int64, limit int) []byte {
	t.Helper()
	r, err := store.Open(t.Context(), d, offset)
	if err != nil {
		t.Fatalf("open %v at %d: %v", d, offset, err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Errorf("close %v: %v", d, err)
		}
	}()
	data, err := drain(r, limit)
	if err != nil {
		t.Fatalf("read %v from %d: %v", d, offset, err)
	}
	return data
}

// drain reads to the end and checks the size of each piece.
func drain(r cas.Reader, limit int) ([]byte, error) {
	var all []byte
	for {
		piece, err := r.Next(limit)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if len(piece) == 0 || len(piece) > limit {
			return all, fmt.Errorf("a piece has %d bytes, want 1 to %d", len(piece), limit)
		}
		all = append(all, piece...)
	}
}

// missing tells whether the store lacks a blob.
func missing(t testing.TB, store cas.Store, d digest.Digest) bool {
	t.Helper()
	got, err := store.Missing(t.Context(), []digest.Digest{d}, nil)
	if err != nil {
		t.Fatalf("missing %v: %v", d, err)
	}
	return len(got) == 1
}

func mustWrite(t testing.TB, store cas.Store, d digest.Digest, data []byte) {
	t.Helper()
	if err := store.Write(t.Context(), d, data); err != nil {
		t.Fatalf("write %v: %v", d, err)
	}
}

func testRoundTrip(t *testing.T, store cas.Store) {
	for seed, size := range []int{1, 2, 1023, 4096, 300_001} {
		data, d := Blob(uint64(seed), size)
		if !missing(t, store, d) {
			t.Errorf("%d bytes: there before the write", size)
		}
		mustWrite(t, store, d, slices.Clone(data))
		if missing(t, store, d) {
			t.Errorf("%d bytes: missing after the write", size)
		}
		got, err := store.Read(t.Context(), d)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: read other bytes, error %v", size, err)
		}
		if got := ReadPieces(t, store, d, 0, 1000); !bytes.Equal(got, data) {
			t.Errorf("%d bytes: read other bytes in pieces", size)
		}
	}
}

func testPieces(t *testing.T, store cas.Store) {
	for seed, piece := range []int{1, 7, 4096, 100_000} {
		data, d := Blob(uint64(seed), 10_000)
		WritePieces(t, store, d, data, piece)
		got, err := store.Read(t.Context(), d)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("pieces of %d: read other bytes, error %v", piece, err)
		}
	}
}

func testEmpty(t *testing.T, store cas.Store) {
	for _, when := range []string{"before", "after"} {
		if missing(t, store, digest.Empty) {
			t.Errorf("%s writing it, the empty blob is missing", when)
		}
		if got, err := store.Read(t.Context(), digest.Empty); err != nil || len(got) != 0 {
			t.Errorf("%s writing it, the empty blob reads as %d bytes, error %v", when, len(got), err)
		}
		if got := ReadPieces(t, store, digest.Empty, 0, 10); len(got) != 0 {
			t.Errorf("%s writing it, the empty blob has pieces of %d bytes", when, len(got))
		}
		mustWrite(t, store, digest.Empty, nil)
		WritePieces(t, store, digest.Empty, nil, 1)
	}
}

func testMissing(t *testing.T, store cas.Store) {
	var digests, want []digest.Digest
	for i := range 20 {
		data, d := Blob(uint64(i), 100)
		if i%3 == 0 {
			mustWrite(t, store, d, data)
		} else {
			want = append(want, d, d)
		}
		digests = append(digests, d, d)
	}
	before := digest.Of([]byte("what dst held before"))
	got, err := store.Missing(t.Context(), digests, []digest.Digest{before})
	if err != nil {
		t.Fatal(err)
	}
	if want := append([]digest.Digest{before}, want...); !slices.Equal(got, want) {
		t.Errorf("missing are %v\nwant %v", got, want)
	}
}

func testOffsets(t *testing.T, store cas.Store) {
	data, d := Blob(1, 1000)
	WritePieces(t, store, d, data, 300)
	for _, offset := range []int64{0, 1, 299, 300, 301, 900, 999, 1000} {
		if got := ReadPieces(t, store, d, offset, 128); !bytes.Equal(got, data[offset:]) {
			t.Errorf("offset %d: read %d bytes that differ, want %d", offset, len(got), len(data[offset:]))
		}
	}
}

func testLimits(t *testing.T, store cas.Store) {
	data, d := Blob(1, 1000)
	WritePieces(t, store, d, data, 300)
	for _, limit := range []int{1, 299, 300, 301, 1000, 5000} {
		if got := ReadPieces(t, store, d, 0, limit); !bytes.Equal(got, data) {
			t.Errorf("limit %d: read %d bytes that differ", limit, len(got))
		}
	}
}

func testNotFound(t *testing.T, store cas.Store) {
	_, d := Blob(1, 100)
	if _, err := store.Read(t.Context(), d); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("read: error %v, want ErrNotFound", err)
	}
	if _, err := store.Open(t.Context(), d, 0); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("open: error %v, want ErrNotFound", err)
	}
}

// testWrongSize asks for a blob by its hash and another size, as a client may.
func testWrongSize(t *testing.T, store cas.Store) {
	data, d := Blob(1, 100)
	mustWrite(t, store, d, data)
	for _, size := range []int64{0, 99, 101, 1 << 60} {
		other := digest.Digest{Hash: d.Hash, SizeBytes: size}
		if !missing(t, store, other) {
			t.Errorf("%d bytes: not missing", size)
		}
		if _, err := store.Read(t.Context(), other); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("%d bytes: read: error %v, want ErrNotFound", size, err)
		}
		if _, err := store.Open(t.Context(), other, 0); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("%d bytes: open: error %v, want ErrNotFound", size, err)
		}
	}
	if got, err := store.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the blob itself was harmed: error %v", err)
	}
}

// testFunctions stores one content by digests of all functions, one after the other: a
// digest finds what was stored by it, and its hash is no other function's.
func testFunctions(t *testing.T, store cas.Store) {
	data, _ := Blob(1, 1000)
	for i, f := range cas.Functions {
		d := f.Of(data)
		if !missing(t, store, d) {
			t.Errorf("%v: there before it was written", f)
		}
		for _, other := range cas.Functions {
			if foreign := must(other.Digest(d.Hex(), d.SizeBytes)); other != f {
				checkCorrupt(t, foreign, len(data), store.Write(t.Context(), foreign, data))
				checkCorrupt(t, foreign, len(data), writeSlowly(t, store, foreign, data))
			}
		}
		if i%2 == 0 {
			mustWrite(t, store, d, data)
		} else {
			WritePieces(t, store, d, data, 300)
		}
		if missing(t, store, f.Empty()) {
			t.Errorf("%v: the empty blob is missing", f)
		}
		if got, err := store.Read(t.Context(), f.Empty()); err != nil || len(got) != 0 {
			t.Errorf("%v: the empty blob reads as %d bytes, error %v", f, len(got), err)
		}
	}
	for _, f := range cas.Functions {
		if got, err := store.Read(t.Context(), f.Of(data)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%v: read %d bytes, error %v", f, len(got), err)
		}
		if got := ReadPieces(t, store, f.Of(data), 100, 128); !bytes.Equal(got, data[100:]) {
			t.Errorf("%v: read %d bytes from 100 on", f, len(got))
		}
	}
}

func must(d digest.Digest, err error) digest.Digest {
	if err != nil {
		panic(err)
	}
	return d
}

func testCorrupt(t *testing.T, store cas.Store) {
	good, d := Blob(1, 100)
	flipped := slices.Clone(good)
	flipped[50] ^= 1
	for _, bad := range [][]byte{nil, good[:99], flipped, append(slices.Clone(good), 0)} {
		checkCorrupt(t, d, len(bad), store.Write(t.Context(), d, bad))
		checkCorrupt(t, d, len(bad), writeSlowly(t, store, d, bad))
		if !missing(t, store, d) {
			t.Fatalf("%d wrong bytes were stored", len(bad))
		}
	}
	mustWrite(t, store, d, good)
}

func checkCorrupt(t *testing.T, want digest.Digest, got int, err error) {
	t.Helper()
	var corrupt *cas.CorruptError
	if !errors.As(err, &corrupt) {
		t.Errorf("writing %d wrong bytes: error %v, want a CorruptError", got, err)
		return
	}
	if corrupt.Want != want || corrupt.Got == want {
		t.Errorf("writing %d wrong bytes: CorruptError of %v, got %v", got, corrupt.Want, corrupt.Got)
	}
}

// writeSlowly writes in small pieces and returns the first error.
func writeSlowly(t *testing.T, store cas.Store, d digest.Digest, data []byte) error {
	w, err := store.Create(t.Context(), d)
	if err != nil {
		t.Fatalf("create %v: %v", d, err)
	}
	for piece := range slices.Chunk(data, 30) {
		if err := w.Append(piece); err != nil {
			w.Abort()
			return err
		}
	}
	return w.Commit()
}

func testAbort(t *testing.T, store cas.Store) {
	data, d := Blob(1, 100)
	for _, upTo := range []int{0, 50, 100} {
		w, err := store.Create(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(data[:upTo]); err != nil {
			t.Fatal(err)
		}
		w.Abort()
		if !missing(t, store, d) {
			t.Errorf("aborted after %d bytes: the blob is there", upTo)
		}
	}
	WritePieces(t, store, d, data, 10)
}

func testVisibility(t *testing.T, store cas.Store) {
	data, d := Blob(1, 100)
	w, err := store.Create(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(data); err != nil {
		t.Fatal(err)
	}
	if !missing(t, store, d) {
		t.Error("there before Commit")
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if missing(t, store, d) {
		t.Error("missing after Commit")
	}
}

func testTwice(t *testing.T, store cas.Store) {
	data, d := Blob(1, 1000)
	for range 2 {
		mustWrite(t, store, d, data)
		WritePieces(t, store, d, data, 100)
	}
	if got, err := store.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read other bytes, error %v", err)
	}
}

func testConcurrentWriters(t *testing.T, store cas.Store) {
	data, d := Blob(1, 100_000)
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			w, err := store.Create(t.Context(), d)
			if err != nil {
				t.Errorf("writer %d: %v", i, err)
				return
			}
			for piece := range slices.Chunk(data, 10_000+i) {
				if err := w.Append(piece); err != nil {
					t.Errorf("writer %d: %v", i, err)
				}
			}
			if err := w.Commit(); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	writers.Wait()
	if got, err := store.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read other bytes, error %v", err)
	}
}

// testConcurrentMix has readers and writers of the same few blobs: a reader
// finds the whole blob or nothing.
func testConcurrentMix(t *testing.T, store cas.Store) {
	const blobs, workers, rounds = 8, 6, 40
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for range rounds {
				data, d := Blob(uint64(random.IntN(blobs)), 5000)
				if random.IntN(2) == 0 {
					if err := store.Write(t.Context(), d, data); err != nil {
						t.Errorf("write: %v", err)
					}
					continue
				}
				got, err := store.Read(t.Context(), d)
				if errors.Is(err, cas.ErrNotFound) {
					continue
				}
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("read other bytes, error %v", err)
				}
			}
		})
	}
	group.Wait()
}
