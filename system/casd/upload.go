package casd

import (
	"context"
	"errors"
	"io"

	"github.com/weir-build/weir/system/digest"
)

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
	failed = make(map[digest.Digest]error)
	batch := make(map[digest.Digest][]byte)
	var size int64
	send := func() {
		s.uploadBatch(ctx, batch, failed)
		clear(batch)
		size = 0
	}
	seen := make(map[digest.Digest]bool, len(missing))
	for _, d := range missing {
		if seen[d] {
			continue
		}
		seen[d] = true
		if d.SizeBytes > smallBytes {
			if err := s.uploadLarge(ctx, d); err != nil {
				failed[d] = err
			}
			continue
		}
		data, err := s.local.Read(ctx, d)
		if err != nil {
			failed[d] = err
			continue
		}
		if size+d.SizeBytes > batchBytes {
			send()
		}
		batch[d] = data
		size += d.SizeBytes
	}
	send()
	return failed, ctx.Err()
}

// uploadBatch sends small blobs in one call, and one by one if that fails, to
// learn which of them it was.
func (s *readThrough) uploadBatch(ctx context.Context, batch map[digest.Digest][]byte, failed map[digest.Digest]error) {
	if len(batch) == 0 {
		return
	}
	together := s.remote.WriteBlobs(ctx, batch)
	for d, data := range batch {
		if together != nil {
			if err := s.far.Write(ctx, d, data); err != nil {
				failed[d] = err
				continue
			}
		}
		s.uploaded.Add(float64(d.SizeBytes))
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
