package castest

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// EvictingStore is a Store that tells how full it is.
type EvictingStore interface {
	cas.Store
	Usage() cas.Usage
}

// The quota of RunEvicting and blobs of which it holds eight to ten.
const (
	quotaBytes = 640 << 10
	blobBytes  = 63 << 10
)

// RunEvicting tests what a store with a byte quota promises beyond Run. newStore
// returns an empty store with the given quota.
func RunEvicting(t *testing.T, newStore func(t *testing.T, quotaBytes int64) EvictingStore) {
	parts := []struct {
		name string
		test func(*testing.T, EvictingStore)
	}{
		{"QuotaHolds", testQuotaHolds},
		{"UsedBlobsOutliveUnused", testRecency},
		{"EvictedBlobIsReadToItsEnd", testReadDuringEviction},
		{"TooLargeIsNoSpace", testNoSpace},
		{"UploadsCountAgainstTheQuota", testUploadsCount},
		{"ClaimedSizeEvictsNothing", testClaim},
		{"ConcurrentUseUnderEviction", testConcurrentEviction},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) { part.test(t, newStore(t, quotaBytes)) })
	}
}

func testQuotaHolds(t *testing.T, store EvictingStore) {
	for i := range 50 {
		data, d := Blob(uint64(i), blobBytes)
		if i%2 == 0 {
			mustWrite(t, store, d, data)
		} else {
			WritePieces(t, store, d, data, 10_000)
		}
		if missing(t, store, d) {
			t.Fatalf("blob %d is missing right after its write", i)
		}
		if got := store.Usage(); got.SizeBytes > quotaBytes || got.QuotaBytes != quotaBytes {
			t.Fatalf("after %d blobs usage is %+v, want at most %d", i, got, quotaBytes)
		}
	}
	got := store.Usage()
	if got.EvictedBytes < 40*blobBytes || got.Entries < 8 {
		t.Errorf("after 50 blobs usage is %+v, want at least 40 blobs evicted and 8 kept", got)
	}
}

func testRecency(t *testing.T, store EvictingStore) {
	var used [3]digest.Digest
	for i := range used {
		data, d := Blob(uint64(i), blobBytes)
		mustWrite(t, store, d, data)
		used[i] = d
	}
	_, unused := Blob(100, blobBytes)
	for i := 100; i < 120; i++ {
		data, d := Blob(uint64(i), blobBytes)
		mustWrite(t, store, d, data)
		missing(t, store, used[0])
		if _, err := store.Read(t.Context(), used[1]); err != nil {
			t.Fatalf("after %d: a blob in use by Read went: %v", i, err)
		}
		ReadPieces(t, store, used[2], 0, blobBytes)
	}
	if missing(t, store, used[0]) {
		t.Error("a blob asked for by Missing went")
	}
	if !missing(t, store, unused) {
		t.Error("a blob not used is still there")
	}
}

func testReadDuringEviction(t *testing.T, store EvictingStore) {
	data, d := Blob(1, blobBytes)
	WritePieces(t, store, d, data, 10_000)
	r, err := store.Open(t.Context(), d, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first, err := r.Next(1000)
	if err != nil {
		t.Fatal(err)
	}
	got := bytes.Clone(first)
	for i := 100; i < 120; i++ {
		other, d := Blob(uint64(i), blobBytes)
		mustWrite(t, store, d, other)
	}
	if !missing(t, store, d) {
		t.Fatal("the blob wasn't evicted: the test shows nothing")
	}
	rest, err := drain(r, 1000)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes that differ, error %v", len(got), err)
	}
}

func testNoSpace(t *testing.T, store EvictingStore) {
	kept, keptDigest := Blob(1, blobBytes)
	mustWrite(t, store, keptDigest, kept)
	data, d := Blob(2, quotaBytes+1)
	if err := store.Write(t.Context(), d, data); !errors.Is(err, cas.ErrNoSpace) {
		t.Errorf("write: error %v, want ErrNoSpace", err)
	}
	if _, err := store.Create(t.Context(), d); !errors.Is(err, cas.ErrNoSpace) {
		t.Errorf("create: error %v, want ErrNoSpace", err)
	}
	if missing(t, store, keptDigest) {
		t.Error("a blob was evicted for one that can't fit")
	}
}

func testUploadsCount(t *testing.T, store EvictingStore) {
	const size = quotaBytes/2 + 8192
	var writers [2]cas.Writer
	for i := range writers {
		_, d := Blob(uint64(i), size)
		w, err := store.Create(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		writers[i] = w
	}
	first, _ := Blob(0, size)
	if err := writers[0].Append(first); err != nil {
		t.Fatal(err)
	}
	second, d := Blob(1, size)
	if err := writers[1].Append(second); !errors.Is(err, cas.ErrNoSpace) {
		t.Errorf("second upload: error %v, want ErrNoSpace", err)
	}
	writers[0].Abort()
	writers[1].Abort()
	if got := store.Usage().SizeBytes; got != 0 {
		t.Errorf("%d bytes are held after both were aborted", got)
	}
	WritePieces(t, store, d, second, 10_000)
}

func testClaim(t *testing.T, store EvictingStore) {
	kept, keptDigest := Blob(1, blobBytes)
	mustWrite(t, store, keptDigest, kept)
	_, d := Blob(2, 10)
	w, err := store.Create(t.Context(), digest.Digest{Hash: d.Hash, SizeBytes: quotaBytes - 4096})
	if err != nil {
		t.Fatal(err)
	}
	if missing(t, store, keptDigest) {
		t.Error("a claimed size alone evicted a blob")
	}
	w.Abort()
}

// testConcurrentEviction writes more than fits from several goroutines: what is
// read is whole, and what was just written by nobody else is there or was
// evicted for newer blobs, never torn.
func testConcurrentEviction(t *testing.T, store EvictingStore) {
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 40 {
				data, d := Blob(uint64((worker*7+i)%20), blobBytes)
				if err := store.Write(t.Context(), d, data); err != nil {
					t.Errorf("write: %v", err)
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
	if got := store.Usage(); got.SizeBytes > quotaBytes {
		t.Errorf("%d bytes held, quota %d", got.SizeBytes, quotaBytes)
	}
}
