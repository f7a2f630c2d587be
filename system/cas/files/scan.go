package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// found is a file of an earlier process.
type found[K comparable] struct {
	key     K
	size    int64
	modTime int64 // Unix nanoseconds
}

// prepare empties tmp, makes the folders and fills the index.
func (d *Dir[K]) prepare() error {
	if err := openNurseries(d.tmp); err != nil {
		return err
	}
	var all []found[K]
	for i := range 256 {
		prefix := fmt.Sprintf("%02x", i)
		if err := os.MkdirAll(filepath.Join(d.objects, prefix), 0o755); err != nil {
			return err
		}
		var err error
		if all, err = d.scan(prefix, all); err != nil {
			return err
		}
	}
	slices.SortFunc(all, func(a, b found[K]) int { return int(min(max(a.modTime-b.modTime, -1), 1)) })
	for _, f := range all {
		if !d.index.Add(f.key, record{f.size, f.modTime / 1e9}, charge(f.size)) {
			d.doomed = append(d.doomed, f.key) // alone larger than the quota
		}
	}
	d.unlinkDoomed()
	return nil
}

// scan appends the files of one folder to all and deletes what isn't one.
func (d *Dir[K]) scan(prefix string, all []found[K]) ([]found[K], error) {
	folder := filepath.Join(d.objects, prefix)
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		stat, err := entry.Info()
		if err != nil {
			return nil, err
		}
		key, ok := d.naming.Key(prefix+"/"+entry.Name(), stat.Size())
		if !ok || !stat.Mode().IsRegular() {
			if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
				return nil, err
			}
			continue
		}
		all = append(all, found[K]{key, stat.Size(), stat.ModTime().UnixNano()})
	}
	return all, nil
}

// lockFile opens and locks a file. The lock goes with the process, however it
// ends, or when the file is closed.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another process uses this folder")
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return file, nil
}
