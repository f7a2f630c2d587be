package stack_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-build/weir/system/stack"
)

// leaveStale leaves a socket as a process does that is killed.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "casd.sock")
	leaveStale(t, path)
	listener, err := stack.Listen("unix:"+path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := listener.Addr().String(); got != path {
		t.Errorf("address is %q, want %q", got, path)
	}
	if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", stat.Mode(), err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := stack.Listen("unix:"+path, 0); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a second listener: got %v, want an error", err)
	}
	listener.Close()
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) > 0 {
		t.Errorf("left after the end: %v", entries)
	}
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Listen("unix:"+path, 0); err == nil || !strings.Contains(err.Error(), "isn't a socket") {
		t.Errorf("got %v, want an error", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "mine" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if _, err := stack.Listen("unix:", 0); err == nil {
		t.Error("no path: got no error")
	}
}

// A socket that is closed late must not take its successor's away.
func TestListenerClosesOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := stack.Listen("unix:"+path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	second, err := stack.Listen("unix:"+path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if stat, err := os.Stat(path); err != nil || stat.Mode().Perm() != 0o666 {
		t.Errorf("the second socket: got %v, %v, want mode 0666", stat, err)
	}
}

func TestMode(t *testing.T) {
	var got stack.Mode
	if err := got.UnmarshalText([]byte("0660")); err != nil || got != 0o660 {
		t.Errorf("got %o, %v, want 660", got, err)
	}
	for _, text := range []string{"", "rw", "0", "1777", "0o600"} {
		if err := got.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %o, %v, want an error that names it", text, got, err)
		}
	}
}
