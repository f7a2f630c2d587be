package casd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// GetInstanceNameForNamespace implements the LocalCAS service.
func (s *Server) GetInstanceNameForNamespace(_ context.Context, request *lcpb.GetInstanceNameForNamespaceRequest) (*lcpb.GetInstanceNameForNamespaceResponse, error) {
	name, err := s.namespace(request)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	return &lcpb.GetInstanceNameForNamespaceResponse{InstanceName: name}, nil
}

// namespace returns the name of the instance that is another one, but for its paths,
// which are taken to lie below a root. The root of a namespace in a namespace lies
// below the outer one's.
func (s *Server) namespace(request *lcpb.GetInstanceNameForNamespaceRequest) (string, error) {
	outer, err := s.instances.find(request.InstanceName)
	if err != nil {
		return "", err
	}
	root, err := namespaceRoot(outer.root, request.Root)
	if err != nil {
		return "", fmt.Errorf("root %q: %w", request.Root, err)
	}
	name, err := nameFor("namespace", &lcpb.GetInstanceNameForNamespaceRequest{InstanceName: outer.name, Root: root})
	if err != nil {
		return "", err
	}
	_, err = s.instances.register(name, func() (*instance, []func() error, error) {
		in := *outer
		in.name, in.root = name, root
		return &in, nil, s.storage.Add(name, in.served(), s.like)
	})
	return name, err
}

// namespaceRoot returns where a root really is: nobody inside can lead it elsewhere.
func namespaceRoot(outer, root string) (string, error) {
	if !filepath.IsAbs(root) || strings.ContainsRune(root, 0) {
		return "", &inputError{"it is not an absolute path"}
	}
	if outer == "" {
		outer = "/"
	}
	dir, err := openBelow(outer, inNamespace(root))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return realPath(dir)
}

// inNamespace turns an absolute path of a client in a namespace into one relative to
// its root. Like the root of a file system, it is its own parent.
func inNamespace(path string) string {
	if path = filepath.Clean("/" + path); path != "/" {
		return path[1:]
	}
	return "."
}

// openBelow opens a directory at a path below others, each of which is a path below
// the one before; symbolic links don't lead out of any. But the first is absolute,
// and where it lies is trusted.
func openBelow(first string, more ...string) (*os.Root, error) {
	root, err := os.OpenRoot(first)
	for _, path := range more {
		if err != nil {
			return nil, err
		}
		outer := root
		root, err = openInside(outer, path)
		outer.Close()
	}
	return root, err
}

func openInside(outer *os.Root, path string) (*os.Root, error) {
	// First, because OpenRoot says of a file what it says of an escape.
	stat, err := outer.Stat(path)
	if err != nil {
		return nil, confined(err, path)
	}
	if !stat.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	inner, err := outer.OpenRoot(path)
	return inner, confined(err, path)
}

// realPath returns where an open directory is at this moment.
func realPath(dir *os.Root) (string, error) {
	handle, err := dir.Open(".")
	if err != nil {
		return "", err
	}
	defer handle.Close()
	return os.Readlink(procPath(handle))
}

// procPath is a path that leads to an open directory wherever that is moved, for
// this process and its helpers.
func procPath(handle *os.File) string {
	return "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(handle.Fd()))
}

// placeBelow finds where in a namespace a tree is to be staged, and holds on to the
// directory that it will be in: what its users do with the directories above it can't
// lead casd out. They own the directory itself, too, and could put a symbolic link in
// the place of the new tree's before a mount is there: who stages for hostile clients
// has to keep them out of that directory until the answer has come.
func (st *staging) placeBelow(root, path string) error {
	inside := inNamespace(path)
	if !filepath.IsAbs(path) || inside == "." {
		return &inputError{fmt.Sprintf("path %q to stage at is not an absolute path below the root of the namespace; casd's own folder, where trees are otherwise, is outside", path)}
	}
	parent, err := openBelow(root, filepath.Dir(inside))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return &inputError{fmt.Sprintf("path %q to stage at is in a directory that doesn't exist", path)}
	}
	if err != nil {
		return fmt.Errorf("path %q to stage at: %w", path, err)
	}
	defer parent.Close()
	handle, err := parent.Open(".")
	if err != nil {
		return err
	}
	real, err := os.Readlink(procPath(handle))
	if err != nil {
		handle.Close()
		return err
	}
	base := filepath.Base(inside)
	st.parent, st.path, st.at, st.told = handle, filepath.Join(real, base), procPath(handle)+"/"+base, "/"+inside
	return nil
}
