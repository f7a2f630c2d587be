package cas_test

import (
	"io"
	"testing"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
)

// benchStores runs a benchmark on each store.
func benchStores(b *testing.B, run func(*testing.B, cas.Store)) {
	b.Run("store=memory", func(b *testing.B) { run(b, cas.NewMemory(cas.MemoryConfig{QuotaBytes: 1 << 30})) })
	b.Run("store=disk", func(b *testing.B) { run(b, openDisk(b, b.TempDir(), cas.DiskConfig{QuotaBytes: 1 << 30})) })
}

// BenchmarkMissing100 asks for 100 digests of which the store holds half, among
// 20,000 others.
func BenchmarkMissing100(b *testing.B) {
	benchStores(b, func(b *testing.B, store cas.Store) {
		var digests []digest.Digest
		for i := range 10_000 {
			data, d := castest.Blob(uint64(i), 32)
			if i%200 < 100 {
				digests = append(digests, d)
			}
			if i%2 == 0 {
				write(b, store, data)
			}
		}
		var missing []digest.Digest
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			at := i % 50 * 100
			var err error
			missing, err = store.Missing(b.Context(), digests[at:at+100], missing[:0])
			if err != nil || len(missing) != 50 {
				b.Fatalf("%d missing, error %v", len(missing), err)
			}
		}
	})
}

// BenchmarkWrite1KiB writes different blobs whole, as BatchUpdateBlobs does.
func BenchmarkWrite1KiB(b *testing.B) {
	benchStores(b, func(b *testing.B, store cas.Store) {
		b.SetBytes(1 << 10)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			data := make([]byte, 1<<10)
			data[0], data[1], data[2] = byte(i), byte(i>>8), byte(i>>16)
			if err := store.Write(b.Context(), digest.Of(data), data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRead1KiB reads blobs whole, as BatchReadBlobs does.
func BenchmarkRead1KiB(b *testing.B) {
	benchStores(b, func(b *testing.B, store cas.Store) {
		var digests []digest.Digest
		for i := range 1000 {
			data, _ := castest.Blob(uint64(i), 1<<10)
			digests = append(digests, write(b, store, data))
		}
		b.SetBytes(1 << 10)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := store.Read(b.Context(), digests[i%len(digests)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWrite64MiB writes a blob in pieces of 256 KiB, as ByteStream does.
// store=none only hashes it.
func BenchmarkWrite64MiB(b *testing.B) {
	const size, piece = 64 << 20, 256 << 10
	data, d := castest.Blob(1, size)
	b.Run("store=none", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			digest.Of(data)
		}
	})
	benchStores(b, func(b *testing.B, store cas.Store) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			castest.WritePieces(b, store, d, data, piece)
		}
	})
}

// BenchmarkRead64MiB reads a blob in pieces of 256 KiB.
func BenchmarkRead64MiB(b *testing.B) {
	const size, piece = 64 << 20, 256 << 10
	data, d := castest.Blob(1, size)
	benchStores(b, func(b *testing.B, store cas.Store) {
		castest.WritePieces(b, store, d, data, piece)
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			r, err := store.Open(b.Context(), d, 0)
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				_, err = r.Next(piece)
			}
			if err != io.EOF {
				b.Fatal(err)
			}
			r.Close()
		}
	})
}
