package casd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
)

// register registers remotes and returns a client of the instance.
func (w *world) register(request *lcpb.GetInstanceNameForRemotesRequest) *remote.Client {
	w.t.Helper()
	answer, err := w.client.GetInstanceNameForRemotes(w.t.Context(), request)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.here.ForInstance(answer.InstanceName)
}

// behind is a request for an instance with a CAS alone.
func behind(url string) *lcpb.GetInstanceNameForRemotesRequest {
	return &lcpb.GetInstanceNameForRemotesRequest{ContentAddressableStorage: &lcpb.Remote{Url: url, InstanceName: "far"}}
}

func TestEqualRemotesHaveOneInstance(t *testing.T) {
	w := newWorld(t)
	_, url := newFar(t)
	first, again := w.register(behind(url)), w.register(behind(url))
	if first.Instance() != again.Instance() || first.Instance() == "near" {
		t.Errorf("got %q, then %q, want one name that isn't the configured one", first.Instance(), again.Instance())
	}
	//lint:ignore SA1019 old clients have no other call (2026-11-25)
	old, err := w.client.GetInstanceNameForRemote(t.Context(), &lcpb.GetInstanceNameForRemoteRequest{Url: url, InstanceName: "far"})
	if err != nil || old.InstanceName != first.Instance() {
		t.Errorf("the deprecated call: got %v, %v, want %q", old, err, first.Instance())
	}
	other := behind(url)
	other.ContentAddressableStorage.ReadOnly = true
	if got := w.register(other).Instance(); got == first.Instance() {
		t.Errorf("a read-only remote has the instance of one that isn't, %q", got)
	}
	// After a restart, too.
	if got := newWorld(t).register(behind(url)).Instance(); got != first.Instance() {
		t.Errorf("another casd: got %q, want %q", got, first.Instance())
	}
}

func TestInstancesUploadToTheirOwnRemotes(t *testing.T) {
	w := newWorld(t)
	far, url := newFar(t)
	there := w.register(behind(url))
	ctx := t.Context()

	small, large := []byte("small"), []byte(strings.Repeat("large", 1_000_000))
	for _, data := range [][]byte{small, large} {
		if err := there.WriteBlob(ctx, digest.Of(data), data); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("captured"), 0o644); err != nil {
		t.Fatal(err)
	}
	captured, err := w.client.CaptureFiles(ctx, &lcpb.CaptureFilesRequest{InstanceName: there.Instance(), Path: []string{path}})
	if err != nil || captured.Responses[0].Status.GetCode() != 0 {
		t.Fatalf("capture: %v, %v", captured, err)
	}
	kept := w.keep("kept")
	if _, err := w.client.UploadMissingBlobs(ctx, &lcpb.UploadMissingBlobsRequest{InstanceName: there.Instance(), BlobDigests: protos(kept)}); err != nil {
		t.Fatal(err)
	}
	for _, d := range []digest.Digest{digest.Of(small), digest.Of(large), digest.Of([]byte("captured")), kept} {
		if _, err := far.Memory.Read(ctx, d); err != nil {
			t.Errorf("at the instance's remote: %v", err)
		}
		if _, err := w.far.Memory.Read(ctx, d); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("blob %v at another's remote: %v, want that it isn't there", d, err)
		}
		// One instance asks for what its own remote lacks, not the other's.
		if missing, err := w.here.Missing(ctx, []digest.Digest{d}, nil); err != nil || len(missing) != 1 {
			t.Errorf("missing in the other instance: got %v, %v, want %v", missing, err, d)
		}
	}
	// The cache is one: what came for an instance is there for the other.
	root := w.putTree(files{"f": "content"})
	w.stage(root, lcpb.StageTreeRequest_COPY_OR_LINK).end()
	s, err := w.tryStage(&lcpb.StageTreeRequest{InstanceName: there.Instance(), RootDigest: root.Proto(), StagingMode: lcpb.StageTreeRequest_COPY_OR_LINK})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read(t, s.path), files{"f": "content"}); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
	s.end()
	if len(far.reads) != 0 {
		t.Errorf("reads at the instance's remote: got %v, want none", far.reads)
	}
}

