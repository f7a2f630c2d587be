package remote_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

func TestStoreKeepsTheContract(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		return dial(t, newStorage(t, 0).address, "main").Store()
	})
}

// With so low a limit most blobs of the contract go by ByteStream.
func TestStoreKeepsTheContractWithSmallBatches(t *testing.T) {
	castest.Run(t, func(t *testing.T) cas.Store {
		return dial(t, newStorage(t, 500).address, "main").Store()
	})
}

func TestBatchesAreSplitAtTheServersLimit(t *testing.T) {
	const limit = 10_000
	server := newStorage(t, limit)
	client := dial(t, server.address, "main")
	blobs := make(map[digest.Digest][]byte)
	var digests []digest.Digest
	for i := range 50 {
		data, d := castest.Blob(uint64(i), 900+i)
		blobs[d] = data
		digests = append(digests, d)
	}
	large, largeDigest := castest.Blob(99, limit+1)
	blobs[largeDigest] = large
	digests = slices.Insert(digests, 20, largeDigest)

	if err := client.WriteBlobs(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	// Nine blobs of 900 to 949 bytes and their overhead fit; six batches take 50.
	if got := server.all(); got["BatchUpdateBlobs"] != 6 || got["Write"] != 1 || got["FindMissingBlobs"] != 1 || got["GetCapabilities"] != 1 {
		t.Errorf("writing took %v, want 6 batches, 1 stream, 1 question each what is missing and what fits", got)
	}
	results := client.ReadBlobs(t.Context(), digests)
	for i, r := range results {
		if r.Err != nil || !bytes.Equal(r.Value, blobs[digests[i]]) {
			t.Errorf("result %d, of %v, has %d bytes, error %v", i, digests[i], len(r.Value), r.Err)
		}
	}
	if got := server.all(); got["BatchReadBlobs"] != 6 || got["Read"] != 1 || got["GetCapabilities"] != 1 {
		t.Errorf("reading took %v, want 6 batches and 1 stream", got)
	}
	if err := client.WriteBlobs(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	if got := server.all(); got["BatchUpdateBlobs"] != 6 || got["Write"] != 1 {
		t.Errorf("writing what is there took %v, want nothing sent", got)
	}
}

func TestBlobsAtTheLimitOfABatch(t *testing.T) {
	const limit = 1000
	server := newStorage(t, limit)
	client := dial(t, server.address, "main")
	for i, size := range []int{1, limit - 129, limit - 128, limit - 127, limit, limit + 1, 3 * 512 << 10} {
		data, d := castest.Blob(uint64(i), size)
		if err := client.WriteBlob(t.Context(), d, data); err != nil {
			t.Errorf("write %d bytes: %v", size, err)
		}
		if got, err := client.ReadBlob(t.Context(), d); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d bytes: got %d, error %v", size, len(got), err)
		}
	}
	if got := server.all(); got["BatchUpdateBlobs"] != 3 || got["Write"] != 4 {
		t.Errorf("writing took %v, want 3 batches and 4 streams", got)
	}
}

func TestMissingAsksInPieces(t *testing.T) {
	server := newStorage(t, 0)
	client := dial(t, server.address, "main")
	digests := make([]digest.Digest, 10_001)
	for i := range digests {
		digests[i] = digest.Of(fmt.Append(nil, i))
	}
	missing, err := client.Missing(t.Context(), digests, nil)
	if err != nil || !slices.Equal(missing, digests) {
		t.Errorf("%d of %d are missing, error %v", len(missing), len(digests), err)
	}
	if got := server.of("FindMissingBlobs"); got != 2 {
		t.Errorf("asked %d times, want 2", got)
	}
}

func TestMissingIsInTheOrderAskedWhateverTheServersIs(t *testing.T) {
	a, b, c := digest.Of([]byte("a")), digest.Of([]byte("b")), digest.Of([]byte("c"))
	stranger := digest.Of([]byte("never asked for"))
	client := dialFake(t, &fakeBlobs{missing: func(*repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
		return &repb.FindMissingBlobsResponse{MissingBlobDigests: []*repb.Digest{c.Proto(), stranger.Proto(), a.Proto()}}, nil
	}})
	got, err := client.Missing(t.Context(), []digest.Digest{a, b, c, a}, nil)
	if want := []digest.Digest{a, c, a}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, error %v, want %v", got, err, want)
	}
}

