package casd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/traces/semconv"
)

// What DEFAULT staging copies at most; beyond that it mounts. By BenchmarkStage
// a mount and its end cost 0.5 ms more than an empty copy, and each file opened in
// it 60 µs. A copied file costs 20 µs where making a file is cheap (tmpfs) and
// 450 µs where it isn't (the ext4 of a virtual machine), opened or not. So the
// break-even lies between 2 and 30 files; with 8, either choice loses at most a
// few milliseconds. 1 MiB is copied in about 0.5 ms.
const (
	defaultCopyEntries = 8
	defaultCopyBytes   = 1 << 20
)

// A stager makes input roots appear as directories. A copy that the client leaves the
// place of is just
//
//	<dir>/staging/tree-<random>
//
// and the others have a home each:
//
//	<dir>/staging/<random>/tree       the tree, unless the client says where
//	<dir>/staging/<random>/scratch    what is written in a mount
//	<dir>/staging/<random>/at         where the tree is, if the client said so
//
// No directory is used twice: what a process that an action left behind still holds open
// is gone for all others.
type stager struct {
	dir      string // <dir>/staging
	mounting mounting
	logger   *slog.Logger
	noFUSE   error // why FUSE can't be used, or nil
	api      *api

	staged   *prometheus.GaugeVec
	duration *prometheus.HistogramVec

	// mu guards the fields below.
	mu     sync.Mutex
	live   map[*staging]bool
	closed bool
}

// A wish is what a client wants staged.
type wish struct {
	in      *instance
	root    digest.Digest
	path    string // empty if casd is to choose
	owner   owner
	mode    lcpb.StageTreeRequest_StagingMode
	socket  socketWish
	unstage []string // commands to run before the tree goes
}

// stage makes a tree appear. The caller calls release.
func (s *stager) stage(ctx context.Context, w wish) (*staging, error) {
	begun := time.Now()
	tree, err := readSnapshot(ctx, w.in.store, w.root)
	if err != nil {
		return nil, err
	}
	mode, err := s.choose(w, tree.total)
	if err != nil {
		return nil, err
	}
	st, err := s.place(w.in.root, w.path, mode)
	if err != nil {
		return nil, err
	}
	if mode == semconv.CasdModeFUSE {
		err = s.mountTree(ctx, st, tree, w)
	} else {
		err = s.copyTree(ctx, st, tree, w)
	}
	if err == nil && w.socket.path != "" {
		st.socket, err = s.api.open(w.socket, st.at, w.owner)
	}
	if err == nil {
		st.unstage = w.unstage
		err = s.admit(st)
	}
	if err != nil {
		return nil, errors.Join(err, st.takeDown())
	}
	s.duration.WithLabelValues(mode).Observe(time.Since(begun).Seconds())
	return st, nil
}

// choose picks the mode.
func (s *stager) choose(w wish, t totals) (string, error) {
	switch w.mode {
	case lcpb.StageTreeRequest_COPY_OR_LINK:
		return semconv.CasdModeCopy, nil
	case lcpb.StageTreeRequest_FUSE:
		if s.noFUSE != nil {
			return "", &inputError{fmt.Sprintf("staging mode FUSE is not supported here: %v", s.noFUSE)}
		}
		return semconv.CasdModeFUSE, nil
	case lcpb.StageTreeRequest_DEFAULT:
		// Mounts of users are for themselves, unless /etc/fuse.conf says otherwise.
		unseen := os.Geteuid() != 0 && w.owner.foreign()
		if s.noFUSE != nil || unseen || t.entries <= defaultCopyEntries && t.bytes <= defaultCopyBytes {
			return semconv.CasdModeCopy, nil
		}
		return semconv.CasdModeFUSE, nil
	}
	return "", &inputError{fmt.Sprintf("staging mode %v is not supported", w.mode)}
}

