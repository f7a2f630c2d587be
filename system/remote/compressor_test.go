package remote_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/remote/zstd"
)

var _ remote.Compressor = (*zstd.Coder)(nil)

func TestCompressedStoreKeepsTheContract(t *testing.T) {
	for name, limit := range map[string]int64{"by batches": 0, "by streams": 200} {
		t.Run(name, func(t *testing.T) {
			castest.Run(t, func(t *testing.T) cas.Store {
				return dialZstd(t, newZstd(t, func(s *zstdServer) { s.batchBytes = limit })).Store()
			})
		})
	}
}

// What doesn't shrink goes as it is.
func TestBatchesAreCompressedWhereItPays(t *testing.T) {
	server := newZstd(t, nil)
	client := dialZstd(t, server)
	random, randomDigest := castest.Blob(1, 10_000)
	for _, c := range []struct {
		data []byte
		want repb.Compressor_Value
	}{
		{make([]byte, remote.MinCompressed-1), repb.Compressor_IDENTITY},
		{make([]byte, remote.MinCompressed), repb.Compressor_ZSTD},
		{random, repb.Compressor_IDENTITY},
		{bytes.Repeat([]byte("text "), 1000), repb.Compressor_ZSTD},
	} {
		server.formats = nil
		d := digest.Of(c.data)
		if err := client.WriteBlob(t.Context(), d, c.data); err != nil {
			t.Fatal(err)
		}
		if got, err := server.blobs.Read(t.Context(), d); err != nil || !bytes.Equal(got, c.data) {
			t.Errorf("of %d bytes the server has %d, error %v", len(c.data), len(got), err)
		}
		if !slices.Equal(server.formats, []repb.Compressor_Value{c.want}) {
			t.Errorf("%d bytes came as %v, want %v", len(c.data), server.formats, c.want)
		}
	}
	if got, err := client.ReadBlob(t.Context(), randomDigest); err != nil || !bytes.Equal(got, random) {
		t.Errorf("read %d bytes, error %v", len(got), err)
	}
}