// One digest that no server holds must not spoil the batch of the others.
func TestAbsurdSizesDontSpoilTheBatch(t *testing.T) {
	client := dial(t, newStorage(t, 0).address, "main")
	data, d := castest.Blob(1, 100)
	if err := client.WriteBlob(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	digests := []digest.Digest{d, digest.Empty}
	for _, size := range []int64{math.MaxInt64, math.MaxInt64 - 128, math.MaxInt64 - 127, 1 << 40, 99, 0} {
		digests = append(digests, digest.Digest{Hash: d.Hash, SizeBytes: size})
	}
	results := client.ReadBlobs(t.Context(), digests)
	if r := results[0]; r.Err != nil || !bytes.Equal(r.Value, data) {
		t.Errorf("the good one: %d bytes, error %v", len(r.Value), r.Err)
	}
	if r := results[1]; r.Err != nil || len(r.Value) != 0 {
		t.Errorf("the empty one: %d bytes, error %v", len(r.Value), r.Err)
	}
	for i, r := range results[2:] {
		if !errors.Is(r.Err, cas.ErrNotFound) {
			t.Errorf("%d bytes: error %v, want ErrNotFound", digests[2+i].SizeBytes, r.Err)
		}
	}
}

// The caller of a proxy passes on the code, the caller of a store looks for the
// sentinel.
func TestErrorsKeepTheirCodeAndTellTheirMeaning(t *testing.T) {
	client := dial(t, newStorage(t, 0).address, "main")
	d := digest.Of([]byte("nobody has this"))
	_, readErr := client.ReadBlob(t.Context(), d)
	_, openErr := client.Open(t.Context(), d, 0)
	_, treeErr := client.Tree(t.Context(), d)
	_, resultErr := client.ActionResult(t.Context(), d)
	for name, err := range map[string]error{"read": readErr, "open": openErr, "tree": treeErr, "result": resultErr} {
		if !errors.Is(err, cas.ErrNotFound) || status.Code(err) != codes.NotFound {
			t.Errorf("%s: error %v with code %v, want ErrNotFound with NotFound", name, err, status.Code(err))
		}
	}
	other := client.ForInstance("other")
	if _, err := other.ReadBlob(t.Context(), d); status.Code(err) != codes.InvalidArgument || errors.Is(err, cas.ErrNotFound) {
		t.Errorf("unknown instance: error %v, want INVALID_ARGUMENT", err)
	}
	w, err := other.Create(t.Context(), digest.Of([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var corrupt *cas.CorruptError
	if err := w.Commit(); status.Code(err) != codes.InvalidArgument || errors.As(err, &corrupt) {
		t.Errorf("commit to an unknown instance: error %v, want INVALID_ARGUMENT that doesn't blame the data", err)
	}
}

func TestFullServerIsNoSpace(t *testing.T) {
	full := status.New(codes.ResourceExhausted, "full")
	client := dialFake(t, &fakeBlobs{update: func(r *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
		return &repb.BatchUpdateBlobsResponse{Responses: []*repb.BatchUpdateBlobsResponse_Response{
			{Digest: r.Requests[0].Digest, Status: full.Proto()},
		}}, nil
	}})
	if err := client.Store().Write(t.Context(), digest.Of([]byte("x")), []byte("x")); !errors.Is(err, cas.ErrNoSpace) {
		t.Errorf("error %v, want ErrNoSpace", err)
	}
}

func TestTreeOfStoredDirectories(t *testing.T) {
	client := dial(t, newStorage(t, 0).address, "main")
	leaf := &repb.Directory{Files: []*repb.FileNode{{Name: "f", Digest: digest.Empty.Proto()}}}
	leafData, leafDigest, _ := digest.OfMessage(leaf)
	root := &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "d", Digest: leafDigest.Proto()}}}
	rootData, rootDigest, _ := digest.OfMessage(root)
	if err := client.WriteBlobs(t.Context(), map[digest.Digest][]byte{leafDigest: leafData, rootDigest: rootData}); err != nil {
		t.Fatal(err)
	}
	tree, err := client.Tree(t.Context(), rootDigest)
	if err != nil || len(tree) != 2 || tree[0].Directories[0].Name != "d" || tree[1].Files[0].Name != "f" {
		t.Errorf("got %v, error %v", tree, err)
	}
}

func TestActionResultsAreCached(t *testing.T) {
	client := dial(t, newStorage(t, 0).address, "main")
	action := digest.Of([]byte("action"))
	if err := client.UpdateActionResult(t.Context(), action, &repb.ActionResult{ExitCode: 7}); err != nil {
		t.Fatal(err)
	}
	if got, err := client.ActionResult(t.Context(), action); err != nil || got.ExitCode != 7 {
		t.Errorf("got %v, error %v, want exit code 7", got, err)
	}
}

func dialFake(t *testing.T, fake *fakeBlobs) *remote.Client {
	t.Helper()
	return dial(t, serve(t, func(g *grpc.Server) { repb.RegisterContentAddressableStorageServer(g, fake) }), "main")
}
