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
	if !s.sends() {
		return nil, nil
	}
	return s.newUploads().finish(ctx, digests)
}

// uploads are the calls of one upload to a remote that takes it. Its blobs may be offered
// while others are still to be found: those that fill a call are sent at once, from memory.
type uploads struct {
	store *readThrough
	group errgroup.Group // its error is that the remote can't be asked

	// collecting guards the two below. Who offers waits while maxUploads calls are under
	// way, and all others for him: so no more than one parcel beside theirs is in memory.
	collecting sync.Mutex
	offered    map[digest.Digest]bool
	parcel     *parcel // not sent yet

	mu     sync.Mutex
	failed map[digest.Digest]error // guarded by mu
}

func (s *readThrough) newUploads() *uploads {
	u := &uploads{store: s, offered: make(map[digest.Digest]bool), failed: make(map[digest.Digest]error)}
	u.group.SetLimit(maxUploads)
	return u
}

// A parcel is small blobs in memory, as many as go in one call.
type parcel struct {
	data  []byte
	blobs map[digest.Digest][]byte // parts of data
	order []digest.Digest
}

var parcels = sync.Pool{New: func() any {
	return &parcel{data: make([]byte, 0, batchBytes), blobs: make(map[digest.Digest][]byte)}
}}

func (p *parcel) fits(data []byte) bool { return len(p.data)+len(data) <= cap(p.data) }

func (p *parcel) add(d digest.Digest, data []byte) {
	begin := len(p.data)
	p.data = append(p.data, data...)
	p.blobs[d], p.order = p.data[begin:], append(p.order, d)
}

// get returns a blob; nil has none.
func (p *parcel) get(d digest.Digest) (data []byte, held bool) {
	if p != nil {
		data, held = p.blobs[d]
	}
	return data, held
}

// free has the memory of a parcel used again; nil is none.
func (p *parcel) free() {
	if p != nil {
		p.data, p.order = p.data[:0], p.order[:0]
		clear(p.blobs)
		parcels.Put(p)
	}
}

// offer gives a blob of up to smallBytes to those that are to be sent. The data is copied.
func (u *uploads) offer(ctx context.Context, d digest.Digest, data []byte) {
	u.collecting.Lock()
	defer u.collecting.Unlock()
	if u.offered[d] {
		return
	}
	u.offered[d] = true
	if full := u.parcel; full != nil && !full.fits(data) {
		u.parcel = nil
		u.group.Go(func() error {
			defer full.free()
			return u.deliver(ctx, full)
		})
	}
	if u.parcel == nil {
		u.parcel = parcels.Get().(*parcel)
	}
	u.parcel.add(d, data)
}

// deliver sends what the remote lacks of a parcel.
func (u *uploads) deliver(ctx context.Context, p *parcel) error {
	missing, err := u.store.far.Missing(ctx, p.order, nil)
	if err == nil && len(missing) > 0 {
		u.batch(ctx, missing, p)
	}
	return err
}

// finish sends those of digests that aren't on their way yet, and waits for all: see
// upload. What was offered and isn't among them may be left out. None may be offered any
// more.
func (u *uploads) finish(ctx context.Context, digests []digest.Digest) (failed map[digest.Digest]error, err error) {
	last := u.parcel
	defer last.free()
	err = u.sendRest(ctx, last, digests)
	// Until then calls use the parcel, whatever the error.
	if err := firstError(u.group.Wait(), err); err != nil {
		return nil, err
	}
	return u.failed, ctx.Err()
}

// sendRest sends what the remote lacks of those that are in the last parcel or weren't
// offered.
func (u *uploads) sendRest(ctx context.Context, last *parcel, digests []digest.Digest) error {
	var rest []digest.Digest
	seen := make(map[digest.Digest]bool, len(digests))
	for _, d := range digests {
		_, held := last.get(d)
		if !seen[d] && (held || !u.offered[d]) {
			rest = append(rest, d)
		}
		seen[d] = true
	}
	if len(rest) == 0 {
		return nil
	}
	missing, err := u.store.far.Missing(ctx, rest, nil)
	if err != nil {
		return err
	}
	var batch []digest.Digest
	var size int64
	send := func() {
		if together := batch; len(together) > 0 {
			u.group.Go(func() error { u.batch(ctx, together, last); return nil })
		}
		batch, size = nil, 0
	}
	for _, d := range missing {
		if d.SizeBytes > smallBytes {
			u.group.Go(func() error { u.note(d, u.store.uploadLarge(ctx, d)); return nil })
			continue
		}
		if size+d.SizeBytes > batchBytes {
			send()
		}
		batch, size = append(batch, d), size+d.SizeBytes
	}
	send()
	return nil
}

func (u *uploads) note(d digest.Digest, err error) {
	if err == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed[d] = err
}

// batch sends small blobs in one call, and one by one if that fails, to learn which
// of them it was. Those that aren't in the parcel, which may be nil, are read from the
// local cache.
func (u *uploads) batch(ctx context.Context, digests []digest.Digest, p *parcel) {
	blobs := make(map[digest.Digest][]byte, len(digests))
	for _, d := range digests {
		data, held := p.get(d)
		if !held {
			var err error
			if data, err = u.store.local.Read(ctx, d); err != nil {
				u.note(d, err)
				continue
			}
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
