// Package sizing chooses on how large a worker an action runs, by how long actions
// of its kind have run on which, and tells how long it will take.
//
// Classes of workers are numbers, 0 the smallest. A kind is whatever its caller
// thinks behaves alike. A [Table] remembers durations of each kind on each class:
//
//	class, expected := t.Place(kind) // an action is about to be queued
//	t.Ran(kind, class, duration)     // it has succeeded
//	t.Failed(kind, class)            // or the class was too small for it
//
// # Which class
//
// What nothing is known of goes to the largest class, where it is safe. Once that is
// measured, the next smaller one is tried, and so on down: an action goes to the
// smallest class up to which each is expected to take no longer than the largest by
// more than a factor. Classes are taken to be in order: below one that is too slow
// none is tried.
//
// After a failure the next action goes to the largest class.
//
// A class that hasn't been measured is tried by one action at a time, so that not a
// whole build finds out that it is too small. One that has turned out too slow, or
// where an action failed, is left alone for a number of runs of the kind, 16 after
// the first time, twice as many after each further one in a row, up to 1024; then it
// is tried anew. That is how what was measured ages: there is no clock here, and what
// hasn't run hasn't changed. Now and then an action goes to the largest class though a
// smaller one would do, or nobody would notice that all have become faster.
//
// The mean of durations is one that forgets: a run counts a quarter, those before it
// the rest.
//
// A Table is pure: equal calls have equal results. It isn't safe for concurrent use.
// It forgets the kinds that were used longest ago when there are too many.
package sizing

import (
	"time"

	"github.com/weir-build/weir/system/cas/lru"
)

// Kind is a hash of what actions have in common that behave alike.
type Kind [16]byte

// MaxClasses bounds the classes: nobody runs more sizes of machines, and a kind has
// room for each.
const MaxClasses = 8

// Config says how a table chooses. Zero fields mean the default.
type Config struct {
	// Classes is how many there are; default 1, where nothing is to be chosen.
	Classes int
	// Percent is how long an action may take on a smaller class, of what it takes on
	// the largest. Default 150: what is half as slow again on half the cores is still
	// cheaper.
	Percent int
	// Kinds bounds those that are remembered, at about 150 bytes each, and 24 more
	// for each class. Default 100,000: a build of a large repository has that many
	// actions.
	Kinds int
}

const (
	// firstBar and barDoublings say for how many runs of its kind a class is left
	// alone.
	firstBar     = 16
	barDoublings = 6
	// refresh is how many runs of a kind may pass before one goes to the largest
	// class to see what it takes there now: few enough to cost nothing.
	refresh = 64
	// patience is how many actions of a kind are placed while one tries a class,
	// before it is taken to have come to nothing: cancelled, say.
	patience = 16
	// slack is added to what a smaller class may take: what is over so soon is as
	// good anywhere, and is measured by chance.
	slack = 50 * time.Millisecond
	// maxDuration is the queue's: longer ones count as that.
	maxDuration = 24 * time.Hour
)

// Table is what is known of kinds.
type Table struct {
	classes int
	percent int64
	kinds   *lru.Index[Kind, *kind]
}

type kind struct {
	runs    uint64 // that ended, one way or another
	trying  int8   // the class that an action has been sent to try, -1 if none
	waited  uint8  // actions placed since
	failed  bool   // the next one goes to the largest class
	classes []memory
}

type memory struct {
	mean    time.Duration // 0 if not measured
	seen    uint64        // the kind's runs when it was measured last
	barred  uint64        // until the kind has that many
	strikes uint8         // in a row
}

// New returns a table that knows nothing.
func New(c Config) *Table {
	t := &Table{classes: min(max(1, c.Classes), MaxClasses), percent: 150}
	if c.Percent > 0 {
		t.percent = int64(min(max(c.Percent, 100), MaxPercent))
	}
	if c.Kinds <= 0 {
		c.Kinds = 100_000
	}
	t.kinds = lru.New[Kind, *kind](lru.Limits{QuotaBytes: int64(c.Kinds)}, nil)
	return t
}

// MaxPercent bounds Config.Percent, so that maxDuration times it is a number.
const MaxPercent = 10_000

// Mean is the mean that forgets, after one more run; before is 0 if there was none.
func Mean(before, took time.Duration) time.Duration {
	if before == 0 {
		return took
	}
	return max(1, before+(took-before)/4)
}

// Len returns how many kinds are remembered.
func (t *Table) Len() int { return t.kinds.Usage().Entries }

