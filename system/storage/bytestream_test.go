package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
)

func newDiskCluster(t testing.TB) *cluster {
	t.Helper()
	blobs, err := cas.OpenDisk(t.TempDir(), cas.DiskConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	return newCluster(t, blobs)
}

func TestByteStreamRoundTrip(t *testing.T) {
	clusters := map[string]*cluster{"memory": newMemoryCluster(t), "disk": newDiskCluster(t)}
	for name, c := range clusters {
		for seed, size := range []int{1, 1000, 3 << 20} {
			data, d := castest.Blob(uint64(seed), size)
			response, err := c.write(t.Context(), upload(writeName(d), data, 100_000, 0)...)
			if err != nil || response.CommittedSize != int64(size) {
				t.Errorf("%s: write %d bytes: %v, error %v", name, size, response, err)
			}
			got, err := c.read(t.Context(), &bytestream.ReadRequest{ResourceName: digest.ReadName("main", d)})
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: read %d bytes of %d, error %v", name, len(got), size, err)
			}
		}
	}
}

func TestReadHonoursOffsetAndLimit(t *testing.T) {
	c := newMemoryCluster(t)
	data, d := castest.Blob(1, 600_000)
	castest.WritePieces(t, c.blobs, d, data, 100_000)
	rows := []struct{ offset, limit, from, to int64 }{
		{0, 0, 0, 600_000}, {1, 0, 1, 600_000}, {0, 1, 0, 1}, {99_999, 2, 99_999, 100_001},
		{500_000, 1 << 62, 500_000, 600_000}, {600_000, 0, 600_000, 600_000}, {600_000, 5, 600_000, 600_000},
	}
	for _, row := range rows {
		got, err := c.read(t.Context(), &bytestream.ReadRequest{ResourceName: digest.ReadName("main", d), ReadOffset: row.offset, ReadLimit: row.limit})
		if err != nil || !bytes.Equal(got, data[row.from:row.to]) {
			t.Errorf("offset %d limit %d: %d bytes, error %v, want %d", row.offset, row.limit, len(got), err, row.to-row.from)
		}
	}
}

func TestReadRefusesBadInput(t *testing.T) {
	c := newMemoryCluster(t)
	d := c.put(t, "hello")
	name := digest.ReadName("main", d)
	absent := digest.ReadName("main", digest.Of([]byte("absent")))
	rows := []struct {
		request *bytestream.ReadRequest
		code    codes.Code
		text    string
	}{
		{&bytestream.ReadRequest{ResourceName: absent}, codes.NotFound, "not found"},
		{&bytestream.ReadRequest{ResourceName: name, ReadOffset: -1}, codes.OutOfRange, "read_offset -1 is outside"},
		{&bytestream.ReadRequest{ResourceName: name, ReadOffset: 6}, codes.OutOfRange, "read_offset 6 is outside"},
		{&bytestream.ReadRequest{ResourceName: name, ReadLimit: -1}, codes.InvalidArgument, "read_limit -1"},
		{&bytestream.ReadRequest{}, codes.InvalidArgument, "want [instance/]blobs"},
		{&bytestream.ReadRequest{ResourceName: "/" + name}, codes.InvalidArgument, "malformed"},
		{&bytestream.ReadRequest{ResourceName: name + "/"}, codes.InvalidArgument, "malformed"},
		{&bytestream.ReadRequest{ResourceName: "main/blobs/../../../etc/passwd"}, codes.InvalidArgument, "malformed"},
		{&bytestream.ReadRequest{ResourceName: "main/blobs/" + d.Hex() + "/-5"}, codes.InvalidArgument, "malformed"},
		{&bytestream.ReadRequest{ResourceName: "main/blobs/" + d.Hex() + "/99999999999999999999"}, codes.InvalidArgument, "malformed"},
		{&bytestream.ReadRequest{ResourceName: "main/blobs/" + strings.ToUpper(d.Hex()) + "/5"}, codes.InvalidArgument, "lower-case"},
		{&bytestream.ReadRequest{ResourceName: "main/compressed-blobs/zstd/" + d.String()}, codes.InvalidArgument, "compressed blobs are not supported"},
	}
	for _, row := range rows {
		_, err := c.read(t.Context(), row.request)
		wantStatus(t, fmt.Sprint(row.request), err, row.code, row.text)
	}
}

func TestWriteOfPresentBlobAnswersAtOnce(t *testing.T) {
	c := newMemoryCluster(t)
	d := c.put(t, "hello")
	for _, d := range []digest.Digest{d, digest.Empty} {
		response, err := c.write(t.Context(), &bytestream.WriteRequest{ResourceName: writeName(d)})
		if err != nil || response.CommittedSize != d.SizeBytes {
			t.Errorf("%v: %v, error %v", d, response, err)
		}
	}
}

