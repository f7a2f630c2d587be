package casd_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// cached says whether a blob is in casd's own folder.
func (w *world) cached(d digest.Digest) bool {
	_, err := os.Stat(filepath.Join(w.dir, "objects", d.Hex()[:2], d.Hex()[2:]))
	return err == nil
}

// keep stores a blob in casd alone, by capturing it without an upload.
func (w *world) keep(data string) digest.Digest {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "f")
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return w.digest(w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{path}, SkipUpload: true}).Responses[0].Digest)
}

func protos(digests ...digest.Digest) (all []*repb.Digest) {
	for _, d := range digests {
		all = append(all, d.Proto())
	}
	return all
}

func TestFetchMissingBlobs(t *testing.T) {
	w := newWorld(t)
	small, large, lost := w.put([]byte("small")), w.put([]byte(strings.Repeat("large", 1_000_000))), digest.Of([]byte("lost"))
	response, err := w.client.FetchMissingBlobs(t.Context(), &lcpb.FetchMissingBlobsRequest{
		InstanceName: "near", BlobDigests: protos(small, lost, large, small, digest.Empty),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(response.Responses) != 1 || codes.Code(response.Responses[0].Status.Code) != codes.NotFound || w.digest(response.Responses[0].Digest) != lost {
		t.Errorf("got %v, want NOT_FOUND for %v alone", response.Responses, lost)
	}
	if !w.cached(small) || !w.cached(large) {
		t.Errorf("cached: got %v and %v, want both", w.cached(small), w.cached(large))
	}
	w.checkCache()
}

func TestUploadMissingBlobs(t *testing.T) {
	w := newWorld(t)
	small, large := w.keep("small"), w.keep(strings.Repeat("large", 1_000_000))
	lost, elsewhere := digest.Of([]byte("lost")), w.put([]byte("elsewhere"))
	response, err := w.client.UploadMissingBlobs(t.Context(), &lcpb.UploadMissingBlobsRequest{
		InstanceName: "near", BlobDigests: protos(small, lost, large, elsewhere, lost),
	})
	if err != nil {
		t.Fatal(err)
	}
	var failed []digest.Digest
	for _, r := range response.Responses {
		if codes.Code(r.Status.Code) != codes.NotFound {
			t.Errorf("got %v, want NOT_FOUND", r)
		}
		failed = append(failed, w.digest(r.Digest))
	}
	if !slices.Equal(failed, []digest.Digest{lost, elsewhere}) {
		t.Errorf("failed: got %v, want %v and %v, which aren't here", failed, lost, elsewhere)
	}
	for _, d := range []digest.Digest{small, large} {
		if _, err := w.far.Memory.Read(t.Context(), d); err != nil {
			t.Errorf("at the remote: %v", err)
		}
	}
}

func TestFetchTree(t *testing.T) {
	w := newWorld(t)
	root := w.putTree(files{"a": "aaa", "d/b": "bbb"})
	file := digest.Of([]byte("bbb"))
	fetch := func(root digest.Digest, files bool) error {
		_, err := w.client.FetchTree(t.Context(), &lcpb.FetchTreeRequest{InstanceName: "near", RootDigest: root.Proto(), FetchFileBlobs: files})
		return err
	}
	if err := fetch(root, false); err != nil || !w.cached(root) || w.cached(file) {
		t.Errorf("directories alone: %v; root cached %v, file cached %v", err, w.cached(root), w.cached(file))
	}
	if err := fetch(root, true); err != nil || !w.cached(file) {
		t.Errorf("with files: %v; file cached %v", err, w.cached(file))
	}
	lost := digest.Of([]byte("lost"))
	holed := w.putMessage(&repb.Directory{Files: []*repb.FileNode{{Name: "f", Digest: lost.Proto()}}})
	if err := fetch(holed, true); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), lost.String()) {
		t.Errorf("a file is missing: got %v, want NOT_FOUND that names it", err)
	}
	if err := fetch(lost, false); status.Code(err) != codes.NotFound {
		t.Errorf("the root is missing: got %v, want NOT_FOUND", err)
	}
}