func TestManyBlobsTravelCompressed(t *testing.T) {
	const limit = 100_000
	server := newZstd(t, func(s *zstdServer) { s.batchBytes = limit })
	client := dialZstd(t, server)
	blobs := make(map[digest.Digest][]byte)
	digests := []digest.Digest{digest.Empty}
	plain := 0
	for i := range 60 {
		data, d := text(uint64(i), 300*(i+1))
		if i == 30 {
			data, d = text(uint64(i), limit+1)
		}
		blobs[d], plain = data, plain+len(data)
		digests = append(digests, d)
	}
	absent := digest.Of([]byte("nobody has this"))
	digests = append(digests, absent)
	if err := client.WriteBlobs(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	for i, r := range client.ReadBlobs(t.Context(), digests) {
		if d := digests[i]; d == absent {
			if !errors.Is(r.Err, cas.ErrNotFound) {
				t.Errorf("the blob nobody has: error %v", r.Err)
			}
		} else if r.Err != nil || !bytes.Equal(r.Value, blobs[d]) {
			t.Errorf("result %d, of %v, has %d bytes, error %v", i, d, len(r.Value), r.Err)
		}
	}
	if server.received > plain*2/3 || server.sent > plain*2/3 {
		t.Errorf("%d bytes took %d to write and %d to read, want about half", plain, server.received, server.sent)
	}
	if got := server.all(); got["GetCapabilities"] != 1 || got["Write"] != 1 || got["Read"] != 1 {
		t.Errorf("it took %v, want one question what the server can, and one stream for the large blob either way", got)
	}
}

// The names tell in what form a stream is.
func checkNames(t *testing.T, server *zstdServer, want ...string) {
	t.Helper()
	server.mu.Lock()
	defer server.mu.Unlock()
	ok := len(server.names) == len(want)
	for i := range min(len(server.names), len(want)) {
		ok = ok && strings.Contains(server.names[i], want[i])
	}
	if !ok {
		t.Errorf("streams are %q, want such of %q", server.names, want)
	}
	server.names = nil
}

func TestStreamsAreCompressed(t *testing.T) {
	const packed, plain = "main/compressed-blobs/zstd/", "main/blobs/"
	const packedUpload, plainUpload = "/compressed-blobs/zstd/", "/blobs/"
	server := newZstd(t, nil)
	client := dialZstd(t, server)
	store := client.Store()
	data, d := text(1, 10*chunk)

	castest.WritePieces(t, store, d, data, 70_000)
	checkNames(t, server, packedUpload)
	if server.received > len(data)*2/3 {
		t.Errorf("%d bytes took %d to write, want about half", len(data), server.received)
	}
	if got := castest.ReadPieces(t, store, d, 0, 1000); !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, want %d", len(got), len(data))
	}
	checkNames(t, server, packed)
	if server.sent > len(data)*2/3 {
		t.Errorf("%d bytes took %d to read, want about half", len(data), server.sent)
	}
	if got := castest.ReadPieces(t, store, d, 1, chunk); !bytes.Equal(got, data[1:]) {
		t.Errorf("from offset 1 read %d bytes, want %d", len(got), len(data)-1)
	}
	checkNames(t, server, plain)

	whole, wholeDigest := text(2, 10*chunk)
	if err := client.WriteBlob(t.Context(), wholeDigest, whole); err != nil {
		t.Fatal(err)
	}
	checkNames(t, server, packedUpload)
	if got, err := client.ReadBlob(t.Context(), wholeDigest); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("read %d bytes, error %v", len(got), err)
	}
	checkNames(t, server, packed)

	random, randomDigest := castest.Blob(3, 10*chunk)
	if err := client.WriteBlob(t.Context(), randomDigest, random); err != nil {
		t.Fatal(err)
	}
	checkNames(t, server, plainUpload)
	small, smallDigest := text(4, remote.MinCompressed-1)
	castest.WritePieces(t, store, smallDigest, small, 10)
	if got := castest.ReadPieces(t, store, smallDigest, 0, 10); !bytes.Equal(got, small) {
		t.Errorf("read %q, want %q", got, small)
	}
	checkNames(t, server, plainUpload, plain)

	if _, err := client.Open(t.Context(), digest.Digest{Hash: d.Hash, SizeBytes: 1 << 40}, 0); !errors.Is(err, cas.ErrNotFound) || status.Code(err) != codes.NotFound {
		t.Errorf("a blob nobody has: error %v, want ErrNotFound with NotFound", err)
	}
	checkNames(t, server, packed)
}

func TestOtherInstanceIsCompressedToo(t *testing.T) {
	server := newZstd(t, nil)
	data, d := text(1, 1000)
	if err := dialZstd(t, server).ForInstance("other").WriteBlob(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(server.formats, onlyZstd) {
		t.Errorf("it came as %v, want zstd", server.formats)
	}
}

// The two capabilities are apart, and a server of none is dealt with in plain.
func TestServerIsGivenWhatItCan(t *testing.T) {
	deflate := []repb.Compressor_Value{repb.Compressor_DEFLATE}
	for _, c := range []struct {
		name             string
		streams, updates []repb.Compressor_Value
		upload           string
		format           repb.Compressor_Value
	}{
		{"none", nil, nil, "/blobs/", repb.Compressor_IDENTITY},
		{"another", deflate, deflate, "/blobs/", repb.Compressor_IDENTITY},
		{"streams", onlyZstd, nil, "/compressed-blobs/", repb.Compressor_IDENTITY},
		{"batches", nil, onlyZstd, "/blobs/", repb.Compressor_ZSTD},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newZstd(t, func(s *zstdServer) {
				s.streams, s.updates = c.streams, c.updates
				s.give = func(data []byte) ([]byte, repb.Compressor_Value) { return data, repb.Compressor_IDENTITY }
				if c.streams != nil {
					s.give = func(data []byte) ([]byte, repb.Compressor_Value) { return s.coder.Encode(data), repb.Compressor_ZSTD }
				}
			})
			client := dialZstd(t, server)
			small, smallDigest := text(1, 1000)
			large, largeDigest := text(2, 10*chunk)
			for d, data := range map[digest.Digest][]byte{smallDigest: small, largeDigest: large} {
				if err := client.WriteBlob(t.Context(), d, data); err != nil {
					t.Fatal(err)
				}
			}
			checkNames(t, server, c.upload)
			if !slices.Equal(server.formats, []repb.Compressor_Value{c.format}) {
				t.Errorf("batches came as %v, want %v", server.formats, c.format)
			}
			for d, want := range map[digest.Digest][]byte{smallDigest: small, largeDigest: large} {
				if got, err := client.ReadBlob(t.Context(), d); err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d of %d bytes, error %v", len(got), len(want), err)
				}
			}
			checkNames(t, server, c.upload)
		})
	}
}

