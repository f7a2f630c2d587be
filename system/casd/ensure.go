package casd

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// maxFetches bounds the calls to the remote that one ensure has under way: two
// would hide the latency of one behind the other, a few more fill a fast link.
const maxFetches = 4

// A wanted blob and the flight that brings it.
type wanted struct {
	d digest.Digest
	f *flight
}

// ensure brings those of digests that aren't in the local cache, small ones many
// in a call, and returns those that the remote lacks too. Other failures are the
// error. A blob that someone else is fetching is waited for.
func (s *readThrough) ensure(ctx context.Context, digests []digest.Digest) (missing []digest.Digest, err error) {
	absent, err := s.local.Missing(ctx, digests, nil)
	if err != nil || len(absent) == 0 || s.far == nil {
		return absent, err
	}
	var mine, others []wanted
	seen := make(map[digest.Digest]bool, len(absent))
	for _, d := range absent {
		if seen[d] {
			continue
		}
		seen[d] = true
		f, lead := s.flights.join(d)
		if lead {
			mine = append(mine, wanted{d, f})
		} else {
			others = append(others, wanted{d, f})
		}
	}
	s.flyAll(ctx, mine)
	for _, w := range append(mine, others...) {
		err := s.await(ctx, w)
		if errors.Is(err, cas.ErrNotFound) {
			missing = append(missing, w.d)
		} else if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

func (s *readThrough) await(ctx context.Context, w wanted) error {
	select {
	case <-w.f.done:
		if w.f.abandoned {
			return s.fetch(ctx, w.d)
		}
		return w.f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flyAll fetches blobs and lands each of their flights, whatever happens.
func (s *readThrough) flyAll(ctx context.Context, flying []wanted) {
	var group errgroup.Group
	group.SetLimit(maxFetches)
	var batch []wanted
	var size int64
	send := func() {
		if full := batch; len(full) > 0 {
			group.Go(func() error { s.flyBatch(ctx, full); return nil })
		}
		batch, size = nil, 0
	}
	for _, w := range flying {
		if w.d.SizeBytes > smallBytes {
			group.Go(func() error { s.land(ctx, w, s.bring(ctx, w.d)); return nil })
			continue
		}
		if size+w.d.SizeBytes > batchBytes {
			send()
		}
		batch, size = append(batch, w), size+w.d.SizeBytes
	}
	send()
	_ = group.Wait() // errors are the flights'
}

func (s *readThrough) flyBatch(ctx context.Context, batch []wanted) {
	digests := make([]digest.Digest, len(batch))
	for i, w := range batch {
		digests[i] = w.d
	}
	results := s.remote.ReadBlobs(ctx, digests)
	for i, w := range batch {
		fate := results[i].Err
		if fate == nil {
			fate = s.keep(ctx, w.d, results[i].Value)
		}
		s.land(ctx, w, fate)
	}
}

func (s *readThrough) land(ctx context.Context, w wanted, err error) {
	s.flights.land(w.d, w.f, err, err != nil && ctx.Err() != nil)
}
