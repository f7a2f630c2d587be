package files

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotMine is returned by [Dir.Adopt] for a file that can't become one of the folder's.
var ErrNotMine = errors.New("the file can't be taken into the folder")

// Adopt begins a file with the content that one elsewhere has, by taking that file
// itself: it gets a second name, belongs to this process's user and can only be read. The
// name that it had stays, for the caller to remove after Commit. The caller sees to it that
// nobody has the file open for writing, and may close it; Discard, and a Commit that fails,
// give the file back.
//
// The error wraps ErrNotMine if the file is on another file system, has several names or
// may not be taken; then nothing has changed. It wraps ErrNoSpace if there is no room.
func (d *Dir[K]) Adopt(file *os.File) (*Temp[K], error) {
	was := new(unix.Stat_t)
	if err := unix.Fstat(int(file.Fd()), was); err != nil {
		return nil, err
	}
	if was.Mode&unix.S_IFMT != unix.S_IFREG || was.Nlink != 1 {
		return nil, ErrNotMine
	}
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	t := &Temp[K]{dir: d, file: os.NewFile(uintptr(fd), file.Name()), name: d.newName(), size: was.Size, was: was}
	if err := t.reserve(charge(t.size)); err != nil {
		t.file.Close()
		return nil, err
	}
	if err := t.take(); err != nil {
		t.Discard()
		return nil, fmt.Errorf("%w: %w", ErrNotMine, err)
	}
	return t, nil
}

// take gives an adopted file its second name, and then makes it the folder's. By the
// descriptor, since the first name may stand for another file by now.
func (t *Temp[K]) take() error {
	if err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(t.file.Fd())), unix.AT_FDCWD, t.name, unix.AT_SYMLINK_FOLLOW); err != nil {
		return err
	}
	// Who else adopts the file at the same time has given it a third name, or has taken it.
	is := new(unix.Stat_t)
	if err := unix.Fstat(int(t.file.Fd()), is); err != nil {
		return err
	}
	if is.Nlink != 2 || is.Mtim != t.was.Mtim {
		return errors.New("it has another name")
	}
	t.taken = true
	// The owner first: until then the old one could give itself the right to write again.
	if uid, gid := os.Geteuid(), os.Getegid(); int(t.was.Uid) != uid || int(t.was.Gid) != gid {
		if err := t.file.Chown(uid, gid); err != nil {
			return err
		}
	}
	if err := t.file.Chmod(0o444); err != nil {
		return err
	}
	// The folder is read in order of modification time after a restart.
	now := time.Now()
	return os.Chtimes(t.name, now, now)
}

// giveBack undoes take, but for the name, by which it goes: that one is in a folder of ours,
// and the descriptor may be closed. What isn't taken may be somebody else's by now.
func (t *Temp[K]) giveBack() {
	if !t.taken {
		return
	}
	_ = os.Chown(t.name, int(t.was.Uid), int(t.was.Gid))
	_ = unix.Chmod(t.name, t.was.Mode&0o7777) // after Chown, which clears some bits
	_ = os.Chtimes(t.name, time.Unix(t.was.Atim.Unix()), time.Unix(t.was.Mtim.Unix()))
}
