package casd

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// clone makes to share the blocks of from (a reflink). The error is
// errNotHere where the file system can't.
func clone(to, from *os.File) error {
	err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EXDEV) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return errNotHere
	}
	return err
}

// errNotHere says that the file system can't do something cheaper than copying.
var errNotHere = errors.New("not supported by this file system")

// cloneOrCopy fills the empty file to with the content of from.
func cloneOrCopy(to, from *os.File, sizeBytes int64) error {
	if err := clone(to, from); !errors.Is(err, errNotHere) {
		return err
	}
	return copyBytes(to, from, sizeBytes)
}

// copyBytes copies the first n bytes, inside the kernel where it can.
func copyBytes(to, from *os.File, n int64) error {
	copied, err := io.Copy(to, io.LimitReader(from, n))
	if err == nil && copied != n {
		err = io.ErrUnexpectedEOF
	}
	return err
}
