package stack_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-build/weir/system/stack"
)

func TestListenOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := stack.Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "somebody serves there") {
		t.Errorf("a second one: %v", err)
	}
	// As if it had been killed.
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	first.Close()
	second, err := stack.Listen("unix:" + path)
	if err != nil {
		t.Fatalf("where one was killed: %v", err)
	}
	second.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Listen("unix:" + path); err == nil {
		t.Error("it listens in place of a file")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if _, err := stack.Listen("unix:/" + strings.Repeat("x", 200)); err == nil || !strings.Contains(err.Error(), "choose a shorter one") {
		t.Errorf("a long path: %v", err)
	}
}
