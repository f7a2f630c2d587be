package execution

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// fullError says that a tenant has queued all it may.
type fullError struct {
	tenant string
	bound  int
	delay  time.Duration // after which it is worth another try
}

func (e *fullError) Error() string {
	return fmt.Sprintf("%s has %s queued, which is all it may have: try again in %v, run with fewer jobs, or ask for more workers or a larger max_queued",
		named("tenant", e.tenant), count(e.bound, "action", "actions"), e.delay)
}

// fullStatus is the RESOURCE_EXHAUSTED by which clients learn when to come again
// (google.rpc.RetryInfo).
func fullStatus(e *fullError) error {
	s, err := status.New(codes.ResourceExhausted, e.Error()).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.delay)})
	if err != nil {
		panic("a status can't carry a RetryInfo: " + err.Error())
	}
	return s.Err()
}

// A drainRate is how fast the queue of a tenant drains, by the time from one lease
// to the next.
type drainRate struct {
	last  time.Time
	every time.Duration // 0 until two have been given
}

// smoothing is how many leases the mean goes back to, about: enough to average over
// short and long actions, few enough to follow workers that come and go.
const smoothing = 8

// Bounds of the delay: clients that come again sooner cost more than they gain, and
// after a minute it may all be different.
const (
	minRetryDelay = time.Second
	maxRetryDelay = time.Minute
)

// gave notes that a task of the tenant was given to a worker.
func (d *drainRate) gave(now time.Time) {
	if !d.last.IsZero() {
		gap := max(1, now.Sub(d.last))
		if d.every == 0 {
			d.every = gap
		} else {
			d.every += (gap - d.every) / smoothing
		}
	}
	d.last = now
}

// delay is how long it takes until a tenth of a full queue has room again, so that
// not all come back for one place. A queue that has stopped to drain is slower than
// it was; of one that never did nothing is known, and the delay is the longest.
func (d *drainRate) delay(now time.Time, bound int) time.Duration {
	if d.every == 0 {
		return maxRetryDelay
	}
	every := max(d.every, now.Sub(d.last))
	places := time.Duration(max(1, bound/10))
	if every > maxRetryDelay/places {
		return maxRetryDelay
	}
	return max(minRetryDelay, (every * places).Round(100*time.Millisecond))
}

// gave notes a lease for what its tenant is told when its queue is full.
func (s *Server) gave(now time.Time, op *operation) {
	if s.config.Queue.MaxQueued == 0 {
		return
	}
	sh := &s.shell
	d := sh.drainRates[op.tenant]
	if d == nil {
		if sh.drainRates == nil {
			sh.drainRates = make(map[string]*drainRate)
		}
		d = new(drainRate)
		sh.drainRates[op.tenant] = d
	}
	d.gave(now)
}

// full is what an operation is refused by; the lock is held.
func (s *Server) full(now time.Time, op *operation) error {
	d := s.shell.drainRates[op.tenant]
	if d == nil {
		d = new(drainRate)
	}
	bound := s.config.Queue.MaxQueued
	return &fullError{op.tenant, bound, d.delay(now, bound)}
}