// The storage-server has no compression: the contract holds all the same.
func TestStorageServerIsNotAskedForMore(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		return dialConfig(t, remote.Config{URL: "grpc://" + newStorage(t, 500).address, Instance: "main", RetryLimit: -1, Compressor: zstd.New()}).Store()
	})
}

// A client without a Compressor asks for nothing and takes no notice of what the
// server could.
func TestWithoutCompressorAllIsPlain(t *testing.T) {
	server := newZstd(t, nil)
	client := dial(t, server.address, "main")
	data, d := text(1, 1000)
	castest.WritePieces(t, client.Store(), d, data, 100)
	if got := castest.ReadPieces(t, client.Store(), d, 0, 100); !bytes.Equal(got, data) {
		t.Errorf("read %d bytes", len(got))
	}
	checkNames(t, server, "/blobs/", "/blobs/")
	if got := server.of("GetCapabilities"); got != 0 {
		t.Errorf("asked %d times what the server can", got)
	}
	other, otherDigest := text(2, 1000)
	if err := client.WriteBlob(t.Context(), otherDigest, other); err != nil {
		t.Fatal(err)
	}
	if got, err := client.ReadBlob(t.Context(), otherDigest); err != nil || !bytes.Equal(got, other) {
		t.Errorf("read %d bytes, error %v", len(got), err)
	}
	if plain := repb.Compressor_IDENTITY; !slices.Equal(server.formats, []repb.Compressor_Value{plain, plain}) {
		t.Errorf("batches went as %v, want plain", server.formats)
	}
}

func TestWrongCompressedAnswers(t *testing.T) {
	const size = 200_000
	data, d := text(1, size)
	other, _ := text(2, size)
	coder := zstd.New()
	encoded := coder.Encode(data)
	for _, c := range []struct {
		name string
		sent []byte
		text string // in batches, and in streams unless that says otherwise
	}{
		{"nothing", nil, "has 0 bytes, want 200000"},
		{"the plain data", data, "magic number"},
		{"cut", encoded[:len(encoded)/2], "unexpected EOF"},
		{"other bytes", coder.Encode(other), "has hash " + digest.Of(other).Hex()},
		{"too few bytes", coder.Encode(data[1:]), "has 199999 bytes, want 200000"},
		{"too many bytes", coder.Encode(append(slices.Clone(data), '!')), "decodes to more bytes than it may"},
		{"a frame too many", append(slices.Clone(encoded), encoded...), "decodes to more bytes than it may"},
		{"something after it", append(slices.Clone(encoded), "something"...), "magic number"},
		{"a bomb", bomb(t, 1<<30), "decode zstd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newZstd(t, func(s *zstdServer) {
				s.give = func([]byte) ([]byte, repb.Compressor_Value) { return c.sent, repb.Compressor_ZSTD }
			})
			if err := server.blobs.Write(t.Context(), d, data); err != nil {
				t.Fatal(err)
			}
			client := dialZstd(t, server)
			check := func(kind string, err error) {
				t.Helper()
				corrupt := (*cas.CorruptError)(nil)
				if !errors.As(err, &corrupt) || corrupt.Want != d || corrupt.Got == d || !strings.Contains(err.Error(), c.text) {
					t.Errorf("%s: error %v, want a CorruptError about %q", kind, err, c.text)
				}
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := client.ReadBlob(t.Context(), d)
			if got != nil {
				t.Errorf("got %d bytes beside the error", len(got))
			}
			check("batch", err)
			r, err := client.Open(t.Context(), d, 0)
			read := 0
			for err == nil {
				var piece []byte
				piece, err = r.Next(chunk)
				read += len(piece)
			}
			check("stream", err)
			runtime.ReadMemStats(&after)
			if read > size {
				t.Errorf("the stream gave %d bytes, %d are the blob", read, size)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 64<<20 {
				t.Errorf("it took %d MB of memory to find out", took>>20)
			}
			if r != nil {
				if _, again := r.Next(1); !errors.Is(again, err) && again.Error() != err.Error() {
					t.Errorf("after %v comes %v", err, again)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				if _, err := r.Next(1); err == nil {
					t.Error("a closed reader gives data")
				}
			}
		})
	}
}

