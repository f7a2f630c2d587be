package storage

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/bytestream"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// Limits of what is kept of uploads that broke off. Beyond them the oldest goes,
// and its client starts again at 0.
const (
	// parkedTTL is how long a client may take to come back: longer than Bazel's
	// retries go on, shorter than anybody waits for a build that hangs.
	parkedTTL = 10 * time.Minute
	// maxParked bounds the number of uploads, each of which holds a file open in
	// a store on disk: Linux's usual limit is 1024.
	maxParked = 256
	// maxParkedBytes bounds their bytes, which count against the quotas of the
	// stores.
	maxParkedBytes = 1 << 30
)

// uploadName is a write resource name taken apart. Clients may use a uuid for
// several blobs.
type uploadName struct {
	instance, uuid string
	blob           digest.Digest
}

// upload is one that a stream is busy with, or that is parked.
type upload struct {
	name     uploadName
	writer   cas.Writer    // of the stream; nil before it has made one
	received atomic.Int64  // bytes appended
	since    time.Time     // when it was parked; guarded by uploads.mu
	parked   *list.Element // nil while a stream has it; guarded by uploads.mu
}

// take appends one message of a stream, whose first had the given resource.
func (u *upload) take(message *bytestream.WriteRequest, resource string) error {
	if message.ResourceName != "" && message.ResourceName != resource {
		return invalid("the resource name changed from %q to %.300q within the stream", resource, message.ResourceName)
	}
	received := u.received.Load()
	if message.WriteOffset != received {
		return invalid("write_offset is %d, want %d: the bytes received so far", message.WriteOffset, received)
	}
	if err := u.writer.Append(message.Data); err != nil {
		return err
	}
	u.received.Store(received + int64(len(message.Data)))
	return nil
}

// uploads knows all uploads under way. Time comes in with each call, and what
// has expired goes at the next call, so that nothing runs in between.
type uploads struct {
	ttl      time.Duration
	max      int
	maxBytes int64

	mu     sync.Mutex
	byName map[uploadName]*upload // guarded by mu
	parked *list.List             // of *upload, oldest first; guarded by mu
	bytes  int64                  // of the parked; guarded by mu
	closed bool                   // guarded by mu
}

func newUploads() *uploads {
	return &uploads{ttl: parkedTTL, max: maxParked, maxBytes: maxParkedBytes,
		byName: make(map[uploadName]*upload), parked: list.New()}
}

// begin gives a stream the upload of a name: the parked one, if offset is where
// it ended, or else a new one without a writer. The stream ends it by park, end
// or abort.
func (us *uploads) begin(name uploadName, offset int64, now time.Time) (*upload, error) {
	us.mu.Lock()
	dropped := us.expire(now)
	u, err := us.claim(name, offset, &dropped)
	us.mu.Unlock()
	abortAll(dropped)
	return u, err
}

// claim is begin with the lock held. A parked upload it supersedes is added to
// dropped.
func (us *uploads) claim(name uploadName, offset int64, dropped *[]*upload) (*upload, error) {
	u, known := us.byName[name]
	if known && u.parked == nil {
		return nil, conflict("another stream is writing upload %s of blob %v", name.uuid, name.blob)
	}
	if known && offset == u.received.Load() {
		us.unpark(u)
		return u, nil
	}
	if offset != 0 {
		var received int64
		if known {
			received = u.received.Load()
		}
		return nil, invalid("write_offset is %d, but %d bytes of upload %s of blob %v are held: start there or at 0",
			offset, received, name.uuid, name.blob)
	}
	if known {
		us.unpark(u)
		*dropped = append(*dropped, u)
	}
	u = &upload{name: name}
	us.byName[name] = u
	return u, nil
}

// end forgets an upload whose writer has ended or never was.
func (us *uploads) end(u *upload) {
	us.mu.Lock()
	defer us.mu.Unlock()
	delete(us.byName, u.name)
}

// abort drops an upload and its writer.
func (us *uploads) abort(u *upload) {
	us.end(u)
	u.writer.Abort()
}

// park keeps an upload whose stream has gone.
func (us *uploads) park(u *upload, now time.Time) {
	us.mu.Lock()
	u.since = now
	u.parked = us.parked.PushBack(u)
	us.bytes += u.received.Load()
	dropped := us.expire(now)
	us.mu.Unlock()
	abortAll(dropped)
}

// received returns how many bytes of an upload have come.
func (us *uploads) received(name uploadName, now time.Time) int64 {
	us.mu.Lock()
	dropped := us.expire(now)
	u, known := us.byName[name]
	us.mu.Unlock()
	abortAll(dropped)
	if !known {
		return 0
	}
	return u.received.Load()
}

// close drops all that is parked, now and later.
func (us *uploads) close() {
	us.mu.Lock()
	us.closed = true
	dropped := us.expire(time.Time{})
	us.mu.Unlock()
	abortAll(dropped)
}

// expire forgets what is parked too long, or too much, and returns it to be
// aborted once the lock, which is held now, is given back.
func (us *uploads) expire(now time.Time) (dropped []*upload) {
	for e := us.parked.Front(); e != nil; e = us.parked.Front() {
		oldest := e.Value.(*upload)
		keep := !us.closed && now.Sub(oldest.since) < us.ttl && us.parked.Len() <= us.max && us.bytes <= us.maxBytes
		if keep {
			break
		}
		us.unpark(oldest)
		delete(us.byName, oldest.name)
		dropped = append(dropped, oldest)
	}
	return dropped
}

// unpark takes an upload out of the list; it stays in byName. The lock is held.
func (us *uploads) unpark(u *upload) {
	us.parked.Remove(u.parked)
	us.bytes -= u.received.Load()
	u.parked = nil
}

func abortAll(dropped []*upload) {
	for _, u := range dropped {
		u.writer.Abort()
	}
}
