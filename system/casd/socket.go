package casd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/storage"
)

// A socket in a staged tree offers REAPI to the command that runs there: CAS,
// ByteStream, ActionCache, Capabilities, Execution and Operations of some instances.
// It doesn't offer LocalCAS, by which the command would get at whatever casd can.
type socket struct {
	id      fileID
	server  *grpc.Server
	storage *storage.Server
	serving sync.WaitGroup
}

// maxSocketPath is how long the path of a socket may be: sockaddr_un has 108 bytes,
// the last of which is NUL.
const maxSocketPath = 107

// A fileID tells a file from all others that are there.
type fileID struct{ dev, ino uint64 }

// maxSocketInstances bounds the instances of one socket.
const maxSocketInstances = 100

// A socketWish is a socket that a client wants.
type socketWish struct {
	path      string // relative to the tree; empty if there is to be none
	instances map[string]*instance
	updates   bool // the action may update the action cache
}

// socketWish reads a request for the instance in.
func (s *Server) socketWish(request *lcpb.StageTreeRequest, in *instance) (socketWish, error) {
	config, field := request.RemoteApisSocket, "remote_apis_socket.path"
	if config == nil {
		config, field = &lcpb.RemoteApisSocketConfig{Path: request.RemoteApisSocketPath}, "remote_apis_socket_path"
		if config.Path == "" {
			return socketWish{}, nil
		}
	}
	if path := config.Path; !filepath.IsLocal(path) || filepath.Clean(path) == "." || strings.ContainsRune(path, 0) {
		return socketWish{}, &inputError{fmt.Sprintf("%s %q is not the path of a file below the tree, relative to it", field, path)}
	}
	w := socketWish{path: config.Path, updates: config.ActionCacheUpdateEnabled}
	var err error
	w.instances, err = s.socketInstances(config, in)
	return w, err
}

// socketInstances returns the instances of a socket by the names they have there: one
// has its own and the empty one, unless the client gives them names.
func (s *Server) socketInstances(config *lcpb.RemoteApisSocketConfig, in *instance) (map[string]*instance, error) {
	all := make(map[string]*instance)
	if len(config.InstanceMap) == 0 {
		if config.InstanceName != "" {
			var err error
			if in, err = s.instances.find(config.InstanceName); err != nil {
				return nil, fmt.Errorf("remote_apis_socket.instance_name: %w", err)
			}
		}
		all[""], all[in.name] = in, in
		return all, nil
	}
	if config.InstanceName != "" {
		return nil, &inputError{"remote_apis_socket: want instance_name or instance_map, not both"}
	}
	if len(config.InstanceMap) > maxSocketInstances {
		return nil, &inputError{fmt.Sprintf("remote_apis_socket.instance_map has %d entries, more than the %d of one socket", len(config.InstanceMap), maxSocketInstances)}
	}
	for name, to := range config.InstanceMap {
		in, err := s.instances.find(to)
		if err = errors.Join(digest.CheckInstance(name), err); err != nil {
			return nil, fmt.Errorf("remote_apis_socket.instance_map: %w", err)
		}
		all[name] = in
	}
	return all, nil
}

// An api makes the servers behind sockets.
type api struct {
	options []grpc.ServerOption
	updates bool // all actions may update the action cache
	storage *storage.Server
	like    string
}

// open makes a socket in the directory dir. The socket, and directories that have to
// be made for it, are the owner's.
func (a *api) open(w socketWish, dir string, o owner) (*socket, error) {
	listener, id, err := listenIn(dir, w.path, o)
	if err != nil {
		return nil, fmt.Errorf("remote_apis_socket_path %q: %w", w.path, err)
	}
	all := make(map[string]storage.Instance, len(w.instances))
	for name, in := range w.instances {
		all[name] = in.served()
		if !a.updates && !w.updates {
			all[name] = withoutUpdates(all[name])
		}
	}
	s := &socket{
		id: id,
		// The tree goes when the handlers have ended, not before.
		server:  grpc.NewServer(append([]grpc.ServerOption{grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes), grpc.WaitForHandlers(true)}, a.options...)...),
		storage: a.storage.Beside(all, a.like),
	}
	s.storage.Register(s.server)
	(&executionService{find: w.find}).register(s.server)
	s.serving.Go(func() { _ = s.server.Serve(listener) }) // ends with Stop
	return s, nil
}

