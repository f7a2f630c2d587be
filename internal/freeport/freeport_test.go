package freeport_test

import (
	"net"
	"testing"

	"github.com/weir-build/weir/internal/freeport"
)

func TestAddressesDifferAndCanBeListenedOn(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		address := freeport.Address(t)
		if seen[address] {
			t.Errorf("%s twice", address)
		}
		seen[address] = true
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		listener.Close()
	}
}
