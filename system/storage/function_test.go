package storage_test

import (
	"bytes"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
)

// TestEachFunctionInEachCall does all that a client can by each digest function, on disk
// and in memory: nothing of one is found by the other, nor is data taken for a hash of
// the other's.
func TestEachFunctionInEachCall(t *testing.T) {
	disk, err := cas.OpenDisk(t.TempDir(), cas.DiskConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	for name, store := range map[string]cas.Store{"Disk": disk, "Memory": cas.NewMemory(cas.MemoryConfig{})} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, store)
			for _, f := range cas.Functions {
				t.Run(f.String(), func(t *testing.T) { testFunction(t, c, f) })
			}
		})
	}
}

func testFunction(t *testing.T, c *cluster, f digest.Func) {
	ctx := t.Context()
	small, large := []byte("small"), bytes.Repeat([]byte("large"), 300_000)
	file := f.Of(small)
	directory, dir, err := f.OfMessage(&repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: file.Proto()}}})
	if err != nil {
		t.Fatal(err)
	}
	child := &repb.DirectoryNode{Name: "d", Digest: dir.Proto()}
	top, root, err := f.OfMessage(&repb.Directory{Directories: []*repb.DirectoryNode{child}})
	if err != nil {
		t.Fatal(err)
	}
	all := []digest.Digest{file, dir, root, f.Of(large)}
	missing := func() []*repb.Digest {
		t.Helper()
		answer, err := c.cas.FindMissingBlobs(ctx, &repb.FindMissingBlobsRequest{InstanceName: "main", DigestFunction: f.Value(), BlobDigests: digest.Protos(all)})
		if err != nil {
			t.Fatal(err)
		}
		return answer.MissingBlobDigests
	}
	if got := missing(); len(got) != len(all) {
		t.Fatalf("before they are written, of %d only %d are missing", len(all), len(got))
	}
	update := &repb.BatchUpdateBlobsRequest{InstanceName: "main", DigestFunction: f.Value()}
	for i, data := range [][]byte{small, directory, top} {
		update.Requests = append(update.Requests, &repb.BatchUpdateBlobsRequest_Request{Digest: all[i].Proto(), Data: data})
	}
	other := cas.Functions[0]
	if other == f {
		other = cas.Functions[1]
	}
	// The hash that the other function would give.
	update.Requests = append(update.Requests, &repb.BatchUpdateBlobsRequest_Request{Digest: other.Of(small).Proto(), Data: small})
	updated, err := c.cas.BatchUpdateBlobs(ctx, update)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range updated.Responses {
		if want := i == 3; (codes.Code(r.Status.Code) == codes.InvalidArgument) != want {
			t.Errorf("update %d: %v", i, r.Status)
		}
	}
	if _, err := c.write(ctx, upload(writeName(all[3]), large, 400_000, 0)...); err != nil {
		t.Errorf("write: %v", err)
	}
	_, err = c.write(ctx, upload(writeName(f.Of([]byte("wrong"))), []byte("other"), 5, 0)...)
	wantStatus(t, "write of other data", err, codes.InvalidArgument, "has hash "+f.Of([]byte("other")).Hex())
	if got := missing(); len(got) != 0 {
		t.Errorf("%v are missing", got)
	}
	read, err := c.cas.BatchReadBlobs(ctx, &repb.BatchReadBlobsRequest{InstanceName: "main", DigestFunction: f.Value(), Digests: []*repb.Digest{file.Proto()}})
	if err != nil || string(read.Responses[0].Data) != "small" {
		t.Errorf("batch read: %v, error %v", read, err)
	}
	if got, err := c.read(ctx, &bytestream.ReadRequest{ResourceName: digest.ReadName("main", all[3]), ReadOffset: 5}); err != nil || !bytes.Equal(got, large[5:]) {
		t.Errorf("read %d bytes, error %v", len(got), err)
	}
	pages, err := c.tree(ctx, &repb.GetTreeRequest{InstanceName: "main", DigestFunction: f.Value(), RootDigest: root.Proto(), PageSize: 1})
	if err != nil || len(pages) != 2 {
		t.Fatalf("tree: %v, error %v", pages, err)
	}
	again, err := c.tree(ctx, &repb.GetTreeRequest{InstanceName: "main", DigestFunction: f.Value(), RootDigest: root.Proto(), PageToken: pages[0].NextPageToken})
	if err != nil || len(again) != 1 {
		t.Errorf("tree from the second page on: %v, error %v", again, err)
	}
	testFunctionOfResults(t, c, f, file)
}

func testFunctionOfResults(t *testing.T, c *cluster, f digest.Func, file digest.Digest) {
	ctx, long := t.Context(), []byte(strings.Repeat("output ", 1000))
	action := f.Of([]byte("action")).Proto()
	kept, err := c.ac.UpdateActionResult(ctx, &repb.UpdateActionResultRequest{
		InstanceName: "main", DigestFunction: f.Value(), ActionDigest: action,
		ActionResult: &repb.ActionResult{StdoutRaw: long, OutputFiles: []*repb.OutputFile{{Path: "a", Digest: file.Proto()}}},
	})
	if err != nil || !proto.Equal(kept.StdoutDigest, f.Of(long).Proto()) {
		t.Fatalf("kept %v, error %v", kept, err)
	}
	ask := &repb.GetActionResultRequest{InstanceName: "main", DigestFunction: f.Value(), ActionDigest: action, InlineStdout: true, InlineOutputFiles: []string{"a"}}
	got, err := c.ac.GetActionResult(ctx, ask)
	if err != nil || !bytes.Equal(got.StdoutRaw, long) || string(got.OutputFiles[0].Contents) != "small" {
		t.Errorf("result %v, error %v", got, err)
	}
	for _, other := range cas.Functions {
		if ask.DigestFunction = other.Value(); other != f {
			_, err := c.ac.GetActionResult(ctx, ask)
			wantStatus(t, "result by "+other.String(), err, codes.NotFound, "")
		}
	}
	// A result whose output is known by the other function's hash only is incomplete.
	data, _ := castest.Blob(9+uint64(f), 100)
	lost := &repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: "a", Digest: f.Of(data).Proto()}}}
	for _, other := range cas.Functions {
		if other != f {
			if err := c.blobs.Write(ctx, other.Of(data), data); err != nil {
				t.Fatal(err)
			}
		}
	}
	ask.ActionDigest, ask.DigestFunction = f.Of([]byte("incomplete")).Proto(), f.Value()
	if err := c.results.Put(ctx, f.Of([]byte("incomplete")), lost); err != nil {
		t.Fatal(err)
	}
	_, err = c.ac.GetActionResult(ctx, ask)
	wantStatus(t, "result whose output another function names", err, codes.NotFound, "gone")
}