func TestWriteRefusesBadStreams(t *testing.T) {
	c := newCluster(t, cas.NewMemory(cas.MemoryConfig{QuotaBytes: 1 << 20}))
	data, d := castest.Blob(1, 1000)
	flipped := bytes.Clone(data)
	flipped[1] ^= 1
	name := writeName(d)
	huge := writeName(digest.Digest{Hash: d.Hash, SizeBytes: 1 << 50})
	rows := []struct {
		what     string
		messages []*bytestream.WriteRequest
		code     codes.Code
		text     string
	}{
		{"no message", nil, codes.InvalidArgument, "before its first message"},
		{"no name", []*bytestream.WriteRequest{{Data: data, FinishWrite: true}}, codes.InvalidArgument, "want [instance/]uploads"},
		{"climbing name", []*bytestream.WriteRequest{{ResourceName: "main/../other/uploads/u/blobs/" + d.String()}}, codes.InvalidArgument, "it has the part .."},
		{"no uuid", []*bytestream.WriteRequest{{ResourceName: "main/uploads//blobs/" + d.String()}}, codes.InvalidArgument, "the uuid is empty"},
		{"compressed", []*bytestream.WriteRequest{{ResourceName: "main/uploads/u/compressed-blobs/zstd/" + d.String()}}, codes.InvalidArgument, "compressed blobs are not supported"},
		{"starts beyond 0", []*bytestream.WriteRequest{{ResourceName: name, WriteOffset: 5, Data: data[5:], FinishWrite: true}}, codes.InvalidArgument, "write_offset is 5, but 0 bytes"},
		{"negative offset", []*bytestream.WriteRequest{{ResourceName: name, WriteOffset: -1, Data: data, FinishWrite: true}}, codes.InvalidArgument, "write_offset is -1"},
		{"gap", []*bytestream.WriteRequest{{ResourceName: name, Data: data[:500]}, {WriteOffset: 501, Data: data[501:], FinishWrite: true}}, codes.InvalidArgument, "write_offset is 501, want 500"},
		{"overlap", []*bytestream.WriteRequest{{ResourceName: name, Data: data[:500]}, {WriteOffset: 499, Data: data[499:], FinishWrite: true}}, codes.InvalidArgument, "write_offset is 499, want 500"},
		{"name changes", []*bytestream.WriteRequest{{ResourceName: name, Data: data[:500]}, {ResourceName: huge, WriteOffset: 500, Data: data[500:], FinishWrite: true}}, codes.InvalidArgument, "the resource name changed"},
		{"finished early", []*bytestream.WriteRequest{{ResourceName: name, Data: data[:999], FinishWrite: true}}, codes.InvalidArgument, "has 999 bytes, want 1000"},
		{"too much", []*bytestream.WriteRequest{{ResourceName: name, Data: append(bytes.Clone(data), 0)}}, codes.InvalidArgument, "has 1001 bytes, want 1000"},
		{"wrong hash", []*bytestream.WriteRequest{{ResourceName: name, Data: flipped, FinishWrite: true}}, codes.InvalidArgument, "has hash"},
		{"data after finish", append(upload(name, data, 500, 0), &bytestream.WriteRequest{WriteOffset: 1000, Data: data}), codes.InvalidArgument, "a message came after finish_write"},
		{"over quota", []*bytestream.WriteRequest{{ResourceName: huge, Data: data}}, codes.ResourceExhausted, "no space"},
	}
	for _, row := range rows {
		_, err := c.write(t.Context(), row.messages...)
		wantStatus(t, row.what, err, row.code, row.text)
		if c.holds(t, d) {
			t.Fatalf("%s: the blob was stored", row.what)
		}
	}
	// None of these is in the way of a good upload under the same name.
	if _, err := c.write(t.Context(), upload(name, data, 300, 0)...); err != nil {
		t.Errorf("good upload after the bad ones: %v", err)
	}
	if got := c.other.Usage().Entries; got != 0 {
		t.Errorf("%d blobs in another instance", got)
	}
}

func TestStreamWithoutFinishIsTruncatedAndResumable(t *testing.T) {
	c := newDiskCluster(t)
	data, d := castest.Blob(1, 1000)
	_, err := c.write(t.Context(), &bytestream.WriteRequest{ResourceName: writeName(d), Data: data[:400]})
	wantStatus(t, "truncated", err, codes.InvalidArgument, "without finish_write after 400 of 1000 bytes")
	c.wantCommitted(t, d, 400, false)
	if _, err := c.write(t.Context(), upload(writeName(d), data, 100, 400)...); err != nil {
		t.Errorf("resume: %v", err)
	}
	c.wantCommitted(t, d, 1000, true)
	if got := castest.ReadPieces(t, c.blobs, d, 0, 1000); !bytes.Equal(got, data) {
		t.Error("the blob put together from two streams differs")
	}
}