// place makes the empty directory where the tree will be, and a home if it takes one.
func (s *stager) place(within, path, mode string) (*staging, error) {
	st := &staging{made: true, mode: mode}
	if within == "" && path == "" && mode == semconv.CasdModeCopy {
		if err := st.placeBare(s.dir); err != nil {
			return nil, err
		}
		return st, nil
	}
	switch {
	case within != "":
		if err := st.placeBelow(within, path); err != nil {
			return nil, err
		}
	case path != "":
		if !filepath.IsAbs(path) {
			return nil, &inputError{fmt.Sprintf("path %q to stage at is not absolute", path)}
		}
		st.path = filepath.Clean(path)
		st.at, st.told = st.path, st.path
	}
	home, err := os.MkdirTemp(s.dir, "")
	if err != nil {
		st.letGo()
		return nil, fmt.Errorf("make a folder for staging: %w", err)
	}
	st.home = home
	if err := st.prepare(); err != nil {
		st.letGo()
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	return st, nil
}

// copyTree writes a tree out.
func (s *stager) copyTree(ctx context.Context, st *staging, tree *snapshot, w wish) error {
	missing, err := w.in.store.ensure(ctx, tree.files)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return &missingError{missing}
	}
	c := &copier{snapshot: tree, openBlob: w.in.store.openFile, owner: w.owner}
	return c.copy(ctx, st.at)
}

// mountTree mounts a tree. It makes sure that every file can be had, but fetches
// none.
func (s *stager) mountTree(ctx context.Context, st *staging, tree *snapshot, w wish) error {
	missing, err := w.in.store.absent(ctx, tree.files)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return &missingError{missing}
	}
	scratch := filepath.Join(st.home, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return err
	}
	o, uid, gid := w.owner, os.Geteuid(), os.Getegid()
	if o.known {
		uid = o.uid
		if o.gid >= 0 {
			gid = o.gid
		}
	}
	// Fetches end with the staging, not with the process that caused them: a
	// signal that a program ignores would make its open(2) fail with EINTR, which
	// few programs expect of a file.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	st.cancel = cancel
	st.tree = newOverlay(tree, scratch, uint32(uid), uint32(gid), func(_ context.Context, d digest.Digest) (*os.File, error) {
		file, err := w.in.store.openFile(life, d)
		if err != nil && life.Err() == nil {
			s.logger.Warn("input file can't be read", "blob", d.String(), "err", err)
		}
		return file, err
	})
	how := s.mounting
	how.others = os.Geteuid() == 0 || o.foreign()
	if st.mount, err = newMount(st.at, st.tree, how); err != nil {
		return err
	}
	var root unix.Stat_t
	if err := unix.Stat(st.at, &root); err != nil {
		return err
	}
	st.tree.dev, st.tree.path = root.Dev, st.path
	return nil
}

// admit makes a staging known, unless casd is closing.
func (s *stager) admit(st *staging) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosing
	}
	s.live[st] = true
	s.staged.WithLabelValues(st.mode).Inc()
	return nil
}

// release takes a staging down, and before it those inside it. It may be called
// any number of times; all calls return when it is done. A command of the client's
// that fails doesn't keep the tree.
func (s *stager) release(st *staging) error {
	for _, inner := range s.inside(st.path) {
		_ = s.release(inner) // its own client hears of the error
	}
	st.once.Do(func() {
		st.err = errors.Join(runUnstage(st.unstage, st.path), st.takeDown())
		s.mu.Lock()
		delete(s.live, st)
		s.mu.Unlock()
		s.staged.WithLabelValues(st.mode).Dec()
	})
	return st.err
}

// owns says whether an item is a socket of casd's own.
func (s *stager) owns(it item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.live {
		if st.socket != nil && st.socket.id == it.id {
			return true
		}
	}
	return false
}

// inside returns the stagings below a path.
func (s *stager) inside(path string) []*staging {
	s.mu.Lock()
	defer s.mu.Unlock()
	var inner []*staging
	for st := range s.live {
		if isInside(st.path, path) {
			inner = append(inner, st)
		}
	}
	return inner
}

// close refuses further stagings and takes down those there are.
func (s *stager) close() error {
	s.mu.Lock()
	s.closed = true
	var all []*staging
	for st := range s.live {
		all = append(all, st)
	}
	s.mu.Unlock()
	var errs []error
	for _, st := range all {
		errs = append(errs, s.release(st))
	}
	return errors.Join(errs...)
}

// find returns the mounted staging that a clean path is in, and where in it. What was
// copied into a mount is the mount's.
func (s *stager) find(path string) (*staging, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *staging
	for st := range s.live {
		if st.tree != nil && (st.path == path || isInside(path, st.path)) && (best == nil || len(st.path) > len(best.path)) {
			best = st
		}
	}
	if best == nil {
		return nil, ""
	}
	return best, strings.TrimPrefix(strings.TrimPrefix(path, best.path), "/")
}
