package casd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// A staging is a tree that is staged.
type staging struct {
	path string // of the tree; absolute and clean
	// at is a path that leads there too, and for a tree in a namespace can't be led
	// elsewhere; parent is what it takes for that. told is what the client hears.
	at, told string
	parent   *os.File // nil outside a namespace
	mode     string
	home     string   // empty for a tree without
	made     bool     // path didn't exist before
	tree     *overlay // nil in copy-or-link mode

	mount  *mount             // nil in copy-or-link mode
	cancel context.CancelFunc // ends fetches for the mount

	socket  *socket  // nil unless the client wants one
	unstage []string // commands to run before takeDown

	once sync.Once
	err  error // of release
}

// bareTree begins the names of trees that have no home.
const bareTree = "tree-"

// placeBare makes the directory of a tree without a home in dir. Making and removing a
// second directory was a fifth of what casd does for an action with few inputs.
func (st *staging) placeBare(dir string) (err error) {
	if st.path, err = os.MkdirTemp(dir, bareTree); err != nil {
		return fmt.Errorf("make a folder for staging: %w", err)
	}
	st.at, st.told = st.path, st.path
	return nil
}

// prepare makes the tree's directory, now that there is a home.
func (st *staging) prepare() error {
	// The tree is for other users, what else is in the home isn't.
	if err := os.Chmod(st.home, 0o711); err != nil {
		return err
	}
	if st.path == "" {
		st.path = filepath.Join(st.home, "tree")
		st.at, st.told = st.path, st.path
		return os.Mkdir(st.path, directoryMode)
	}
	err := os.Mkdir(st.at, directoryMode)
	switch {
	case errors.Is(err, fs.ErrExist):
		st.made = false
		if err := checkEmpty(st.at, st.told); err != nil {
			return err
		}
	case errors.Is(err, fs.ErrNotExist):
		return &inputError{fmt.Sprintf("path %q to stage at is in a directory that doesn't exist", st.told)}
	case err != nil:
		return fmt.Errorf("make the directory to stage at: %w", err)
	}
	if err := st.leaveNote(); err != nil {
		if st.made {
			os.Remove(st.at)
		}
		return err
	}
	return nil
}

// checkEmpty says what is wrong with an existing path to stage at.
func checkEmpty(path, told string) error {
	stat, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !stat.IsDir() {
		return &inputError{fmt.Sprintf("path %q to stage at is not a directory", told)}
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if names, _ := dir.Readdirnames(1); len(names) > 0 {
		return &inputError{fmt.Sprintf("path %q to stage at is not empty", told)}
	}
	return nil
}

// takeDown removes everything a staging made.
func (st *staging) takeDown() error {
	if st.socket != nil {
		st.socket.close()
	}
	if st.cancel != nil {
		st.cancel()
	}
	var err error
	if st.mount != nil {
		err = st.mount.unmount()
		st.mount = nil
	}
	if err == nil {
		err = emptyTree(st.path, st.at, st.made)
	}
	if err != nil {
		return fmt.Errorf("clean up %s: %w", st.path, err)
	}
	if st.home != "" {
		if err := removeAll(st.home); err != nil {
			return fmt.Errorf("clean up %s: %w", st.path, err)
		}
	}
	st.letGo()
	return nil
}

// letGo closes what held the place of the tree.
func (st *staging) letGo() {
	if st.parent != nil {
		st.parent.Close()
		st.parent = nil
	}
}