func (c *cluster) committed(t *testing.T, d digest.Digest) *bytestream.QueryWriteStatusResponse {
	t.Helper()
	got, err := c.stream.QueryWriteStatus(t.Context(), &bytestream.QueryWriteStatusRequest{ResourceName: writeName(d)})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (c *cluster) wantCommitted(t *testing.T, d digest.Digest, size int64, complete bool) {
	t.Helper()
	if got := c.committed(t, d); got.CommittedSize != size || got.Complete != complete {
		t.Errorf("status of %v is %v, want %d, %v", d, got, size, complete)
	}
}

// begin sends the first half of a blob and returns the open stream once the
// server has all of it.
func (c *cluster) begin(ctx context.Context, t *testing.T, d digest.Digest, half []byte) bytestream.ByteStream_WriteClient {
	t.Helper()
	stream, err := c.stream.Write(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&bytestream.WriteRequest{ResourceName: writeName(d), Data: half}); err != nil {
		t.Fatal(err)
	}
	for c.committed(t, d).CommittedSize < int64(len(half)) {
		runtime.Gosched()
	}
	return stream
}

func TestBrokenUploadIsResumed(t *testing.T) {
	c := newMemoryCluster(t)
	data, d := castest.Blob(1, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	stream := c.begin(ctx, t, d, data[:500])
	cancel()
	if _, err := stream.CloseAndRecv(); err == nil {
		t.Fatal("a cancelled stream got an answer")
	}
	// Until the server has noticed, it takes the new stream for a second writer.
	_, err := c.write(t.Context(), upload(writeName(d), data, 100, 500)...)
	for status.Code(err) == codes.Aborted {
		runtime.Gosched()
		_, err = c.write(t.Context(), upload(writeName(d), data, 100, 500)...)
	}
	if err != nil {
		t.Fatalf("resume: %v", err)
	}
	c.wantCommitted(t, d, 1000, true)
}

func TestUploadMayStartAgain(t *testing.T) {
	c := newMemoryCluster(t)
	data, d := castest.Blob(1, 1000)
	wrong := bytes.Repeat([]byte("x"), 400)
	_, err := c.write(t.Context(), &bytestream.WriteRequest{ResourceName: writeName(d), Data: wrong})
	wantStatus(t, "truncated", err, codes.InvalidArgument, "without finish_write")
	_, err = c.write(t.Context(), &bytestream.WriteRequest{ResourceName: writeName(d), WriteOffset: 300, Data: data[300:]})
	wantStatus(t, "wrong offset", err, codes.InvalidArgument, "write_offset is 300, but 400 bytes")
	c.wantCommitted(t, d, 400, false)
	if _, err := c.write(t.Context(), upload(writeName(d), data, 100, 0)...); err != nil {
		t.Errorf("from the start: %v", err)
	}
}

func TestSecondWriterOfOneNameIsToldSo(t *testing.T) {
	c := newMemoryCluster(t)
	data, d := castest.Blob(1, 1000)
	stream := c.begin(t.Context(), t, d, data[:500])
	_, err := c.write(t.Context(), upload(writeName(d), data, 100, 0)...)
	wantStatus(t, "same name", err, codes.Aborted, "another stream is writing upload "+uuid)
	// Another uuid, as REAPI asks of clients, isn't in the way.
	other := digest.WriteName("main", "another", d)
	if _, err := c.write(t.Context(), upload(other, data, 100, 0)...); err != nil {
		t.Errorf("other uuid: %v", err)
	}
	if err := stream.Send(&bytestream.WriteRequest{WriteOffset: 500, Data: data[500:], FinishWrite: true}); err != nil {
		t.Fatal(err)
	}
	if response, err := stream.CloseAndRecv(); err != nil || response.CommittedSize != 1000 {
		t.Errorf("first writer: %v, error %v", response, err)
	}
}

func TestStatusOfUnknownUploadIsNothing(t *testing.T) {
	c := newMemoryCluster(t)
	c.wantCommitted(t, digest.Of([]byte("unknown")), 0, false)
	_, err := c.stream.QueryWriteStatus(t.Context(), &bytestream.QueryWriteStatusRequest{ResourceName: "main/uploads/u/x"})
	wantStatus(t, "malformed", err, codes.InvalidArgument, "want [instance/]uploads")
}
