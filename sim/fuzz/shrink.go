package fuzz

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/sim/model"
)

// maxTries bounds how often a scenario is run to make it smaller: some seconds.
const maxTries = 3000

// Shrink returns a failure of the same kind in a smaller scenario: parts of it are left out
// and numbers made smaller, as long as it fails. Nothing that remains can be left out alone,
// unless it takes too many tries to find that out.
func (f *Failure) Shrink() *Failure {
	var root yaml.Node
	if err := yaml.Unmarshal(f.Scenario, &root); err != nil {
		return f
	}
	best, want, tries := *f, kind(f.Err), 0
	limit := uint64(maxEvents)
	var v *model.Violation
	if errors.As(f.Err, &v) {
		limit = 2*v.Events + 100 // smaller ones fail sooner
	}
	for shrunk := true; shrunk; {
		shrunk = false
		for i := 0; ; i++ {
			smaller := edited(&root, i)
			if smaller == nil {
				break
			}
			text, err := yaml.Marshal(smaller)
			if err != nil || bytes.Equal(text, best.Scenario) {
				continue
			}
			if tries++; tries > maxTries {
				return &best
			}
			if _, err := try(f.simulate, text, limit); err != nil && kind(err) == want {
				best.Scenario, best.Err = text, err
				root, shrunk = *smaller, true
				i-- // what was next has this number now
			}
		}
	}
	return &best
}

// edited returns a copy of a document that is smaller in one place, by the number of the
// edit; nil if there are fewer.
func edited(root *yaml.Node, number int) *yaml.Node {
	e := editor{root: root, left: number}
	e.walk(root)
	return e.found
}

// editor makes one edit after the other in place, copies the document, and takes it back.
type editor struct {
	root, found *yaml.Node
	left        int
}

// offer is called while an edit is made.
func (e *editor) offer() {
	if e.left == 0 && e.found == nil {
		e.found = clone(e.root)
	}
	e.left--
}

func (e *editor) walk(n *yaml.Node) {
	if e.found != nil {
		return
	}
	whole := n.Content
	switch n.Kind {
	case yaml.SequenceNode:
		// Large lists by halves first.
		for size := len(whole) / 2; size >= 1; size /= 2 {
			for at := 0; at+size <= len(whole); at += size {
				n.Content = slices.Concat(whole[:at], whole[at+size:])
				e.offer()
			}
		}
		if len(whole) == 1 {
			n.Content = nil
			e.offer()
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(whole); i += 2 {
			n.Content = slices.Concat(whole[:i], whole[i+2:])
			e.offer()
		}
	case yaml.ScalarNode:
		was := n.Value
		for _, n.Value = range smallerNumbers(was) {
			e.offer()
		}
		n.Value = was
	}
	n.Content = whole
	for i, child := range whole {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue // a key
		}
		e.walk(child)
	}
}

func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i := range n.Content {
		c.Content[i] = clone(n.Content[i])
	}
	return &c
}

// smallerNumbers returns what a number with its unit could be instead, the least first.
func smallerNumbers(text string) []string {
	digits := strings.TrimRight(text, "%abcdefghijklmnopqrstuvwxyzMGT")
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || v == 0 {
		return nil
	}
	var all []string
	for _, smaller := range []float64{0, 1, float64(int(v / 2)), float64(int(v))} {
		s := strconv.FormatFloat(smaller, 'g', 3, 64) + text[len(digits):]
		if smaller*smaller < v*v && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
