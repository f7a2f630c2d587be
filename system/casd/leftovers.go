package casd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxNoteBytes bounds a note: PATH_MAX and two numbers.
const maxNoteBytes = 8 << 10

// leaveNote records where the tree is that the client has placed: the identity of
// the directory, whether casd made it, and its path, so that a later casd can
// clean up, and can tell if something else is there by then.
func (st *staging) leaveNote() error {
	id, err := identity(st.at)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%s %t\n%s", id, st.made, st.path)
	return os.WriteFile(filepath.Join(st.home, "at"), []byte(note), 0o600)
}

// identity tells a directory from another at the same path: by device, inode and
// time of birth, since file systems use the numbers of deleted inodes again.
func identity(path string) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return "", &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	return fmt.Sprintf("%d:%d:%d:%d.%d", st.Dev_major, st.Dev_minor, st.Ino, st.Btime.Sec, st.Btime.Nsec), nil
}

// removeLeftovers takes away what a casd that was killed has staged.
func removeLeftovers(dir, owner string) error {
	points, err := mountPoints()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range points {
		if p.kind == "fuse."+mountType && p.source == owner {
			errs = append(errs, unmountPath(p.path))
		}
	}
	homes, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, home := range homes {
		if strings.HasPrefix(home.Name(), bareTree) {
			continue // what is in there the user of the tree has made
		}
		errs = append(errs, removePlaced(filepath.Join(dir, home.Name(), "at")))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what an earlier casd staged: %w", err)
	}
	return emptyTree(dir, dir, true)
}

// removePlaced removes the tree that a note tells of, if it is still there.
func removePlaced(note string) error {
	stat, err := os.Lstat(note)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if stat.Size() > maxNoteBytes {
		return fmt.Errorf("%s has %d bytes, which no note of casd has", note, stat.Size())
	}
	data, err := os.ReadFile(note)
	if err != nil {
		return err
	}
	first, path, _ := strings.Cut(string(data), "\n")
	was, made, ok := strings.Cut(first, " ")
	if !ok || !filepath.IsAbs(path) {
		return nil // torn: casd died before it staged anything there
	}
	is, err := identity(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && is != was {
		return nil
	}
	if err != nil {
		return err
	}
	return emptyTree(path, path, made == "true")
}