func TestUnaskedCompressorIsRefused(t *testing.T) {
	data, d := text(1, 1000)
	server := newZstd(t, func(s *zstdServer) {
		s.give = func(data []byte) ([]byte, repb.Compressor_Value) { return data, repb.Compressor_DEFLATE }
	})
	if err := server.blobs.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if got, err := dialZstd(t, server).ReadBlob(t.Context(), d); got != nil || err == nil || !strings.Contains(err.Error(), "answered in DEFLATE") {
		t.Errorf("got %d bytes, error %v, want one about DEFLATE", len(got), err)
	}
}

// A stream that breaks is not called corrupt.
func TestBrokenCompressedStream(t *testing.T) {
	server := newZstd(t, nil, grpc.ChainStreamInterceptor(func(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(service, &stutter{ServerStream: stream, left: 3})
	}))
	data, d := text(1, 10*chunk)
	if err := server.blobs.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	_, err := dialZstd(t, server).ReadBlob(t.Context(), d)
	corrupt := (*cas.CorruptError)(nil)
	if status.Code(err) != codes.DataLoss || errors.As(err, &corrupt) {
		t.Errorf("error %v, want DATA_LOSS", err)
	}
}

// stutter lets some messages pass, and then breaks.
type stutter struct {
	grpc.ServerStream
	left int
}

func (s *stutter) SendMsg(m any) error {
	if s.left--; s.left < 0 {
		return status.Error(codes.DataLoss, "bad disk")
	}
	return s.ServerStream.SendMsg(m)
}

// A server that has the blob says so with -1, at any time; one that has it now says how
// much that was in one of three ways. See whole.
func TestCommittedSizesOfCompressedUploads(t *testing.T) {
	for name, c := range map[string]struct {
		committed func(sent, size int64) int64
		ok        bool
	}{
		"as sent":                {func(sent, _ int64) int64 { return sent }, true},
		"the blob's size":        {func(_, size int64) int64 { return size }, true},
		"-1":                     {func(int64, int64) int64 { return -1 }, true},
		"less":                   {func(sent, _ int64) int64 { return sent - 1 }, false},
		"more than the blob has": {func(_, size int64) int64 { return size + 1 }, false},
		"nothing":                {func(int64, int64) int64 { return 0 }, false},
		"-2":                     {func(int64, int64) int64 { return -2 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := newZstd(t, func(s *zstdServer) { s.committed = c.committed })
			client := dialZstd(t, server)
			data, d := text(1, 10*chunk)
			err := client.WriteBlob(t.Context(), d, data)
			if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "committed") {
				t.Errorf("whole: error %v", err)
			}
			data, d = text(2, 10*chunk)
			if err = writeByPiece(t, client, d, data); (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "committed") {
				t.Errorf("in pieces: error %v", err)
			}
		})
	}
}

