package casd

import (
	"context"
	"io/fs"
	"path/filepath"
)

// beneath returns an item in which our own mounts are no mounts: where the kernel would
// lead through one, the tree is read directly. Through the mount, casd would ask itself
// for every byte by way of the kernel, fetch files that nobody has opened, and hang if it
// was just taking the mount down.
func (s *stager) beneath(ctx context.Context, it item) (item, error) {
	mounted := s.mounted()
	if len(mounted) == 0 {
		return it, nil
	}
	return beneath(ctx, mounted, it)
}

// mounted returns the stagings that are mounts.
func (s *stager) mounted() (all []*staging) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.live {
		if st.tree != nil {
			all = append(all, st)
		}
	}
	return all
}

func beneath(ctx context.Context, mounted []*staging, it item) (item, error) {
	if it.kind != fs.ModeDir {
		return it, nil
	}
	if st := mountAt(mounted, it); st != nil {
		tree, err := st.tree.item(ctx)
		if err != nil {
			return item{}, err
		}
		it = tree
	}
	list := it.list
	it.list = func(do func(string, item) error) error {
		return list(func(name string, entry item) error {
			entry, err := beneath(ctx, mounted, entry)
			if err != nil {
				return err
			}
			return do(name, entry)
		})
	}
	return it, nil
}

// mountAt returns what is mounted at a directory, or nil. On disk the directory shows it
// by being the root of the mount; in a tree that is read directly, by its path.
func mountAt(mounted []*staging, it item) *staging {
	for _, st := range mounted {
		switch {
		case it.tree == nil && it.id == fileID{st.tree.dev, st.tree.root.ino},
			it.tree != nil && it.tree != st.tree && st.path == filepath.Join(it.tree.path, it.inside):
			return st
		}
	}
	return nil
}
