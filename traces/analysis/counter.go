package analysis

import (
	"slices"
	"time"
)

// A counter counts how many of something were under way at a time. The zero value
// has none.
type counter struct {
	changes []change
	total   time.Duration // of all together
}

type change struct {
	at time.Time
	by int // 1 or -1
}

// add counts one more from one time to another. What has no length is not counted.
func (c *counter) add(from, to time.Time) {
	if from.Before(to) {
		c.changes = append(c.changes, change{from, 1}, change{to, -1})
		c.total += to.Sub(from)
	}
}

// A step is a time from which on some number was under way.
type step struct {
	at    time.Time
	count int
}

// steps returns the times at which the number changed. What ends makes room for
// what begins at the same time.
func (c *counter) steps() []step {
	slices.SortFunc(c.changes, func(a, b change) int { return a.at.Compare(b.at) })
	var steps []step
	count := 0
	for _, ch := range c.changes {
		count += ch.by
		if n := len(steps); n > 0 && steps[n-1].at.Equal(ch.at) {
			steps[n-1].count = count
		} else {
			steps = append(steps, step{ch.at, count})
		}
	}
	return steps
}

// peak returns the most that were under way at a time.
func (c *counter) peak() int {
	most := 0
	for _, s := range c.steps() {
		most = max(most, s.count)
	}
	return most
}
