package result

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// PlatformName is how a platform is called in a result: its properties by name, such as
// "OSFamily=linux size=large"; empty if there are none.
func PlatformName(properties map[string]string) string {
	words := make([]string, 0, len(properties))
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		words = append(words, key+"="+properties[key])
	}
	return strings.Join(words, " ")
}

// Grouped are the actions of the measured part, or of the preparation, added up by what is
// left of their keys, in the order of the keys. Nothing of it is shared with the result.
func (r *Result) Grouped(prepare bool, by func(ActionKey) ActionKey) []Actions {
	groups := make(map[ActionKey]*Actions)
	for i := range r.Actions {
		if a := &r.Actions[i]; (a.Phase != "") == prepare {
			entry(groups, by(a.ActionKey)).Merge(a)
		}
	}
	all := make([]Actions, 0, len(groups))
	for key, a := range groups {
		a.ActionKey = key
		all = append(all, *a)
	}
	sortActions(all)
	return all
}

// ByOutcome is for Grouped: by class, outcome and phase, whoever asked for them.
func ByOutcome(k ActionKey) ActionKey {
	return ActionKey{Class: k.Class, Outcome: k.Outcome, Phase: k.Phase}
}

// ByStream is by who asked for them.
func ByStream(k ActionKey) ActionKey { return ActionKey{Stream: k.Stream} }

// ByPlatform is by what they ask of a worker.
func ByPlatform(k ActionKey) ActionKey { return ActionKey{Platform: k.Platform} }

// ByClass is by the name of the class alone.
func ByClass(k ActionKey) ActionKey { return ActionKey{Class: k.Class} }

func sortActions(all []Actions) {
	slices.SortFunc(all, func(a, b Actions) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Outcome, b.Outcome),
			cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Platform, b.Platform))
	})
}

// Work is the time that they held workers, of those whose result counts.
func (a *Actions) Work() time.Duration {
	return plus(plus(a.Fetch.Sum(), a.Run.Sum()), a.Upload.Sum())
}

// Stretch is how many times as long they took from the queue to the upload as workers worked
// on them, over all: 1 if none waited, 0 if none ran.
func (a *Actions) Stretch() float64 {
	work := a.Work()
	if work == 0 {
		return 0
	}
	return float64(plus(work, a.Queue.Sum())) / float64(work)
}

// Of returns the builds of a stream: none, if there were none.
func (b *Builds) Of(stream string) *BuildCounts {
	for i := range b.Streams {
		if s := &b.Streams[i]; s.Stream == stream {
			return &s.BuildCounts
		}
	}
	return new(BuildCounts)
}

// Of returns what a stream had; nil if that isn't known.
func (f *Fairness) Of(stream string) *StreamShare {
	if f != nil {
		for i := range f.Streams {
			if s := &f.Streams[i]; s.Stream == stream {
				return s
			}
		}
	}
	return nil
}

// Least is Jain's index if one of the streams that waited beside others had all; 0 if none did.
func (f *Fairness) Least() float64 {
	n := 0
	for i := range f.Streams {
		if f.Streams[i].Contended > 0 {
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return 1 / float64(n)
}