func writeByPiece(t *testing.T, client *remote.Client, d digest.Digest, data []byte) error {
	t.Helper()
	w, err := client.Create(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	for piece := range slices.Chunk(data, 50_000) {
		if err := w.Append(piece); err != nil {
			w.Abort()
			return err
		}
	}
	return w.Commit()
}

func TestCompressedUploadOfWhatIsThereEndsEarly(t *testing.T) {
	server := newZstd(t, nil)
	client := dialZstd(t, server)
	data, d := text(1, 40*chunk)
	if err := server.blobs.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if err := client.WriteBlob(t.Context(), d, data); err != nil {
		t.Error(err)
	}
	if err := writeByPiece(t, client, d, data); err != nil {
		t.Error(err)
	}
	checkNames(t, server, "/compressed-blobs/", "/compressed-blobs/")
	if server.received != 0 {
		t.Errorf("the server took %d bytes of what it has", server.received)
	}
}

// Nothing of wrong data is finished, compressed or not.
func TestWrongDataIsNotFinishedCompressed(t *testing.T) {
	server := newZstd(t, nil)
	data, _ := text(1, 1000)
	other, d := text(2, 1000)
	checkCorrupt(t, writeByPiece(t, dialZstd(t, server), d, data), &cas.CorruptError{Want: d, Got: digest.Of(data)}, "")
	checkCorrupt(t, writeByPiece(t, dialZstd(t, server), d, append(other, '!')), &cas.CorruptError{Want: d, Got: digest.Digest{SizeBytes: 1001}}, "")
	if missing, err := server.blobs.Missing(t.Context(), []digest.Digest{d, digest.Of(data)}, nil); len(missing) != 2 || err != nil {
		t.Errorf("of two blobs are missing %v, error %v", missing, err)
	}
}

// What the server has decoded isn't sent again: of what is left a new frame is made, whose
// first offset is in the blob.
func TestBrokenCompressedUploadIsTakenUpWhereItBroke(t *testing.T) {
	for _, c := range []struct {
		name    string
		cutter  *cutter
		streams int
	}{
		{"unbroken", &cutter{}, 1},
		{"half-way", &cutter{after: 3, cuts: 1}, 2},
		{"twice", &cutter{after: 1, cuts: 2}, 3},
		{"before anything", &cutter{after: 0, cuts: 1}, 1},
		{"as often as we bear", &cutter{after: 1, cuts: remote.MaxResumes}, remote.MaxResumes + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newZstd(t, nil, grpc.ChainStreamInterceptor(c.cutter.intercept))
			data, d := text(1, 10*chunk) // six of them compressed
			if err := dialZstd(t, server).WriteBlob(t.Context(), d, data); err != nil {
				t.Fatal(err)
			}
			if got, err := server.blobs.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
				t.Errorf("stored %d bytes, error %v", len(got), err)
			}
			offsets := c.cutter.offsets
			if len(offsets) != c.streams || offsets[0] != 0 || !slices.IsSorted(offsets) {
				t.Fatalf("streams began at %v, want %d of them", offsets, c.streams)
			}
			// A message decodes to more than it has, so that each stream got on by more than that.
			for i := 1; i < len(offsets); i++ {
				if offsets[i] <= offsets[i-1]+int64(c.cutter.after*chunk) {
					t.Errorf("stream %d began at %d after %d messages from %d on", i, offsets[i], c.cutter.after, offsets[i-1])
				}
			}
			// For each break at most a block is lost, and a frame of what is left is a little larger.
			once := len(zstd.New().Encode(data))
			if most := once + (c.streams-1)*chunk/2; c.cutter.bytes > most {
				t.Errorf("%d bytes were sent, want %d and at most %d more", c.cutter.bytes, once, most-once)
			}
		})
	}
}

