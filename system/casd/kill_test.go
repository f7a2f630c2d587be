package casd_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weir-build/weir/system/casd"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// victimEnv makes TestVictim the casd that is killed: its folder.
const victimEnv = "CASD_TEST_VICTIM"

// TestVictim stages trees and waits to be killed. It runs only as the child of
// TestLeftoversOfAKilledCasdAreRemoved.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimEnv)
	if dir == "" {
		t.Skip("runs as a child of another test")
	}
	w := newWorld(t, at(filepath.Join(dir, "cache")))
	root := w.putTree(files{"f": "x", "d/e": "y"})
	modes := []lcpb.StageTreeRequest_StagingMode{lcpb.StageTreeRequest_COPY_OR_LINK}
	if os.Getenv(victimEnv+"_FUSE") != "" {
		modes = append(modes, lcpb.StageTreeRequest_FUSE)
	}
	for _, mode := range modes {
		w.stage(root, mode)
		for _, name := range []string{"kept", "replaced"} {
			path := filepath.Join(dir, fmt.Sprint(name, int(mode)))
			if _, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: root.Proto(), Path: path, StagingMode: mode}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fmt.Println("staged")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
}

func TestLeftoversOfAKilledCasdAreRemoved(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	// What it makes beside its cache goes when this test ends.
	child.Env = append(os.Environ(), victimEnv+"="+dir, "TMPDIR="+t.TempDir())
	if device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err == nil && os.Geteuid() == 0 {
		device.Close()
		child.Env = append(child.Env, victimEnv+"_FUSE=yes")
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "staged" {
		t.Errorf("child says %q, want staged", lines.Text())
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if entries, err := os.ReadDir(filepath.Join(dir, "cache", "staging")); err != nil || len(entries) < 3 {
		t.Fatalf("what the killed casd has left: got %v, %v, want at least 3 stagings", entries, err)
	}
	// What is in a tree isn't casd's word: here is a note of a folder that casd knows
	// nothing of.
	innocent := t.TempDir()
	note, err := casd.NoteOf(innocent)
	if err != nil {
		t.Fatal(err)
	}
	trees, err := filepath.Glob(filepath.Join(dir, "cache", "staging", "tree-*"))
	if err != nil || len(trees) != 1 {
		t.Fatalf("trees without a home: got %v, %v, want one", trees, err)
	}
	if err := os.WriteFile(filepath.Join(trees[0], "at"), []byte(note), 0o600); err != nil {
		t.Fatal(err)
	}
	// Something else is at one of the paths by now: it isn't casd's to remove.
	copied := fmt.Sprint("replaced", int(lcpb.StageTreeRequest_COPY_OR_LINK))
	if err := os.RemoveAll(filepath.Join(dir, copied)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, copied, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}

	again, err := casd.New(casd.Config{Dir: filepath.Join(dir, "cache")})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if entries, err := os.ReadDir(filepath.Join(dir, "cache", "staging")); err != nil || len(entries) > 0 {
		t.Errorf("staging after a new start: got %v, %v, want nothing", entries, err)
	}
	noMounts(t, dir)
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		if name := entry.Name(); name != "cache" && name != copied {
			t.Errorf("left: %s", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, copied, "mine")); err != nil {
		t.Errorf("what somebody else put there: %v", err)
	}
	if _, err := os.Stat(innocent); err != nil {
		t.Errorf("folder that a tree's user told of: %v", err)
	}
}
