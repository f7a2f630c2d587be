package casd

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/system/digest"
)

// maxUploads is how many calls of one upload are under way at a time: so the next blobs
// are read and encoded while the remote still works on others.
const maxUploads = 4

// upload sends those of digests that the remote lacks from the local cache, and
// returns why for each that couldn't be sent: the error wraps cas.ErrNotFound if
// it isn't in the local cache, cas.ErrNoSpace if the remote is full. Without a
// remote, or with one that is only read, there is nothing to do.
func (s *readThrough) upload(ctx context.Context, digests []digest.Digest) (failed map[digest.Digest]error, err error) {
	if !s.sends() || len(digests) == 0 {
		return nil, nil
	}
	missing, err := s.far.Missing(ctx, digests, nil)
	if err != nil {
		return nil, err
	}
	u := &uploads{store: s, failed: make(map[digest.Digest]error)}
	u.group.SetLimit(maxUploads)
	var batch []digest.Digest
	var size int64
	seen := make(map[digest.Digest]bool, len(missing))
	for _, d := range missing {
		if seen[d] {
			continue
		}
		seen[d] = true
		if d.SizeBytes > smallBytes {
			u.group.Go(func() error { u.note(d, s.uploadLarge(ctx, d)); return nil })
			continue
		}
		if size+d.SizeBytes > batchBytes {
			u.send(ctx, batch)
			batch, size = nil, 0
		}
		batch, size = append(batch, d), size+d.SizeBytes
	}
	u.send(ctx, batch)
	_ = u.group.Wait() // errors are the blobs'
	return u.failed, ctx.Err()
}

// uploads are the calls of one upload.
type uploads struct {
	store *readThrough
	group errgroup.Group

	mu     sync.Mutex
	failed map[digest.Digest]error // guarded by mu
}

func (u *uploads) note(d digest.Digest, err error) {
	if err == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed[d] = err
}

// send has small blobs sent in one call.
func (u *uploads) send(ctx context.Context, digests []digest.Digest) {
	if len(digests) > 0 {
		u.group.Go(func() error { u.batch(ctx, digests); return nil })
	}
}

// batch sends small blobs in one call, and one by one if that fails, to learn which
// of them it was.
func (u *uploads) batch(ctx context.Context, digests []digest.Digest) {
	blobs := make(map[digest.Digest][]byte, len(digests))
	for _, d := range digests {
		data, err := u.store.local.Read(ctx, d)
		if err != nil {
			u.note(d, err)
			continue
		}
		blobs[d] = data
	}
	here := slices.DeleteFunc(digests, func(d digest.Digest) bool { _, ok := blobs[d]; return !ok })
	together := u.store.remote.PutBlobs(ctx, here, func(d digest.Digest) []byte { return blobs[d] })
	for _, d := range here {
		if together != nil {
			if err := u.store.far.Write(ctx, d, blobs[d]); err != nil {
				u.note(d, err)
				continue
			}
		}
		u.store.uploaded.Add(float64(d.SizeBytes))
	}
}

func (s *readThrough) uploadLarge(ctx context.Context, d digest.Digest) error {
	reader, err := s.local.Open(ctx, d, 0)
	if err != nil {
		return err
	}
	defer reader.Close()
	writer, err := s.far.Create(ctx, d)
	if err != nil {
		return err
	}
	for {
		piece, err := reader.Next(pieceBytes)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = writer.Append(append([]byte(nil), piece...))
		}
		if err != nil {
			writer.Abort()
			return err
		}
	}
	if err := writer.Commit(); err != nil {
		return err
	}
	s.uploaded.Add(float64(d.SizeBytes))
	return nil
}
