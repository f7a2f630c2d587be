package proxy

import (
	"errors"
	"fmt"
	"net"
)

// listen returns the listeners to serve on: those given, or new ones.
func (s *Server) listen(given []net.Listener) ([]net.Listener, error) {
	if len(given) > 0 && len(given) != len(s.config.Listeners) {
		return nil, errors.Join(fmt.Errorf("serve: %d listeners are given for the %d configured", len(given), len(s.config.Listeners)), closeAll(given))
	}
	listeners := given
	for i, l := range s.config.Listeners {
		if len(given) == 0 {
			listener, err := net.Listen("tcp", l.Addr)
			if err != nil {
				return nil, errors.Join(err, closeAll(listeners))
			}
			listeners = append(listeners, listener)
		}
		// The name in the configuration may resolve to something else than it
		// says, and a given listener needn't have anything to do with it.
		if l.Scheme == NoAuth && !loopback(listeners[i].Addr()) {
			return nil, errors.Join(fmt.Errorf("serve on %s: auth_scheme %s is for loopback addresses only", listeners[i].Addr(), NoAuth), closeAll(listeners))
		}
	}
	return listeners, nil
}

// loopback reports whether only this machine can reach an address. Addresses
// that aren't IP, as those of in-memory listeners, are this process's own.
func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