func TestUploadTree(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	outputs(t, dir)
	r := w.captureTree(&lcpb.CaptureTreeRequest{Path: []string{dir}, SkipUpload: true, OutputDirectoryFormat: repb.Command_DIRECTORY_ONLY}).Responses[0]
	upload := func(root *repb.Digest) error {
		_, err := w.client.UploadTree(t.Context(), &lcpb.UploadTreeRequest{InstanceName: "near", RootDigest: root})
		return err
	}
	if err := upload(r.RootDirectoryDigest); err != nil {
		t.Fatal(err)
	}
	s := newWorldBefore(t, w).stage(w.digest(r.RootDirectoryDigest), lcpb.StageTreeRequest_COPY_OR_LINK)
	if diff := cmp.Diff(read(t, s.path), read(t, dir)); diff != "" {
		t.Errorf("tree from the remote (-got +want):\n%s", diff)
	}
	s.end()
	if err := upload(w.putTree(files{"only": "at the remote"}).Proto()); status.Code(err) != codes.NotFound {
		t.Errorf("a tree that isn't here: got %v, want NOT_FOUND", err)
	}
}

// newWorldBefore returns another casd before the same remote.
func newWorldBefore(t *testing.T, w *world) *world {
	return newWorld(t, func(c *casd.Config) { c.Instances = near(casd.Remotes{CAS: w.remote, ActionCache: w.remote}) })
}

func TestWithoutRemote(t *testing.T) {
	w := newWorld(t, withoutRemote)
	dir := t.TempDir()
	outputs(t, dir)
	root := w.captureDirectory(dir)
	s := w.stage(root, lcpb.StageTreeRequest_COPY_OR_LINK)
	if diff := cmp.Diff(read(t, s.path), read(t, dir)); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
	s.end()
	if _, err := w.client.FetchTree(t.Context(), &lcpb.FetchTreeRequest{InstanceName: "near", RootDigest: root.Proto(), FetchFileBlobs: true}); err != nil {
		t.Errorf("a tree that is here: %v", err)
	}
	lost := digest.Of([]byte("lost"))
	if _, err := w.client.FetchTree(t.Context(), &lcpb.FetchTreeRequest{InstanceName: "near", RootDigest: lost.Proto()}); status.Code(err) != codes.NotFound {
		t.Errorf("a tree that isn't: got %v, want NOT_FOUND", err)
	}
}

func TestActionCacheIsTheRemotes(t *testing.T) {
	w := newWorld(t)
	action := digest.Of([]byte("action"))
	if _, err := w.here.ActionResult(t.Context(), action); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("unknown action: got %v, want NOT_FOUND", err)
	}
	want := &repb.ActionResult{ExitCode: 3}
	if err := w.here.UpdateActionResult(t.Context(), action, want); err != nil {
		t.Fatal(err)
	}
	got, err := w.remote.ActionResult(t.Context(), action)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want, protocmp.Transform()); diff != "" {
		t.Errorf("at the remote (-got +want):\n%s", diff)
	}
}

