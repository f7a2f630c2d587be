package execution

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/weir-build/weir/system/queue"
)

// Bounds of warnings of long waits, which tell of one wait of a platform.
const (
	// warnAgain is how long a platform that has been told of isn't told of again.
	warnAgain = time.Minute
	// maxWarnings bounds the warnings of one look: those of the longest waits.
	maxWarnings = 10
)

// warnInterval is how often it is looked for waits longer than this.
func warnInterval(long time.Duration) time.Duration {
	if long < 0 {
		return time.Hour // they aren't looked for
	}
	return min(max(long/4, 10*time.Millisecond), warnAgain/2)
}

// warnOfWaits logs why the oldest tasks wait that have waited for long.
func (s *Server) warnOfWaits(ctx context.Context) {
	if s.config.LongWait < 0 {
		return
	}
	type long struct {
		operation string
		wait      wait
		queued    time.Time
	}
	var list []long
	s.shell.mu.Lock()
	now := time.Now()
	for _, p := range s.longWaits(now) {
		t := s.shell.tasks[s.shell.queue.Oldest(p.id)]
		// The leader may be cancelled while others wait for its work.
		if t == nil || len(t.attached) == 0 {
			continue
		}
		op := t.attached[0]
		p.warned = now
		list = append(list, long{op.name, s.explain(op), t.since()})
	}
	s.shell.mu.Unlock()
	for _, l := range list {
		s.logger.WarnContext(ctx, "an action has waited for long", "operation", l.operation, "platform", l.wait.platform.text,
			"instance", l.wait.platform.instance.name, "waits", now.Sub(l.queued).Round(time.Millisecond), "queued", l.wait.queue.Queued,
			"reason", l.wait.reason, "why", l.wait.text(now))
	}
}

// longWaits returns the platforms to be told of, that of the longest wait first. The
// lock is held.
func (s *Server) longWaits(now time.Time) []*platform {
	since := make(map[*platform]queue.Time)
	var list []*platform
	for _, p := range s.shell.platforms.all {
		oldest := s.shell.queue.Depth(p.id).OldestQueued
		if oldest != queue.Never && s.shell.time(now)-oldest >= queue.Time(s.config.LongWait) && now.Sub(p.warned) >= warnAgain {
			since[p] = oldest
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *platform) int { return cmp.Compare(since[a], since[b]) })
	return list[:min(len(list), maxWarnings)]
}
