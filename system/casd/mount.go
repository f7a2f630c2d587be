package casd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/digest"
)

// mountType is the file system type of our mounts, beside "fuse.".
const mountType = "weir-casd"

// A mount is an overlay that the kernel serves at a path.
type mount struct {
	path    string
	server  *fuse.Server
	serving sync.WaitGroup
}

// mounting is how trees are mounted.
type mounting struct {
	// owner names the casd that a mount belongs to, so that a later one can clean up.
	owner string
	// others lets users other than casd's see the tree.
	others bool
	// noPassthrough makes every read and write pass through casd.
	noPassthrough bool
	logger        *slog.Logger
	// watch, if not nil, gets to see every request; for tests.
	watch func(fuse.RawFileSystem) fuse.RawFileSystem
}

// newMount mounts a tree over an empty directory.
func newMount(path string, tree *overlay, how mounting) (*mount, error) {
	remember := cacheTime
	messages := slog.NewLogLogger(how.logger.Handler(), slog.LevelWarn)
	options := &fs.Options{
		MountOptions: fuse.MountOptions{
			AllowOther:  how.others,
			DirectMount: os.Geteuid() == 0,
			FsName:      how.owner,
			Name:        mountType,
			// The kernel checks permissions by the modes we tell it.
			Options: []string{"default_permissions"},
			// No extended attributes: they don't exist in REAPI, and without them
			// the kernel doesn't ask for capabilities at every write.
			DisableXAttrs: true,
			// Opening with O_TRUNC spares copying what will be thrown away.
			ExtraCapabilities: fuse.CAP_ATOMIC_O_TRUNC,
			Logger:            messages,
		},
		EntryTimeout: &remember, AttrTimeout: &remember, NegativeTimeout: &remember,
		NullPermissions: true, // a mode of 0 is a mode
		Logger:          messages,
		RootStableAttr:  &fs.StableAttr{Ino: tree.root.ino},
	}
	if how.noPassthrough {
		options.DisabledCapabilities = fuse.CAP_PASSTHROUGH
	}
	raw := fs.NewNodeFS(&fuseNode{tree: tree, node: tree.root}, options)
	if how.watch != nil {
		raw = how.watch(raw)
	}
	server, err := fuse.NewServer(raw, path, &options.MountOptions)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", path, err)
	}
	m := &mount{path: path, server: server}
	m.serving.Go(server.Serve)
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(fmt.Errorf("mount %s: %w", path, err), m.unmount())
	}
	return m, nil
}

// unmount takes the mount away, also from under processes that still use it, and
// waits until the last request is answered.
func (m *mount) unmount() error {
	if err := unmountPath(m.path); err != nil {
		return err
	}
	m.serving.Wait()
	return nil
}

// unmountPath unmounts what is mounted at a path. A mount in use is first cut off
// from its server, which makes every request fail that is under way, then taken
// out of the tree.
func unmountPath(path string) error {
	if os.Geteuid() != 0 {
		return fusermount(path)
	}
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		_ = unix.Unmount(path, unix.MNT_FORCE|unix.UMOUNT_NOFOLLOW) // says EBUSY after cutting off, too
		err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// fusermount unmounts for users who may not.
func fusermount(path string) error {
	program, err := exec.LookPath("fusermount3")
	if err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if out, err := exec.Command(program, "-u", "-z", path).CombinedOutput(); err != nil {
		return fmt.Errorf("unmount %s: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// probeMount says why FUSE can't be used, by mounting an empty tree for a
// moment: that /dev/fuse can be opened says nothing about the right to mount.
func probeMount(dir string, how mounting) error {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	device.Close()
	path, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return err
	}
	defer os.Remove(path)
	empty := &snapshot{root: digest.Empty, dirs: map[digest.Digest]*directory{digest.Empty: {mode: directoryMode, mtime: arbitraryTime}}}
	tree := newOverlay(empty, path, 0, 0, func(context.Context, digest.Digest) (*os.File, error) { return nil, os.ErrNotExist })
	how.others = os.Geteuid() == 0
	m, err := newMount(path, tree, how)
	if err != nil {
		return err
	}
	return m.unmount()
}

// A mountPoint is a line of /proc/self/mountinfo.
type mountPoint struct{ path, kind, source string }

// mountPoints returns what is mounted, later mounts first: those inside others
// come before them.
func mountPoints() ([]mountPoint, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []mountPoint
	for line := range strings.Lines(string(data)) {
		// proc(5): … mount point (5th) … - type source options
		before, after, _ := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if len(fields) >= 5 && len(rest) >= 2 {
			points = append(points, mountPoint{unescapeMount(fields[4]), rest[0], unescapeMount(rest[1])})
		}
	}
	slices.Reverse(points)
	return points, nil
}

// unescapeMount undoes the octal escapes of /proc/self/mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// isInside says whether path is below dir; both are clean.
func isInside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}
