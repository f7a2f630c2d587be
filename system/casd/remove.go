package casd

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxSwept is how deep sweep goes: few trees are deeper, and each level takes a
// descriptor.
const maxSwept = 32

// sweptAtOnce is how many names of a directory are read at a time.
const sweptAtOnce = 1000

// emptyTree removes what is in a directory, and the directory too if all. It
// never follows a symbolic link and never enters a mount: what somebody mounted
// in there and forgot is unmounted first. At leads where path does, and is gone by.
func emptyTree(path, at string, all bool) error {
	if all && sweep(unix.AT_FDCWD, at, maxSwept) {
		return nil
	}
	points, err := mountPoints()
	if err != nil {
		return err
	}
	for _, p := range points {
		if isInside(p.path, path) {
			if err := unmountPath(p.path); err != nil {
				return err
			}
		}
	}
	if all {
		return removeAll(at)
	}
	entries, err := os.ReadDir(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		err = firstError(err, removeAll(filepath.Join(at, entry.Name())))
	}
	return err
}

// removeAll is os.RemoveAll, also of directories that an action has made
// unwritable.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}

// sweep removes a directory and what is in it, if nothing is mounted there, and without
// asking for all mounts of the machine: rmdir(2) says ENOTEMPTY of a directory only if
// that isn't a mount, so that its entries may go. It follows no symbolic link. False
// says that something was in the way; what else is gone is gone.
func sweep(parent int, name string, levels int) bool {
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != unix.ENOTEMPTY || levels == 0 {
		return err == nil
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(sweptAtOnce)
		for _, entry := range names {
			err := unix.Unlinkat(fd, entry, 0)
			if err != nil && (err != unix.EISDIR || !sweep(fd, entry, levels-1)) {
				return false
			}
		}
		if err != nil {
			return errors.Is(err, io.EOF) && unix.Unlinkat(parent, name, unix.AT_REMOVEDIR) == nil
		}
	}
}
