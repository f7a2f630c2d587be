package cas_test

import (
	"testing"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
)

func TestMemory(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store { return cas.NewMemory(cas.MemoryConfig{}) })
	castest.RunEvicting(t, func(t *testing.T, quota int64) castest.EvictingStore {
		return cas.NewMemory(cas.MemoryConfig{QuotaBytes: quota})
	})
}

func TestMemoryHandsOutThePiecesItWasGiven(t *testing.T) {
	store := cas.NewMemory(cas.MemoryConfig{})
	data, d := castest.Blob(1, 1000)
	if err := store.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	got, err := store.Read(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if &got[0] != &data[0] {
		t.Error("the blob was copied")
	}
}

// TestMemoryChargesTinyBlobs keeps a million one-byte blobs from passing as a
// megabyte.
func TestMemoryChargesTinyBlobs(t *testing.T) {
	store := cas.NewMemory(cas.MemoryConfig{QuotaBytes: 10_000})
	for i := range 200 {
		data, d := castest.Blob(uint64(i), 2)
		if err := store.Write(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
	}
	if got := store.Usage().Entries; got > 10_000/200 {
		t.Errorf("%d blobs in a quota of 10 kB", got)
	}
}
