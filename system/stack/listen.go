package stack

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// Listen listens on an address: HOST:PORT, or unix:PATH, where a socket that nobody
// answers on is a leftover and goes. Who can open that path is who can call.
func Listen(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return net.Listen("tcp", address)
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on unix:%s: the path has %d bytes, and sockets take %d: choose a shorter one", path, len(path), maxSocketPath)
	}
	l, err := net.Listen("unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	// A connection to what is no socket is refused, too.
	if info, statErr := os.Lstat(path); statErr != nil || info.Mode().Type() != os.ModeSocket {
		return nil, err
	}
	conn, dialErr := net.Dial("unix", path)
	if dialErr == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: somebody serves there", address)
	}
	if !errors.Is(dialErr, syscall.ECONNREFUSED) {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return net.Listen("unix", path)
}

// maxSocketPath is the room for a path in an address, less its end (unix(7)).
const maxSocketPath = 107
