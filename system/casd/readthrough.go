package casd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// Sizes of what is moved at once.
const (
	// smallBytes is the largest blob that travels in a batch with others and is
	// held in memory whole.
	smallBytes = 1 << 20
	// batchBytes bounds the blobs of one batch. The remote client splits further
	// if the server takes less.
	batchBytes = 3 << 20
	// pieceBytes is how much of a larger blob is moved at a time.
	pieceBytes = 256 << 10
	// openAttempts is how often a blob is fetched that is gone again when it is
	// to be opened, which takes a cache much smaller than what is in use.
	openAttempts = 3
)

// readThrough is the store of one instance: a local cache in front of a remote.
//
// A blob is read from the local cache, which fetches it first if need be, once
// however many want it. A write is done when both have the blob. Missing answers
// for the remote, because clients ask it to learn what to upload, and what is
// only here would be lost to the rest of the cluster. Before a remote that is only
// read, what is here or there is there; without one it is the local cache.
type readThrough struct {
	local  *cas.Disk
	remote *remote.Client // nil if there is none
	far    cas.Store      // the remote as a store; nil if there is none
	// readOnly keeps everything from being sent to the remote.
	readOnly bool

	flights           flights
	fetched, uploaded prometheus.Counter
}

var _ cas.Store = (*readThrough)(nil)

func newReadThrough(local *cas.Disk, client *remote.Client, fetched, uploaded prometheus.Counter) *readThrough {
	s := &readThrough{local: local, remote: client, fetched: fetched, uploaded: uploaded}
	if client != nil {
		s.far = client.Store()
	}
	return s
}

// Missing implements cas.Store: it says what the remote lacks.
func (s *readThrough) Missing(ctx context.Context, digests, dst []digest.Digest) ([]digest.Digest, error) {
	if s.sends() {
		return s.far.Missing(ctx, digests, dst)
	}
	missing, err := s.absent(ctx, digests)
	return append(dst, missing...), err
}

// sends says whether what is written here goes on to a remote.
func (s *readThrough) sends() bool { return s.far != nil && !s.readOnly }

// absent returns those of digests that are neither here nor at the remote.
func (s *readThrough) absent(ctx context.Context, digests []digest.Digest) ([]digest.Digest, error) {
	missing, err := s.local.Missing(ctx, digests, nil)
	if err != nil || len(missing) == 0 || s.far == nil {
		return missing, err
	}
	return s.far.Missing(ctx, missing, nil)
}

// Read implements cas.Store.
func (s *readThrough) Read(ctx context.Context, d digest.Digest) ([]byte, error) {
	return fetched(ctx, s, d, func() ([]byte, error) { return s.local.Read(ctx, d) })
}

// Open implements cas.Store.
func (s *readThrough) Open(ctx context.Context, d digest.Digest, offset int64) (cas.Reader, error) {
	return fetched(ctx, s, d, func() (cas.Reader, error) { return s.local.Open(ctx, d, offset) })
}

// openFile opens the file of a blob in the local cache. The caller closes it and
// MUST NOT change it. The empty blob has no file.
func (s *readThrough) openFile(ctx context.Context, d digest.Digest) (*os.File, error) {
	return fetched(ctx, s, d, func() (*os.File, error) { return s.local.OpenFile(ctx, d) })
}

// fetched calls use, and again after fetching d whenever use finds it missing.
func fetched[T any](ctx context.Context, s *readThrough, d digest.Digest, use func() (T, error)) (T, error) {
	for attempt := 0; ; attempt++ {
		value, err := use()
		if s.far == nil || attempt == openAttempts || !errors.Is(err, cas.ErrNotFound) {
			return value, err
		}
		if err := s.fetch(ctx, d); err != nil {
			return value, err
		}
	}
}

// Write implements cas.Store.
func (s *readThrough) Write(ctx context.Context, d digest.Digest, data []byte) error {
	if err := s.local.Write(ctx, d, data); err != nil || !s.sends() {
		return err
	}
	if err := s.far.Write(ctx, d, data); err != nil {
		return err
	}
	s.uploaded.Add(float64(d.SizeBytes))
	return nil
}

// Create implements cas.Store.
func (s *readThrough) Create(ctx context.Context, d digest.Digest) (cas.Writer, error) {
	near, err := s.local.Create(ctx, d)
	if err != nil || !s.sends() {
		return near, err
	}
	far, err := s.far.Create(ctx, d)
	if err != nil {
		near.Abort()
		return nil, err
	}
	return &teeWriter{near: near, far: far, store: s, d: d}, nil
}

// teeWriter writes to both stores.
type teeWriter struct {
	near, far cas.Writer
	store     *readThrough
	d         digest.Digest
}

func (w *teeWriter) Append(piece []byte) error {
	if err := w.near.Append(piece); err != nil {
		return err
	}
	return w.far.Append(piece)
}

// Commit asks the local cache first: it checks the hash, and the remote gets no
// more than it has already when that is wrong.
func (w *teeWriter) Commit() error {
	if err := w.near.Commit(); err != nil {
		w.far.Abort()
		return err
	}
	if err := w.far.Commit(); err != nil {
		return err
	}
	w.store.uploaded.Add(float64(w.d.SizeBytes))
	return nil
}

func (w *teeWriter) Abort() {
	w.near.Abort()
	w.far.Abort()
}

// fetch brings one blob. The error wraps cas.ErrNotFound if the remote lacks it.
func (s *readThrough) fetch(ctx context.Context, d digest.Digest) error {
	for {
		f, mine := s.flights.join(d)
		if mine {
			err := s.bring(ctx, d)
			s.flights.land(d, f, err, err != nil && ctx.Err() != nil)
			return err
		}
		select {
		case <-f.done:
			if !f.abandoned {
				return f.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// bring copies a blob from the remote.
func (s *readThrough) bring(ctx context.Context, d digest.Digest) error {
	if d.SizeBytes <= smallBytes {
		data, err := s.far.Read(ctx, d)
		if err != nil {
			return err
		}
		return s.keep(ctx, d, data)
	}
	reader, err := s.far.Open(ctx, d, 0)
	if err != nil {
		return err
	}
	defer reader.Close()
	writer, err := s.local.Create(ctx, d)
	if err != nil {
		return err
	}
	for {
		piece, err := reader.Next(pieceBytes)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			// A store may keep what it gets, a reader may use its buffer again.
			err = writer.Append(bytes.Clone(piece))
		}
		if err != nil {
			writer.Abort()
			return fmt.Errorf("fetch blob %v: %w", d, err)
		}
	}
	if err := writer.Commit(); err != nil {
		return err
	}
	s.fetched.Add(float64(d.SizeBytes))
	return nil
}

func (s *readThrough) keep(ctx context.Context, d digest.Digest, data []byte) error {
	if err := s.local.Write(ctx, d, data); err != nil {
		return err
	}
	s.fetched.Add(float64(d.SizeBytes))
	return nil
}
