package analysis

import (
	"slices"
	"time"
)

// A counter counts how many of something were under way at a time. The zero value
// has none.
type counter struct {
	begins, ends []int64
	total        time.Duration // of all together
}

// grow makes room for n more.
func (c *counter) grow(n int) {
	c.begins, c.ends = slices.Grow(c.begins, n), slices.Grow(c.ends, n)
}

// add counts one more from one time to another. What has no length is not counted.
func (c *counter) add(from, to time.Time) {
	if from.Before(to) {
		c.begins, c.ends = append(c.begins, from.UnixNano()), append(c.ends, to.UnixNano())
		c.total += to.Sub(from)
	}
}

// steps calls f with each time at which the number changed, and what it was from
// then on. What ends makes room for what begins at the same time.
func (c *counter) steps(f func(at int64, count int)) {
	sortTimes(c.begins, nil)
	sortTimes(c.ends, nil)
	begun, ended := 0, 0
	for ended < len(c.ends) { // each end has a begin before it
		at := c.ends[ended]
		if begun < len(c.begins) {
			at = min(at, c.begins[begun])
		}
		for begun < len(c.begins) && c.begins[begun] == at {
			begun++
		}
		for ended < len(c.ends) && c.ends[ended] == at {
			ended++
		}
		f(at, begun-ended)
	}
}

// peak returns the most that were under way at a time.
func (c *counter) peak() int {
	most := 0
	c.steps(func(_ int64, count int) { most = max(most, count) })
	return most
}
