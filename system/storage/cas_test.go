package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/storage"
)

func TestFindMissingBlobsKeepsOrderAndDuplicates(t *testing.T) {
	c := newMemoryCluster(t)
	var asked, want []*repb.Digest
	for i := range 10 {
		d := digest.Of(fmt.Appendf(nil, "blob %d", i))
		if i%3 == 0 {
			c.put(t, fmt.Sprintf("blob %d", i))
		} else {
			want = append(want, d.Proto(), d.Proto())
		}
		asked = append(asked, d.Proto(), digest.Empty.Proto(), d.Proto())
	}
	for range 2 { // the second call runs on used buffers
		got, err := c.cas.FindMissingBlobs(t.Context(), &repb.FindMissingBlobsRequest{InstanceName: "main", BlobDigests: asked})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got.MissingBlobDigests, want, protocmp.Transform()); diff != "" {
			t.Errorf("missing (-got +want):\n%s", diff)
		}
	}
}

func TestFindMissingBlobsRefusesMalformedDigests(t *testing.T) {
	c := newMemoryCluster(t)
	good := c.put(t, "good").Proto()
	for _, row := range malformedDigests {
		if row.digest == nil {
			continue // a list has no nil on the wire
		}
		_, err := c.cas.FindMissingBlobs(t.Context(), &repb.FindMissingBlobsRequest{InstanceName: "main",
			BlobDigests: []*repb.Digest{good, row.digest}})
		wantStatus(t, row.name, err, codes.InvalidArgument, row.text)
		wantStatus(t, row.name, err, codes.InvalidArgument, "blob_digests[1]")
	}
}

