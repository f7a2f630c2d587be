package files

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

func TestFullDiskIsNoSpace(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		err := spaceError(&os.PathError{Op: "write", Path: "x", Err: errno})
		if !errors.Is(err, ErrNoSpace) || !errors.Is(err, errno) {
			t.Errorf("%v: error %v, want ErrNoSpace", errno, err)
		}
	}
	if err := spaceError(&os.PathError{Err: syscall.EIO}); errors.Is(err, ErrNoSpace) {
		t.Error("an I/O error passes for a full disk")
	}
	if spaceError(nil) != nil {
		t.Error("no error became one")
	}
}
