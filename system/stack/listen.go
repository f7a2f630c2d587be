package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// socketMode is the mode of a Unix socket unless the configuration says otherwise:
// what listens there may be all that keeps its user's files from others.
const socketMode Mode = 0o600

// Mode is the mode of a socket, written in octal: "0660".
type Mode fs.FileMode

// UnmarshalText reads a mode.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return fmt.Errorf("mode %q: want permissions in octal, such as 0660", text)
	}
	*m = Mode(n)
	return nil
}

// Listen listens at HOST:PORT or unix:PATH. A socket that is left of a process that
// was killed is replaced; one that somebody answers at is an error. Mode is the
// socket's, 0 means 0600. The caller closes the listener, which removes the socket.
func Listen(address string, mode Mode) (net.Listener, error) {
	path, local := strings.CutPrefix(address, "unix:")
	if !local {
		return net.Listen("tcp", address)
	}
	if path == "" {
		return nil, fmt.Errorf("listen at %q: want unix:PATH", address)
	}
	if mode == 0 {
		mode = socketMode
	}
	if err := clear(path); err != nil {
		return nil, fmt.Errorf("listen at %q: %w", address, err)
	}
	listener, err := listenAside(path, mode)
	if err != nil {
		return nil, fmt.Errorf("listen at %q: %w", address, err)
	}
	return listener, nil
}

// clear makes sure that there is nothing at a path that must not be replaced.
func clear(path string) error {
	stat, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if stat.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something that isn't a socket; remove it or choose another path")
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return errors.New("another process listens there; stop it or choose another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil
}

// listenAside makes the socket under another name and gives it its own when it has
// its mode: whoever sees it there, and clients wait for that, can connect.
func listenAside(path string, mode Mode) (net.Listener, error) {
	// Short, because the path of a socket has at most 107 bytes.
	aside := filepath.Join(filepath.Dir(path), "."+strconv.Itoa(os.Getpid()))
	if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: aside, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	err = os.Chmod(aside, fs.FileMode(mode))
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		listener.Close()
		os.Remove(aside)
		return nil, err
	}
	return &socket{UnixListener: listener, path: path}, nil
}

// A socket is a listener that knows where it is, and removes itself from there.
type socket struct {
	*net.UnixListener
	path string
}

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close implements net.Listener. Of several calls the first counts, so that none
// removes the socket of a successor.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if err == nil {
		err = os.Remove(s.path)
	}
	return err
}