func TestBatchUpdateStoresEachGoodBlob(t *testing.T) {
	c := newCluster(t, cas.NewMemory(cas.MemoryConfig{QuotaBytes: 100_000}))
	good, goodDigest := castest.Blob(1, 1000)
	flipped, flippedDigest := castest.Blob(2, 1000)
	flipped[500] ^= 1
	short, shortDigest := castest.Blob(3, 1000)
	large, largeDigest := castest.Blob(4, 200_000)
	packed, packedDigest := castest.Blob(5, 1000)
	last, lastDigest := castest.Blob(6, 1000)
	rows := []struct {
		request *repb.BatchUpdateBlobsRequest_Request
		code    codes.Code
		text    string
	}{
		{&repb.BatchUpdateBlobsRequest_Request{Digest: goodDigest.Proto(), Data: good}, codes.OK, ""},
		{&repb.BatchUpdateBlobsRequest_Request{Digest: flippedDigest.Proto(), Data: flipped}, codes.InvalidArgument, "has hash"},
		{&repb.BatchUpdateBlobsRequest_Request{Digest: shortDigest.Proto(), Data: short[:999]}, codes.InvalidArgument, "has 999 bytes, want 1000"},
		{&repb.BatchUpdateBlobsRequest_Request{Digest: largeDigest.Proto(), Data: large}, codes.ResourceExhausted, "no space"},
		{&repb.BatchUpdateBlobsRequest_Request{Digest: packedDigest.Proto(), Data: packed, Compressor: repb.Compressor_ZSTD}, codes.InvalidArgument, "ZSTD is not supported"},
		{&repb.BatchUpdateBlobsRequest_Request{Digest: digest.Empty.Proto()}, codes.OK, ""},
	}
	for _, row := range malformedDigests {
		rows = append(rows, struct {
			request *repb.BatchUpdateBlobsRequest_Request
			code    codes.Code
			text    string
		}{&repb.BatchUpdateBlobsRequest_Request{Digest: row.digest}, codes.InvalidArgument, row.text})
	}
	request := &repb.BatchUpdateBlobsRequest{InstanceName: "main"}
	for _, row := range rows {
		request.Requests = append(request.Requests, row.request)
	}
	request.Requests = append(request.Requests, &repb.BatchUpdateBlobsRequest_Request{Digest: lastDigest.Proto(), Data: last})
	response, err := c.cas.BatchUpdateBlobs(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if len(response.Responses) != len(request.Requests) {
		t.Fatalf("%d responses for %d requests", len(response.Responses), len(request.Requests))
	}
	for i, row := range rows {
		got := response.Responses[i]
		if !proto.Equal(got.Digest, row.request.Digest) {
			t.Errorf("response %d is of %v, want %v", i, got.Digest, row.request.Digest)
		}
		if codes.Code(got.Status.GetCode()) != row.code || !strings.Contains(got.Status.GetMessage(), row.text) {
			t.Errorf("response %d: status %v, want %v: …%s…", i, got.Status, row.code, row.text)
		}
	}
	for _, d := range []digest.Digest{goodDigest, lastDigest} {
		if !c.holds(t, d) {
			t.Errorf("%v wasn't stored beside bad ones", d)
		}
	}
	for _, d := range []digest.Digest{flippedDigest, shortDigest, packedDigest} {
		if c.holds(t, d) {
			t.Errorf("%v was stored", d)
		}
	}
	if usage := c.other.Usage(); usage.Entries != 0 {
		t.Error("another instance got something")
	}
}

// TestFullBatchPasses fills a batch to the advertised limit, once with one blob
// and once with as small ones as the message limit is meant for.
func TestFullBatchPasses(t *testing.T) {
	c := newMemoryCluster(t)
	for _, size := range []int{storage.DefaultMaxBatchBytes, 32} {
		request := &repb.BatchUpdateBlobsRequest{InstanceName: "main"}
		for i := range storage.DefaultMaxBatchBytes / size {
			data := fmt.Appendf(make([]byte, 0, size), "%d", i)
			data = data[:size]
			request.Requests = append(request.Requests, &repb.BatchUpdateBlobsRequest_Request{Digest: digest.Of(data).Proto(), Data: data})
		}
		last := request.Requests[len(request.Requests)-1].Digest
		if _, err := c.cas.BatchUpdateBlobs(t.Context(), request, grpc.MaxCallRecvMsgSize(storage.MaxRecvMsgBytes)); err != nil {
			t.Errorf("blobs of %d bytes: %v", size, err)
		}
		d, err := digest.FromProto(last)
		if err != nil || !c.holds(t, d) {
			t.Errorf("blobs of %d bytes: the last isn't there", size)
		}
		if size < storage.DefaultMaxBatchBytes {
			continue
		}
		read, err := c.cas.BatchReadBlobs(t.Context(), &repb.BatchReadBlobsRequest{InstanceName: "main", Digests: []*repb.Digest{last}})
		if err != nil || len(read.Responses[0].Data) != size {
			t.Errorf("read of a full batch: %v", err)
		}
	}
}

func TestOversizeBatchFailsWhole(t *testing.T) {
	c := newMemoryCluster(t)
	data, d := castest.Blob(1, 100)
	large, largeDigest := castest.Blob(2, storage.DefaultMaxBatchBytes-99)
	_, err := c.cas.BatchUpdateBlobs(t.Context(), &repb.BatchUpdateBlobsRequest{InstanceName: "main",
		Requests: []*repb.BatchUpdateBlobsRequest_Request{{Digest: d.Proto(), Data: data}, {Digest: largeDigest.Proto(), Data: large}}})
	wantStatus(t, "update", err, codes.InvalidArgument, fmt.Sprintf("the batch has %d bytes of data, the limit is %d", storage.DefaultMaxBatchBytes+1, storage.DefaultMaxBatchBytes))
	if c.holds(t, d) {
		t.Error("a blob of a refused batch was stored")
	}
	reads := map[string][]int64{
		"just over":       {100, storage.DefaultMaxBatchBytes - 99},
		"huge":            {1 << 62},
		"sum overflows":   {1 << 62, 1 << 62, 1 << 62},
		"beside negative": {-1 << 62, storage.DefaultMaxBatchBytes + 1},
	}
	for name, sizes := range reads {
		request := &repb.BatchReadBlobsRequest{InstanceName: "main"}
		for _, size := range sizes {
			request.Digests = append(request.Digests, &repb.Digest{Hash: d.Hex(), SizeBytes: size})
		}
		_, err := c.cas.BatchReadBlobs(t.Context(), request)
		wantStatus(t, name, err, codes.InvalidArgument, "the limit: use ByteStream")
	}
}

func TestBatchReadTellsEachBlobsStatus(t *testing.T) {
	c := newMemoryCluster(t)
	d := c.put(t, "hello")
	absent := digest.Of([]byte("absent"))
	request := &repb.BatchReadBlobsRequest{InstanceName: "main",
		Digests: []*repb.Digest{d.Proto(), absent.Proto(), digest.Empty.Proto(), {Hash: d.Hex(), SizeBytes: 4}}}
	want := []struct {
		code       codes.Code
		data, text string
	}{{codes.OK, "hello", ""}, {codes.NotFound, "", absent.String()}, {codes.OK, "", ""}, {codes.NotFound, "", d.Hex() + "/4"}}
	for _, row := range malformedDigests[1:] {
		request.Digests = append(request.Digests, row.digest)
		want = append(want, struct {
			code       codes.Code
			data, text string
		}{codes.InvalidArgument, "", row.text})
	}
	response, err := c.cas.BatchReadBlobs(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		got := response.Responses[i]
		if !proto.Equal(got.Digest, request.Digests[i]) || string(got.Data) != w.data ||
			codes.Code(got.Status.GetCode()) != w.code || !strings.Contains(got.Status.GetMessage(), w.text) {
			t.Errorf("response %d is %v, want %v %q …%s…", i, got, w.code, w.data, w.text)
		}
	}
}

// tree reads all pages of a tree.
func (c *cluster) tree(ctx context.Context, request *repb.GetTreeRequest) ([]*repb.GetTreeResponse, error) {
	stream, err := c.cas.GetTree(ctx, request)
	if err != nil {
		return nil, err
	}
	var pages []*repb.GetTreeResponse
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return pages, nil
		}
		if err != nil {
			return pages, err
		}
		pages = append(pages, page)
	}
}

