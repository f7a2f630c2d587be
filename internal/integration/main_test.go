//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// programs is the folder of the programs under test. TestMain sets it.
var programs string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = filepath.Join(dir, "bin")
	// For the users that actions belong to.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("go", "build", "-o", programs+"/", "./cmd/weir", "./cmd/buildbox-run-hosttools", "./cmd/buildbox-run-namespaces")
	build.Dir, build.Stdout, build.Stderr = repository, os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the programs under test:", err)
		return 1
	}
	for _, name := range []string{"buildbox-casd", "buildbox-worker"} {
		if err := os.Symlink("weir", filepath.Join(programs, name)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// repository is the root of the checkout, seen from this package's folder.
const repository = "../.."

// program returns the path of a program that a test needs, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacking(t, "%s is not installed: %v", name, err)
	}
	return path
}

// lacking skips a test for want of something, or fails it where nothing may be
// skipped.
func lacking(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("WEIR_REQUIRE_ALL") == "1" {
		t.Fatalf("needed, since WEIR_REQUIRE_ALL=1: "+format, args...)
	}
	t.Skipf("skipped: "+format, args...)
}
