package workload

import (
	"cmp"
	"slices"
)

// A Span is when something was under way, in nanoseconds.
type Span struct{ Begin, End int64 }

// maxWaits bounds how many waits are inferred for one build, so that a graph takes half a
// gigabyte at most: only builds of some hundred thousand actions, of which hundreds are
// under way at a time, come to it.
const maxWaits = 64 << 20

// Infer says of each action of a build what it has to have waited for, by their indices:
// all that had ended when it began, less those that these waited for. Who records a build
// from outside sees times only, and not which of them it needed: to take all of them is on
// the safe side, since nothing then begins before what it did begin after.
//
// The spans are in the order of their begins, and so is what is returned. Of what ended
// at one time the order is that of the spans. The lists share their memory.
func Infer(spans []Span) [][]int { return infer(spans, maxWaits) }

func infer(spans []Span, limit int) [][]int {
	byEnd := make([]int, len(spans))
	for i := range byEnd {
		byEnd[i] = i
	}
	slices.SortStableFunc(byEnd, func(a, b int) int { return cmp.Compare(spans[a].End, spans[b].End) })
	after := make([][]int, len(spans))
	// What had ended is byEnd[:ended]; what these waited for ended before the latest of
	// them began, and is byEnd[:behind]. One that took no time isn't behind itself.
	ended, behind, total := 0, 0, 0
	latest := int64(0)
	for i := range spans {
		for ended < len(byEnd) && spans[byEnd[ended]].End <= spans[i].Begin && byEnd[ended] < i {
			if begin := spans[byEnd[ended]].Begin; ended == 0 || begin > latest {
				latest = begin
			}
			ended++
		}
		for behind < ended && spans[byEnd[behind]].End <= latest && spans[byEnd[behind]].Begin < latest {
			behind++
		}
		after[i] = byEnd[behind:ended:ended]
		total += ended - behind
	}
	if total > limit {
		each := max(1, limit/len(spans))
		for i, a := range after {
			after[i] = a[max(0, len(a)-each):]
		}
	}
	return after
}

// Peak is how many of the spans were under way at a time, at most. What ends makes room for
// what begins at the same time.
func Peak(spans []Span) int {
	begins, ends := make([]int64, 0, len(spans)), make([]int64, 0, len(spans))
	for _, s := range spans {
		if s.Begin < s.End {
			begins, ends = append(begins, s.Begin), append(ends, s.End)
		}
	}
	slices.Sort(begins)
	slices.Sort(ends)
	most, ended := 0, 0
	for i, at := range begins {
		for ends[ended] <= at {
			ended++
		}
		most = max(most, i+1-ended)
	}
	return most
}
