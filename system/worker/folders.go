package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Files of a lease, in a folder that leases use one after the other. The first two are for
// runners that aren't warm.
const (
	actionFile = "action"
	resultFile = "result"
	stdoutFile = "stdout"
	stderrFile = "stderr"
)

// noResult is what a result is before a runner writes one: no message begins with it.
var noResult = []byte{0xff}

// folders are those for the files of leases. A folder and the files in it are used again
// after a lease that ended well: making and deleting files was a third of what an action
// that does nothing cost, most of it on journals of file systems.
type folders struct {
	below string
	keep  int // how many may wait for a lease

	mu   sync.Mutex // guards free
	free []string
}

// take returns a folder for a lease.
func (f *folders) take() (dir string, err error) {
	f.mu.Lock()
	if n := len(f.free); n > 0 {
		dir, f.free = f.free[n-1], f.free[:n-1]
	}
	f.mu.Unlock()
	if dir == "" {
		if dir, err = os.MkdirTemp(f.below, "lease-"); err != nil {
			return "", fmt.Errorf("make directory for lease: %w", err)
		}
	}
	return dir, nil
}

// fill writes the files that a runner of its own process finds: the action, and no result
// yet.
func fill(dir string, action []byte) error {
	for name, data := range map[string][]byte{actionFile: action, resultFile: noResult} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return fmt.Errorf("write %s of lease: %w", name, err)
		}
	}
	return nil
}

// give takes a folder back. Of a lease that didn't end well who knows what is left?
func (f *folders) give(dir string, well bool) {
	f.mu.Lock()
	keep := well && len(f.free) < f.keep
	if keep {
		f.free = append(f.free, dir)
	}
	f.mu.Unlock()
	if !keep {
		os.RemoveAll(dir)
	}
}

// remove removes those that wait.
func (f *folders) remove() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, dir := range f.free {
		os.RemoveAll(dir)
	}
	f.free = nil
}
