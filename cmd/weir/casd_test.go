package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/stack"
)

// TestCasdEndsAtSIGTERM stops a real casd that has trees staged: BuildStream reports
// a bug unless it exits with 0, and kills it after 15 s.
func TestCasdEndsAtSIGTERM(t *testing.T) {
	dir := t.TempDir()
	config := "listen_address: unix:" + dir + `/casd.sock
dir: ` + dir + `/cache
infra: {bind_addr: "127.0.0.1:0", metricsz_bind_addr: "127.0.0.1:0"}
`
	if err := os.WriteFile(filepath.Join(dir, "casd.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("weir") // which testscript.Main made of this test
	if err != nil {
		t.Fatal(err)
	}
	casd := exec.Command(program, "serve", "casd", "-c", "casd.yaml")
	casd.Dir = dir
	log := new(strings.Builder)
	casd.Stdout, casd.Stderr = log, log
	if err := casd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- casd.Wait() }()
	path, client := stageAll(t, dir)
	if err := casd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("casd ended with %v, want 0:\n%s", err, log)
		}
	case <-time.After(14 * time.Second):
		_ = casd.Process.Kill()
		<-ended
		t.Fatal("casd goes on for 14 s after SIGTERM")
	}
	client.Close()
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts of %s are left, or can't be read: %v", dir, err)
	}
	for _, path := range []string{path, dir + "/casd.sock"} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want that it is gone", path, err)
		}
	}
}

// stageAll stages a tree in the way that this machine allows, FUSE if it can, and
// leaves it staged.
func stageAll(t *testing.T, dir string) (path string, conn *grpc.ClientConn) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+dir+"/casd.sock", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client := localcas.NewLocalContentAddressableStorageClient(conn)
	input := filepath.Join(dir, "input")
	for i := range 20 { // more than are copied
		if err := os.MkdirAll(filepath.Join(input, strings.Repeat("d", i+1)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Outlives the context of the test's body: casd ends the call.
	ctx := context.WithoutCancel(t.Context())
	captured, err := client.CaptureTree(ctx, &localcas.CaptureTreeRequest{Path: []string{input}, OutputDirectoryFormat: repb.Command_DIRECTORY_ONLY},
		grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	root, err := digest.FromProto(captured.Responses[0].RootDirectoryDigest)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := client.StageTree(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&localcas.StageTreeRequest{RootDigest: root.Proto()}); err != nil {
		t.Fatal(err)
	}
	staged, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return staged.Path, conn
}

// What docs/casd.md shows is a configuration that is taken.
func TestConfigurationsOfCasdsPageAreTaken(t *testing.T) {
	page, err := os.ReadFile("../../docs/casd.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	var file casdFile
	for _, block := range blocks {
		if err := stack.Decode(block[1], &file); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
		}
	}
	if len(blocks) < 3 || file.Quota != 30e9 || file.Execution.URL == "" || len(file.UnstageCommands) != 1 {
		t.Errorf("%d blocks make %+v", len(blocks), file)
	}
}
