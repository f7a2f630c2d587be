package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Temp is a file being written. It is used by one goroutine at a time and
// ended by one Commit or Discard.
type Temp[K comparable] struct {
	dir      *Dir[K]
	file     *os.File
	name     string // its path
	size     int64
	reserved int64
	was      *unix.Stat_t // what an adopted file was, else nil
	taken    bool         // it has been changed since, see take
}

// Create begins a file. It has no key before Commit.
func (d *Dir[K]) Create() (*Temp[K], error) {
	name := d.newName()
	// Read-only: stored files may be hard-linked into the sandbox of an action.
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return nil, spaceError(err)
	}
	return &Temp[K]{dir: d, file: file, name: name}, nil
}

// newName returns a path for a file that is being written.
func (d *Dir[K]) newName() string {
	n := d.next.Add(1)
	return filepath.Join(d.tmp, nursery(n), strconv.FormatUint(n, 10))
}

// Size is how many bytes the file has.
func (t *Temp[K]) Size() int64 { return t.size }

// Write appends data. The error wraps ErrNoSpace if there is no room for it.
func (t *Temp[K]) Write(data []byte) (int, error) {
	if err := t.reserve(charge(t.size+int64(len(data))) - t.reserved); err != nil {
		return 0, err
	}
	n, err := t.file.Write(data)
	t.size += int64(n)
	return n, spaceError(err)
}

func (t *Temp[K]) reserve(bytes int64) error {
	if bytes == 0 {
		return nil
	}
	t.dir.mu.Lock()
	err := t.dir.adaptQuota()
	ok := err == nil && t.dir.index.Reserve(bytes)
	usage := t.dir.index.Usage()
	t.dir.mu.Unlock()
	if err != nil {
		return err
	}
	if !ok {
		return t.dir.full(usage)
	}
	t.reserved += bytes
	t.dir.unlinkDoomed()
	return nil
}

// Commit stores the file under key, in place of what was there. Whatever the
// error, the Temp has ended.
func (t *Temp[K]) Commit(key K) error {
	if err := t.finish(); err != nil {
		t.Discard()
		return spaceError(err)
	}
	err := t.rename(key)
	t.dir.unlinkDoomed()
	return err
}

// finish closes the file. An error here may be all that tells of a full disk.
func (t *Temp[K]) finish() error {
	if t.dir.config.Fsync {
		if err := t.file.Sync(); err != nil {
			return err
		}
	}
	return t.file.Close()
}

func (t *Temp[K]) rename(key K) error {
	d := t.dir
	place := d.place(key)
	place.Lock()
	defer place.Unlock()
	path := d.Path(key)
	if err := rename(t.name, path); err != nil {
		t.giveBack()
		t.remove()
		return fmt.Errorf("name file: %w", spaceError(err))
	}
	t.name = path
	if d.config.Fsync {
		if err := syncFolder(filepath.Dir(path)); err != nil {
			t.giveBack()
			t.remove()
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index.Fill(key, record{t.size, time.Now().Unix()}, charge(t.size))
	d.index.Release(t.reserved - charge(t.size)) // of a write that came up short
	return nil
}

// rename is os.Rename without its question beforehand whether the new name is a folder's.
func rename(from, to string) error {
	for {
		switch err := unix.Rename(from, to); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
	}
}

// Discard deletes the file, or gives back one that was adopted.
func (t *Temp[K]) Discard() {
	t.giveBack()
	t.file.Close()
	t.remove()
}

func (t *Temp[K]) remove() {
	_ = os.Remove(t.name)
	t.release()
}

func (t *Temp[K]) release() {
	t.dir.mu.Lock()
	defer t.dir.mu.Unlock()
	t.dir.index.Release(t.reserved)
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