// close ends the calls under way. The file goes with the tree.
func (s *socket) close() {
	s.server.Stop()
	s.serving.Wait()
	s.storage.Close()
}

// find returns the instance of a request that comes by the socket, with the name it
// has there.
func (w *socketWish) find(name string) (*instance, error) {
	if in := w.instances[name]; in != nil {
		there := *in
		there.name = name
		return &there, nil
	}
	if err := digest.CheckInstance(name); err != nil {
		return nil, err
	}
	return nil, &inputError{fmt.Sprintf("unknown instance %q: this socket doesn't serve it", name)}
}

// withoutUpdates makes the action cache of an instance one to read.
func withoutUpdates(i storage.Instance) storage.Instance {
	i.AC = readResults{i.AC}
	extend := i.Extend
	i.Extend = func(ctx context.Context, c *repb.ServerCapabilities) error {
		err := extend(ctx, c)
		c.CacheCapabilities.ActionCacheUpdateCapabilities.UpdateEnabled = false
		return err
	}
	return i
}

// readResults is an action cache that can't be updated.
type readResults struct{ actioncache.Cache }

// Put implements actioncache.Cache.
func (readResults) Put(context.Context, digest.Digest, *repb.ActionResult) error {
	return status.Error(codes.PermissionDenied, "an action may not update the action cache: casd's configuration doesn't allow nested updates")
}

// listenIn listens at a path below dir, which symbolic links don't lead out of.
func listenIn(dir, path string, o owner) (net.Listener, fileID, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fileID{}, err
	}
	defer root.Close()
	if err := makeFolders(root, filepath.Dir(path), o); err != nil {
		return nil, fileID{}, err
	}
	parent, err := openInside(root, filepath.Dir(path))
	if err != nil {
		return nil, fileID{}, err
	}
	defer parent.Close()
	handle, err := parent.Open(".")
	if err != nil {
		return nil, fileID{}, err
	}
	defer handle.Close()
	// By way of the open directory the path is short, wherever the tree is.
	place := procPath(handle) + "/" + filepath.Base(path)
	if len(place) > maxSocketPath {
		return nil, fileID{}, &inputError{"the name of the socket is too long for a Unix socket"}
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: place, Net: "unix"})
	if errors.Is(err, syscall.EADDRINUSE) {
		err = &inputError{"the tree has something there"}
	}
	if err != nil {
		return nil, fileID{}, err
	}
	listener.SetUnlinkOnClose(false)
	id, err := giveSocket(place, o)
	if err != nil {
		listener.Close()
		return nil, fileID{}, err
	}
	return listener, id, nil
}

// giveSocket lets the owner connect, and nobody else.
func giveSocket(path string, o owner) (fileID, error) {
	if err := os.Chmod(path, 0o600); err != nil {
		return fileID{}, err
	}
	if o.known && os.Geteuid() == 0 {
		if err := os.Lchown(path, o.uid, o.gid); err != nil {
			return fileID{}, err
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileID{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return fileID{st.Dev, st.Ino}, nil
}

// makeFolders makes the directories of a path that aren't there.
func makeFolders(root *os.Root, path string, o owner) error {
	if path == "." {
		return nil
	}
	if err := makeFolders(root, filepath.Dir(path), o); err != nil {
		return err
	}
	err := root.Mkdir(path, directoryMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && o.known && os.Geteuid() == 0 {
		err = root.Lchown(path, o.uid, o.gid)
	}
	return confined(err, path)
}