// Place chooses a class for an action, and says how long it is expected to take
// there; 0 if that isn't known.
func (t *Table) Place(of Kind) (class int, expected time.Duration) {
	k := t.known(of)
	if k == nil {
		return t.classes - 1, 0
	}
	class = t.choose(k)
	return class, k.expected(class)
}

// Expected says how long an action is expected to take on a class, or on the next
// that is known; 0 if nothing is.
func (t *Table) Expected(of Kind, class int) time.Duration {
	k := t.known(of)
	if k == nil || class < 0 || class >= t.classes {
		return 0
	}
	return k.expected(class)
}

// Known is what is known of a kind on a class.
type Known struct {
	Mean   time.Duration // 0 if not measured
	Barred int           // for how many runs of the kind it is left alone
}

// Known tells what is known of a kind, by class; nil if nothing is. Asking isn't
// using it.
func (t *Table) Known(of Kind) []Known {
	k, ok := t.kinds.Peek(of)
	if !ok {
		return nil
	}
	list := make([]Known, t.classes)
	for i, c := range (*k).classes {
		list[i].Mean = c.mean
		if c.barred > (*k).runs {
			list[i].Barred = int(c.barred - (*k).runs)
		}
	}
	return list
}

func (t *Table) known(of Kind) *kind {
	if k, ok := t.kinds.Use(of); ok {
		return *k
	}
	return nil
}

func (t *Table) choose(k *kind) int {
	largest := t.classes - 1
	if k.failed {
		k.failed = false
		return largest
	}
	if k.trying >= 0 {
		if k.waited++; k.waited > patience {
			k.trying = -1
		}
	}
	reference := &k.classes[largest]
	if reference.mean == 0 {
		return largest
	}
	chosen := largest
	for chosen > 0 {
		next := &k.classes[chosen-1]
		if k.runs < next.barred {
			break
		}
		if next.mean == 0 || next.strikes > 0 {
			if k.trying < 0 {
				chosen--
				k.try(chosen)
			}
			return chosen
		}
		if next.mean > t.limit(reference.mean) {
			break
		}
		chosen--
	}
	if chosen < largest && k.runs-reference.seen >= refresh && k.trying < 0 {
		k.try(largest)
		return largest
	}
	return chosen
}

func (k *kind) try(class int) { k.trying, k.waited = int8(class), 0 }

// limit is how long an action may take of which the largest class takes so long.
func (t *Table) limit(reference time.Duration) time.Duration {
	return reference/100*time.Duration(t.percent) + slack
}

func (k *kind) expected(class int) time.Duration {
	for _, c := range k.classes[class:] {
		if c.mean > 0 {
			return c.mean
		}
	}
	for i := class - 1; i >= 0; i-- {
		if c := k.classes[i]; c.mean > 0 {
			return c.mean
		}
	}
	return 0
}

// Ran notes how long an action ran that succeeded.
func (t *Table) Ran(of Kind, class int, took time.Duration) {
	if class < 0 || class >= t.classes || took <= 0 {
		return
	}
	k := t.ended(of, class)
	c := &k.classes[class]
	took = min(took, maxDuration)
	if c.mean == 0 || c.strikes > 0 {
		c.mean = took // what it was before it was left alone is long ago
	} else {
		c.mean = Mean(c.mean, took)
	}
	c.seen = k.runs
	if k.runs < c.barred {
		return // it was placed before; one that did well doesn't undo one that failed
	}
	reference := k.classes[t.classes-1].mean
	if class < t.classes-1 && reference > 0 && c.mean > t.limit(reference) {
		k.bar(class)
		return
	}
	c.strikes, c.barred = 0, 0
}

// Failed notes that a class was too small for an action: its time was up, or the
// command was killed. Of the largest class that says nothing.
func (t *Table) Failed(of Kind, class int) {
	if class < 0 || class >= t.classes-1 {
		return
	}
	k := t.ended(of, class)
	k.bar(class)
	k.failed = true
}

// ended returns the kind of an action that ended, a new one if need be.
func (t *Table) ended(of Kind, class int) *kind {
	k := t.known(of)
	if k == nil {
		k = &kind{trying: -1, classes: make([]memory, t.classes)}
		t.kinds.Add(of, k, 1)
	}
	k.runs++
	if int(k.trying) == class {
		k.trying = -1
	}
	return k
}

// bar leaves a class alone for a while, and with it those below it.
func (k *kind) bar(class int) {
	c := &k.classes[class]
	c.barred = k.runs + firstBar<<min(c.strikes, barDoublings)
	if c.strikes < barDoublings {
		c.strikes++
	}
}