// A server that counts what it was sent gets the blob all the same: from the start, under
// another name.
func TestCompressedUploadStartsAgainWhereOffsetsMeanAnother(t *testing.T) {
	cutter := cutter{after: 2, cuts: 1}
	server := newZstd(t, func(s *zstdServer) { s.asSent = true }, grpc.ChainStreamInterceptor(cutter.intercept))
	data, d := text(1, 10*chunk)
	if err := dialZstd(t, server).WriteBlob(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if got, err := server.blobs.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("stored %d bytes, error %v", len(got), err)
	}
	if want := []int64{0, 2 * chunk, 0}; !slices.Equal(cutter.offsets, want) {
		t.Errorf("streams began at %v, want %v", cutter.offsets, want)
	}
	if n := server.names; len(n) != 3 || n[0] != n[1] || n[1] == n[2] {
		t.Errorf("streams are %q, want the third under another name", n)
	}
}

// All of the blob has come, and not that it is all: an empty frame says so.
func TestCompressedUploadOfWhichAllHasComeIsFinished(t *testing.T) {
	data, d := text(1, 10*chunk)
	cutter := cutter{after: 1, cuts: 1}
	server := newZstd(t, func(s *zstdServer) { s.whole = data }, grpc.ChainStreamInterceptor(cutter.intercept))
	if err := dialZstd(t, server).WriteBlob(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if got, err := server.blobs.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
		t.Errorf("stored %d bytes, error %v", len(got), err)
	}
	if want := []int64{0, 10 * chunk}; !slices.Equal(cutter.offsets, want) {
		t.Errorf("streams began at %v, want %v", cutter.offsets, want)
	}
}

// What the server refuses without having been asked to go on is refused.
func TestRefusedCompressedUploadIsNotRepeated(t *testing.T) {
	server := newZstd(t, nil)
	data, _ := text(1, 10*chunk)
	_, d := text(2, 10*chunk)
	if err := dialZstd(t, server).WriteBlob(t.Context(), d, data); status.Code(err) != codes.InvalidArgument {
		t.Errorf("error %v, want INVALID_ARGUMENT", err)
	}
	if got := server.of("Write"); got != 1 {
		t.Errorf("%d streams, want 1", got)
	}
}

// The answer got lost; what the server has by then counts in bytes of the blob.
func TestCompressedUploadThatIsCompleteIsNotRepeated(t *testing.T) {
	cutter := cutter{atReply: true, cuts: 1}
	server := newZstd(t, func(s *zstdServer) { s.complete = true }, grpc.ChainStreamInterceptor(cutter.intercept))
	data, d := text(1, 10*chunk)
	if err := dialZstd(t, server).WriteBlob(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	if got := server.of("Write"); got != 1 {
		t.Errorf("%d streams, want 1", got)
	}
}

// BenchmarkBlobs is of 64 blobs at a time in batches, and of one that is streamed, of
// data that shrinks to half. On loopback the wire is free, and the server's coding counts
// as well: what is seen is the price.
func BenchmarkBlobs(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 20} {
		blobs := make(map[digest.Digest][]byte)
		var digests []digest.Digest
		for i := range min(64, 16<<20/size) {
			data, d := text(uint64(i), size)
			blobs[d] = data
			digests = append(digests, d)
		}
		for name, compressor := range map[string]remote.Compressor{"none": nil, "zstd": zstd.New()} {
			server := newZstd(b, nil)
			client := dialConfig(b, remote.Config{URL: "grpc://" + server.address, Instance: "main", Compressor: compressor})
			b.Run(fmt.Sprintf("op=write/size=%d/compressor=%s", size, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size * len(blobs)))
				server.received = 0
				for b.Loop() {
					server.blobs = cas.NewMemory(cas.MemoryConfig{})
					if err := client.WriteBlobs(b.Context(), blobs); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(server.received)/float64(b.N), "wire-B/op")
			})
			if err := client.WriteBlobs(b.Context(), blobs); err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("op=read/size=%d/compressor=%s", size, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size * len(blobs)))
				server.sent = 0
				for b.Loop() {
					for _, r := range client.ReadBlobs(b.Context(), digests) {
						if r.Err != nil {
							b.Fatal(r.Err)
						}
					}
				}
				b.ReportMetric(float64(server.sent)/float64(b.N), "wire-B/op")
			})
		}
	}
}