func TestReadOnlyRemoteGetsNothing(t *testing.T) {
	w := newWorld(t)
	far, url := newFar(t)
	request := behind(url)
	request.ActionCache = &lcpb.Remote{Url: url, InstanceName: "far", ReadOnly: true}
	request.ContentAddressableStorage.ReadOnly = true
	there := w.register(request)
	ctx := t.Context()

	data := []byte("written")
	if err := there.WriteBlob(ctx, digest.Of(data), data); err != nil {
		t.Fatal(err)
	}
	large := []byte(strings.Repeat("large", 1_000_000))
	if err := there.WriteBlob(ctx, digest.Of(large), large); err != nil {
		t.Fatal(err)
	}
	for _, d := range []digest.Digest{digest.Of(data), digest.Of(large)} {
		if _, err := far.Memory.Read(ctx, d); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("blob %v at the remote: %v, want that it isn't there", d, err)
		}
	}
	// Here is as good as there, or clients would try for ever.
	if missing, err := there.Missing(ctx, []digest.Digest{digest.Of(data), digest.Of([]byte("lost"))}, nil); err != nil || len(missing) != 1 {
		t.Errorf("missing: got %v, %v, want the lost one", missing, err)
	}
	if _, err := w.client.UploadMissingBlobs(ctx, &lcpb.UploadMissingBlobsRequest{InstanceName: there.Instance(), BlobDigests: protos(digest.Of(data))}); status.Code(err) != codes.Unimplemented {
		t.Errorf("upload: got %v, want UNIMPLEMENTED", err)
	}
	// Results that are written stay here, too, before those of the remote.
	writing := w.register(&lcpb.GetInstanceNameForRemotesRequest{ActionCache: &lcpb.Remote{Url: url, InstanceName: "far"}})
	both, theirs := digest.Of([]byte("both")), digest.Of([]byte("theirs"))
	for _, action := range []digest.Digest{both, theirs} {
		if err := writing.UpdateActionResult(ctx, action, &repb.ActionResult{StdoutRaw: []byte("there")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := there.UpdateActionResult(ctx, both, &repb.ActionResult{StdoutRaw: []byte("here")}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client *remote.Client
		action digest.Digest
		want   string
	}{{there, both, "here"}, {there, theirs, "there"}, {writing, both, "there"}} {
		if got, err := c.client.ActionResult(ctx, c.action); err != nil || string(got.StdoutRaw) != c.want {
			t.Errorf("result in %s: got %v, %v, want %q", c.client.Instance(), got, err, c.want)
		}
	}
}

// An instance without a remote has its results in casd's folder, apart from those
// of others, and has them still after a restart.
func TestResultsWithoutARemote(t *testing.T) {
	dir := t.TempDir()
	action := digest.Of([]byte("action"))
	local := new(lcpb.GetInstanceNameForRemotesRequest)
	noFailures := func(c *casd.Config) { c.NoFailures = true }
	t.Run("before", func(t *testing.T) {
		w := newWorld(t, withoutRemote, at(dir), noFailures)
		there := w.register(local)
		if _, err := w.here.ActionResult(t.Context(), action); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("an unknown action: got %v, want NOT_FOUND", err)
		}
		if err := w.here.UpdateActionResult(t.Context(), action, &repb.ActionResult{StdoutRaw: []byte("out")}); err != nil {
			t.Fatal(err)
		}
		if _, err := there.ActionResult(t.Context(), action); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("in another instance: got %v, want NOT_FOUND", err)
		}
		failed := digest.Of([]byte("failed"))
		if err := there.UpdateActionResult(t.Context(), failed, &repb.ActionResult{ExitCode: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := there.ActionResult(t.Context(), failed); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("a failure: got %v, want NOT_FOUND", err)
		}
		lost := &repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: "f", Digest: digest.Of([]byte("lost")).Proto()}}}
		if err := there.UpdateActionResult(t.Context(), digest.Of([]byte("lost")), lost); err != nil {
			t.Fatal(err)
		}
		if _, err := there.ActionResult(t.Context(), digest.Of([]byte("lost"))); !errors.Is(err, cas.ErrNotFound) {
			t.Errorf("a result whose output is gone: got %v, want NOT_FOUND", err)
		}
	})
	w := newWorld(t, withoutRemote, at(dir))
	if got, err := w.here.ActionResult(t.Context(), action); err != nil || string(got.StdoutRaw) != "out" {
		t.Errorf("after a restart: got %v, %v", got, err)
	}
}

func TestBadRemotesAreRefused(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		remote *lcpb.Remote
		want   string
	}{
		"no scheme":      {&lcpb.Remote{Url: "localhost"}, "want grpc://"},
		"instance":       {&lcpb.Remote{Url: "grpc://a", InstanceName: "a/../b"}, "a/../b"},
		"certificate":    {&lcpb.Remote{Url: "grpc://a", ServerCert: []byte("PEM")}, "certificates need grpcs"},
		"not PEM":        {&lcpb.Remote{Url: "grpcs://a", ServerCert: []byte("text")}, "no PEM"},
		"key alone":      {&lcpb.Remote{Url: "grpcs://a", ClientKey: []byte("PEM")}, "come together"},
		"token":          {&lcpb.Remote{Url: "grpcs://a", AccessTokenPath: "/no/such"}, "/no/such"},
		"token in clear": {&lcpb.Remote{Url: "grpc://example.org", AccessTokenPath: "/no/such"}, "leaves this machine"},
		"keepalive":      {&lcpb.Remote{Url: "grpc://a", KeepaliveTime: durationpb.New(-time.Second)}, "keepalive_time"},
		"timeout":        {&lcpb.Remote{Url: "grpc://a", RequestTimeout: &durationpb.Duration{Nanos: -1, Seconds: 1}}, "request_timeout"},
		"retries":        {&lcpb.Remote{Url: "grpc://a", RetryLimit: -1}, "retry_limit"},
	} {
		_, err := w.client.GetInstanceNameForRemotes(t.Context(), &lcpb.GetInstanceNameForRemotesRequest{
			ContentAddressableStorage: &lcpb.Remote{Url: "grpc://fine"}, ActionCache: c.remote,
		})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "action_cache") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want INVALID_ARGUMENT with action_cache and %q", name, err, c.want)
		}
	}
}

func TestInstancesAreBounded(t *testing.T) {
	w := newWorld(t)
	ask := func(i int) error {
		_, err := w.client.GetInstanceNameForRemotes(t.Context(), behind(fmt.Sprintf("grpc://127.0.0.1:%d", i+1)))
		return err
	}
	for i := range 1000 {
		if err := ask(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(1000); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more: got %v, want RESOURCE_EXHAUSTED", err)
	}
	if err := ask(7); err != nil {
		t.Errorf("one of those there are: %v", err)
	}
}