// putDirectory stores a directory with a file, whose name tells it apart, and
// the given children.
func (c *cluster) putDirectory(t testing.TB, name string, children ...digest.Digest) digest.Digest {
	t.Helper()
	directory := &repb.Directory{Files: []*repb.FileNode{{Name: name, Digest: digest.Empty.Proto()}}}
	for i, child := range children {
		directory.Directories = append(directory.Directories, &repb.DirectoryNode{Name: fmt.Sprint(i), Digest: child.Proto()})
	}
	data, d, err := digest.OfMessage(directory)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.blobs.Write(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	return d
}

// names returns the names of the directories of pages: those of their files.
func names(pages []*repb.GetTreeResponse) []string {
	var all []string
	for _, page := range pages {
		for _, directory := range page.Directories {
			all = append(all, directory.Files[0].Name)
		}
	}
	return all
}

func TestGetTreeSendsEachDirectoryOnce(t *testing.T) {
	c := newMemoryCluster(t)
	leaf := c.putDirectory(t, "leaf")
	a := c.putDirectory(t, "a", leaf)
	b := c.putDirectory(t, "b", leaf, leaf)
	root := c.putDirectory(t, "root", a, b, leaf)
	pages, err := c.tree(t.Context(), &repb.GetTreeRequest{InstanceName: "main", RootDigest: root.Proto()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(pages), []string{"root", "a", "b", "leaf"}); diff != "" {
		t.Errorf("directories (-got +want):\n%s", diff)
	}
	if len(pages) != 1 || pages[0].NextPageToken != "" {
		t.Errorf("%d pages, token %q", len(pages), pages[0].NextPageToken)
	}
}

func TestGetTreePagesAreResumed(t *testing.T) {
	c := newMemoryCluster(t)
	var children []digest.Digest
	want := []string{"root"}
	for i := range 9 {
		name := fmt.Sprintf("child %d", i)
		children = append(children, c.putDirectory(t, name))
		want = append(want, name)
	}
	root := c.putDirectory(t, "root", children...)
	request := &repb.GetTreeRequest{InstanceName: "main", RootDigest: root.Proto(), PageSize: 3}
	pages, err := c.tree(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(pages), want); diff != "" || len(pages) != 4 {
		t.Errorf("%d pages, want 4 (-got +want):\n%s", len(pages), diff)
	}
	for i, page := range pages[:len(pages)-1] {
		if len(page.Directories) != 3 || page.NextPageToken == "" {
			t.Errorf("page %d has %d directories and token %q", i, len(page.Directories), page.NextPageToken)
		}
		request.PageToken = page.NextPageToken
		rest, err := c.tree(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names(rest), want[3*(i+1):]); diff != "" {
			t.Errorf("from page %d (-got +want):\n%s", i+1, diff)
		}
	}
}

func TestGetTreeLeavesOutWhatIsMissing(t *testing.T) {
	c := newMemoryCluster(t)
	there := c.putDirectory(t, "there")
	root := c.putDirectory(t, "root", digest.Of([]byte("gone")), there, digest.Of([]byte("gone too")))
	pages, err := c.tree(t.Context(), &repb.GetTreeRequest{InstanceName: "main", RootDigest: root.Proto()})
	if diff := cmp.Diff(names(pages), []string{"root", "there"}); err != nil || diff != "" {
		t.Errorf("error %v (-got +want):\n%s", err, diff)
	}
}

func TestGetTreeOfLargeDirectoriesBoundsPages(t *testing.T) {
	c := newMemoryCluster(t)
	var children []digest.Digest
	for i := range 6 {
		children = append(children, c.putDirectory(t, strings.Repeat(fmt.Sprint(i), 600_000)))
	}
	root := c.putDirectory(t, "root", children...)
	pages, err := c.tree(t.Context(), &repb.GetTreeRequest{InstanceName: "main", RootDigest: root.Proto()})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 6 || len(names(pages)) != 7 {
		t.Errorf("%d directories in %d pages, want 7 in 6", len(names(pages)), len(pages))
	}
}

func TestGetTreeRefusesBadInput(t *testing.T) {
	c := newMemoryCluster(t)
	root := c.putDirectory(t, "root")
	text := c.put(t, "\xffthis is no directory")
	badChild := c.put(t, string(mustMarshal(t, &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "x", Digest: &repb.Digest{Hash: "zz"}}}})))
	rows := []struct {
		name    string
		request *repb.GetTreeRequest
		code    codes.Code
		text    string
	}{
		{"absent root", &repb.GetTreeRequest{RootDigest: digest.Of([]byte("absent")).Proto()}, codes.NotFound, "not found"},
		{"root is no directory", &repb.GetTreeRequest{RootDigest: text.Proto()}, codes.InvalidArgument, "is not a Directory"},
		{"child malformed", &repb.GetTreeRequest{RootDigest: badChild.Proto()}, codes.InvalidArgument, `entry "x"`},
		{"huge root", &repb.GetTreeRequest{RootDigest: &repb.Digest{Hash: root.Hex(), SizeBytes: 1 << 40}}, codes.InvalidArgument, "too large"},
		{"negative page", &repb.GetTreeRequest{RootDigest: root.Proto(), PageSize: -1}, codes.InvalidArgument, "page_size -1"},
		{"foreign token", &repb.GetTreeRequest{RootDigest: root.Proto(), PageToken: "!!"}, codes.InvalidArgument, "not given out"},
		{"other tree's token", &repb.GetTreeRequest{RootDigest: root.Proto(), PageToken: storage.PageToken(text)}, codes.InvalidArgument, "no directory of this tree"},
	}
	for _, row := range malformedDigests {
		rows = append(rows, struct {
			name    string
			request *repb.GetTreeRequest
			code    codes.Code
			text    string
		}{row.name, &repb.GetTreeRequest{RootDigest: row.digest}, codes.InvalidArgument, row.text})
	}
	for _, row := range rows {
		row.request.InstanceName = "main"
		_, err := c.tree(t.Context(), row.request)
		wantStatus(t, row.name, err, row.code, row.text)
	}
}

func mustMarshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func FuzzPageToken(f *testing.F) {
	d := digest.Of([]byte("x"))
	for _, seed := range []string{"", "!!", storage.PageToken(d), storage.PageToken(d) + "=", "YWJj", "\n" + storage.PageToken(d)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		d, err := storage.ParsePageToken(digest.SHA256, token)
		if err == nil && storage.PageToken(d) != token {
			t.Errorf("%q was taken for the token of %v", token, d)
		}
	})
}

func TestBlobsOfOneInstanceAreNotInAnother(t *testing.T) {
	c := newMemoryCluster(t)
	d := c.put(t, "hello")
	got, err := c.cas.BatchReadBlobs(t.Context(), &repb.BatchReadBlobsRequest{InstanceName: "other", Digests: []*repb.Digest{d.Proto()}})
	if err != nil {
		t.Fatal(err)
	}
	if code := codes.Code(got.Responses[0].Status.GetCode()); code != codes.NotFound || bytes.Contains(got.Responses[0].Data, []byte("hello")) {
		t.Errorf("status %v, want NotFound", code)
	}
}
