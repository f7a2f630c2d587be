package analysis

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// A Step is what a build tool did for one action: a look-up that found a result, or an
// operation.
type Step struct {
	Name, Kind string // target and mnemonic, as the client named them
	Start, End time.Time
	// Run is how long its command ran, 0 if it didn't.
	Run time.Duration
	// OutputBytes is what its result names, 0 if unknown.
	OutputBytes int64
	// Hit says that its result was there, Failed that its command failed or its
	// operation did.
	Hit, Failed bool
}

// Steps returns the steps of a build in the order in which they began.
func Steps(t *lifecycle.Tree, actions []Action) []Step {
	var steps []Step
	for i := range actions {
		a := &actions[i]
		s := Step{Name: cmp.Or(a.Target(), a.Name()), Kind: a.Mnemonic(), Start: a.Start, End: a.End, Hit: a.Result == Hit, Failed: a.Result == Failed}
		if code := a.attr(semconv.AttrExitCode); code != "" && code != "0" {
			s.Failed = true
		}
		s.OutputBytes, _ = a.OutputBytes()
		s.Run = a.Split[Execute]
		steps = append(steps, s)
	}
	steps = appendFound(steps, t.Roots)
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Or(a.Start.Compare(b.Start), a.End.Compare(b.End)) })
	return steps
}

// appendFound appends the look-ups of the client's that found a result, each once.
func appendFound(steps []Step, nodes []*lifecycle.Node) []Step {
	for _, n := range nodes {
		s := n.Span
		switch {
		case s.Name == semconv.SpanAction:
			// Its own look-ups are the server's.
		case strings.HasSuffix(s.Name, lookupMethod):
			if foundResult(s) {
				steps = append(steps, Step{
					Name: s.Attr(semconv.AttrTargetID), Kind: s.Attr(semconv.AttrActionMnemonic), Start: s.Start, End: s.End, Hit: true,
				})
			}
			// Below are the same look-up on the way to the storage.
		default:
			steps = appendFound(steps, n.Children)
		}
	}
	return steps
}
