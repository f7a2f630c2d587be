package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/model"
)

// barEvery is how often a simulation's progress is shown at most.
const barEvery = 200 * time.Millisecond

// simProgress shows how far simulations are. It is told from the runs' own goroutines.
type simProgress struct {
	out      io.Writer
	shows    bool
	terminal bool
	horizon  time.Duration
	began    time.Time

	mu    sync.Mutex // of what follows
	runs  []model.Progress
	shown time.Time
	any   bool
}

func newSimProgress(out io.Writer, horizon time.Duration, runs int, wanted bool) *simProgress {
	live := terminal(out)
	return &simProgress{out: out, shows: live || wanted, terminal: live, horizon: horizon, began: time.Now(), runs: make([]model.Progress, runs)}
}

// watch has runs tell how far they are, and end when the context does.
func (p *simProgress) watch(ctx context.Context) func(int, *model.Config) {
	return func(i int, c *model.Config) {
		c.Watch = func(now model.Progress) error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("interrupted: %w", err)
			}
			if p.shows {
				p.tell(i, now)
			}
			return nil
		}
	}
}

func (p *simProgress) tell(i int, progress model.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs[i] = progress
	now := time.Now()
	if now.Sub(p.shown) < barEvery {
		return
	}
	p.shown, p.any = now, true
	line := simProgressLine(p.runs, p.horizon, now.Sub(p.began))
	if p.terminal {
		overwrite(p.out, line)
	} else {
		fmt.Fprintln(p.out, line)
	}
}

// simProgressLine says how far runs are together.
func simProgressLine(runs []model.Progress, horizon, took time.Duration) string {
	var events uint64
	var share float64
	builds, latest := 0, time.Duration(0)
	for _, r := range runs {
		events += r.Events
		builds += r.Level.Builds
		latest = max(latest, time.Duration(r.At))
		if horizon > 0 {
			share += min(1, float64(r.At)/float64(horizon)) / float64(len(runs))
		}
	}
	filled := int(share * barWidth)
	line := fmt.Sprintf("%s %3.0f%%  %v of %v  %d builds open", strings.Repeat("█", filled)+strings.Repeat("░", barWidth-filled),
		share*100, result.Round(latest), horizon, builds)
	if took > 0 {
		line += fmt.Sprintf("  %.0f events/ms", float64(events)/float64(took.Milliseconds()+1))
	}
	return line
}

// end takes the line away.
func (p *simProgress) end() {
	if p.any && p.terminal {
		overwrite(p.out, "")
	}
}
