package casd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

func TestCacheTooSmallFailsTheTree(t *testing.T) {
	w := newWorld(t, quota(1<<20))
	dir := t.TempDir()
	for name, size := range map[string]int{"large/f": 2 << 20, "small/f": 10} {
		if err := os.Mkdir(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := w.captureTree(&lcpb.CaptureTreeRequest{Root: dir, Path: []string{"large", "small"}}).Responses
	if codes.Code(got[0].Status.GetCode()) != codes.ResourceExhausted || got[1].Status.GetCode() != 0 {
		t.Errorf("got %v, %v, want RESOURCE_EXHAUSTED and OK", got[0].Status, got[1].Status)
	}
	if text := got[0].Status.GetMessage(); !strings.Contains(text, "large") || !strings.Contains(text, "quota of 1048576 bytes") {
		t.Errorf("got %q, want that it names the path and the quota", text)
	}
}

// BuildStream reads blobs that it has just stored from the cache's folder, so they
// must not go as long as it runs.
func TestSessionBlobsAreProtected(t *testing.T) {
	dir := t.TempDir()
	before := digest.Of([]byte("before"))
	t.Run("before", func(t *testing.T) { newWorld(t, withoutRemote, at(dir)).keep("before") })
	w := newWorld(t, withoutRemote, at(dir), func(c *casd.Config) { c.QuotaBytes, c.ProtectSession = 3*4096, true })
	if !w.cached(before) {
		t.Fatal("a blob of an earlier session isn't there")
	}
	var kept []digest.Digest
	for i := range 3 {
		kept = append(kept, w.keep(fmt.Sprint("session ", i)))
	}
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("too much"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{path}}).Responses[0]
	if codes.Code(r.Status.GetCode()) != codes.ResourceExhausted || !strings.Contains(r.Status.GetMessage(), "used since the start") {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED that says why", r.Status)
	}
	for _, d := range kept {
		if !w.cached(d) {
			t.Errorf("blob %v of this session is gone", d)
		}
	}
	if w.cached(before) {
		t.Error("the blob of the earlier session is still there, want that it made room")
	}
}

func TestExpiryLeavesTheLowMark(t *testing.T) {
	w := newWorld(t, withoutRemote, func(c *casd.Config) { c.QuotaBytes, c.LowBytes = 10*4096, 3*4096 })
	for i := range 11 {
		w.keep(fmt.Sprint("blob ", i))
	}
	usage, err := w.client.GetLocalDiskUsage(t.Context(), new(lcpb.GetLocalDiskUsageRequest))
	if err != nil || usage.SizeBytes != 4*4096 {
		t.Errorf("got %v, %v, want 3 blocks of before and the new one", usage, err)
	}
}

func TestReservedDiskIsLeftAlone(t *testing.T) {
	w := newWorld(t, withoutRemote, func(c *casd.Config) { c.KeepFreeBytes = 1 << 60 })
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.captureFiles(&lcpb.CaptureFilesRequest{Path: []string{path}}).Responses[0]
	if codes.Code(r.Status.GetCode()) != codes.ResourceExhausted {
		t.Errorf("got %v, want RESOURCE_EXHAUSTED", r.Status)
	}
}
