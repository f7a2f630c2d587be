package runner

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// tree is a staged input root.
type tree struct {
	path    string // absolute
	root    *os.Root
	release func() error // gives it back, and waits until it is gone
}

// staged returns the tree in a directory, given back by unstage.
func staged(path string, unstage func() error) (*tree, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, errors.Join(err, unstage())
	}
	return &tree{path: path, root: root, release: func() error {
		root.Close() // a mount can't be removed while it is open
		return unstage()
	}}, nil
}

// makeParents makes the working directory and the directories that outputs go
// to. REAPI wants the first to be in the input root; who forgets it is forgiven.
func (t *tree) makeParents(workingDirectory string, outputs []output, user *User) error {
	parents := []string{path.Clean(workingDirectory)}
	for _, o := range outputs {
		parents = append(parents, path.Dir(o.path))
	}
	last := ""
	for _, parent := range parents {
		if parent == "." || parent == last {
			continue
		}
		last = parent
		// Root refuses to follow links out of the tree.
		if err := t.makeAll(parent, user); err != nil {
			return inputErrorf("make directory %q in the input root: %s", parent, cause(err))
		}
	}
	if info, err := t.root.Stat(path.Clean(workingDirectory)); err != nil || !info.IsDir() {
		return inputErrorf("working directory %q is no directory in the input root", workingDirectory)
	}
	return nil
}

// makeAll makes a directory and those above it, which the user can write to.
func (t *tree) makeAll(dir string, user *User) error {
	info, err := t.root.Stat(dir)
	if err == nil && info.IsDir() {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if up := path.Dir(dir); up != "." {
		if err := t.makeAll(up, user); err != nil {
			return err
		}
	}
	if err := t.root.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return user.give(func(uid, gid int) error { return t.root.Lchown(dir, uid, gid) })
}

// cause strips an error of the path it names, which is that of the staged tree.
func cause(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