// casd is a REAPI server for whatever runs beside it.
func TestBlobsThroughCasd(t *testing.T) {
	w := newWorld(t)
	large := []byte(strings.Repeat("0123456789", 500_000))
	if err := w.here.WriteBlob(t.Context(), digest.Of(large), large); err != nil {
		t.Fatal(err)
	}
	if _, err := w.far.Memory.Read(t.Context(), digest.Of(large)); err != nil || !w.cached(digest.Of(large)) {
		t.Errorf("after a write: at the remote %v, cached %v", err, w.cached(digest.Of(large)))
	}
	for range 3 {
		if _, err := w.here.ReadBlob(t.Context(), w.put([]byte("far"))); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.far.readsOf(digest.Of([]byte("far"))); got != 1 {
		t.Errorf("reads at the remote for three here: got %d, want 1", got)
	}
	capabilities, err := w.here.Capabilities(t.Context())
	if err != nil || capabilities.GetCacheCapabilities() == nil {
		t.Errorf("capabilities: got %v, %v", capabilities, err)
	}
}

func TestDetailsAndUsage(t *testing.T) {
	w := newWorld(t, quota(1<<30))
	details, err := w.client.GetLocalServerDetails(t.Context(), &lcpb.GetLocalServerDetailsRequest{InstanceName: "near"})
	if err != nil {
		t.Fatal(err)
	}
	if details.StorageRoot != w.dir || details.ProcessUid != int64(os.Geteuid()) || details.Hostname == "" {
		t.Errorf("got %v", details)
	}
	if !w.cached(digest.Empty) {
		t.Error("the empty blob has no file where clients read blobs themselves")
	}
	usage := func() *lcpb.GetLocalDiskUsageResponse {
		u, err := w.client.GetLocalDiskUsage(t.Context(), new(lcpb.GetLocalDiskUsageRequest))
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	before := usage()
	w.keep("something")
	after := usage()
	if after.SizeBytes <= before.SizeBytes || after.QuotaBytes != 1<<30 {
		t.Errorf("usage: got %v then %v, want that it grows under a quota of 1 GiB", before, after)
	}
}

func TestOtherInstancesAreRefused(t *testing.T) {
	w := newWorld(t)
	d := digest.Empty.Proto()
	ctx := t.Context()
	for name, call := range map[string]func(instance string) error{
		"FetchMissingBlobs": func(i string) error {
			_, err := w.client.FetchMissingBlobs(ctx, &lcpb.FetchMissingBlobsRequest{InstanceName: i})
			return err
		},
		"UploadMissingBlobs": func(i string) error {
			_, err := w.client.UploadMissingBlobs(ctx, &lcpb.UploadMissingBlobsRequest{InstanceName: i})
			return err
		},
		"FetchTree": func(i string) error {
			_, err := w.client.FetchTree(ctx, &lcpb.FetchTreeRequest{InstanceName: i, RootDigest: d})
			return err
		},
		"UploadTree": func(i string) error {
			_, err := w.client.UploadTree(ctx, &lcpb.UploadTreeRequest{InstanceName: i, RootDigest: d})
			return err
		},
		"CaptureTree": func(i string) error {
			_, err := w.client.CaptureTree(ctx, &lcpb.CaptureTreeRequest{InstanceName: i})
			return err
		},
		"GetLocalServerDetails": func(i string) error {
			_, err := w.client.GetLocalServerDetails(ctx, &lcpb.GetLocalServerDetailsRequest{InstanceName: i})
			return err
		},
		"StageTree": func(i string) error {
			stream, err := w.client.StageTree(ctx)
			if err != nil {
				return err
			}
			if err := stream.Send(&lcpb.StageTreeRequest{InstanceName: i, RootDigest: d}); err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	} {
		for _, instance := range []string{"", "other", "near/../other"} {
			if err := call(instance); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "instance") {
				t.Errorf("%s of %q: got %v, want INVALID_ARGUMENT", name, instance, err)
			}
		}
	}
	if _, err := w.client.FetchMissingBlobs(ctx, &lcpb.FetchMissingBlobsRequest{InstanceName: "near", BlobDigests: []*repb.Digest{d, {Hash: "x"}}}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "blob_digests[1]") {
		t.Errorf("malformed digest: got %v, want INVALID_ARGUMENT that names blob_digests[1]", err)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	s := w.stage(w.putTree(files{"a": "0123456789"}), lcpb.StageTreeRequest_COPY_OR_LINK)
	w.captureDirectory(s.path)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{path}})
	if got := w.metric(t, "weir_casd_staged_trees"); got != 1 {
		t.Errorf("trees staged: got %v, want 1", got)
	}
	s.end()
	if got := w.metric(t, "weir_casd_staged_trees"); got != 0 {
		t.Errorf("trees staged after the end: got %v, want 0", got)
	}
	if got := w.metric(t, "weir_casd_stage_duration_seconds"); got != 1 {
		t.Errorf("stagings timed: got %v, want 1", got)
	}
	if got := w.metric(t, "weir_casd_fetched_bytes_total"); got < 10 || got > 200 {
		t.Errorf("bytes fetched: got %v, want a file of 10 and its directory", got)
	}
	if got := w.metric(t, "weir_casd_uploaded_bytes_total"); got != 1000 {
		t.Errorf("bytes uploaded: got %v, want 1000", got)
	}
}

// metric returns a value, of a histogram the count.
func (w *world) metric(t *testing.T, name string) float64 {
	t.Helper()
	var gatherer prometheus.Gatherer = w.registry
	families, err := gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			m := family.Metric[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestConfigurationIsChecked(t *testing.T) {
	_, err := casd.New(casd.Config{QuotaBytes: -1, LowBytes: 7, KeepFreeBytes: -2, UnstageCommands: []string{"rm"}, Instances: map[string]casd.Remotes{"a/../b": {}}})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"no folder", "quota of -1", "low mark of 7", "-2 bytes to keep free", `unstage command "rm"`, "a/../b"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want that it tells of %q", err, want)
		}
	}
}

func TestFolderHasOneCasd(t *testing.T) {
	w := newWorld(t)
	if _, err := casd.New(casd.Config{Dir: w.dir}); err == nil {
		t.Error("a second casd in the same folder: got no error")
	}
}
