package result

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Merge joins the results of generators that ran one scenario beside each other. It
// is exact: counts and sketches are those that one generator would have had. What
// only some may have, such as the slowest, is cut to its bound again. What is told of one
// simulated run, Faults and Fairness, is left out. The verdict is left empty: see Judge. The
// results aren't changed.
func Merge(results ...*Result) (*Result, error) {
	if len(results) == 0 {
		return nil, errors.New("there are no results to merge")
	}
	first := results[0]
	out := &Result{Schema: Schema, Run: first.Run, Generator: Generator{}}
	out.Run.Shards, out.Run.Notes = 0, nil
	calls, actions := make(map[CallKey]*Calls), make(map[ActionKey]*Actions)
	failures, violations := make(map[errorKey]*Error), make(map[string]*Violation)
	slow := make(map[string][]Slow)
	for _, r := range results {
		if r.Schema != Schema {
			return nil, fmt.Errorf("%s has schema %q, want %q", r.Run.ID, r.Schema, Schema)
		}
		if r.Run.Scenario != first.Run.Scenario || r.Run.Origin != first.Run.Origin {
			return nil, fmt.Errorf("%s ran %s (%s), %s ran %s (%s): only results of one scenario are merged",
				first.Run.ID, first.Run.Scenario, first.Run.Origin, r.Run.ID, r.Run.Scenario, r.Run.Origin)
		}
		out.Run.join(&r.Run)
		for i := range r.Calls {
			entry(calls, r.Calls[i].CallKey).Merge(&r.Calls[i])
		}
		for i := range r.Actions {
			entry(actions, r.Actions[i].ActionKey).Merge(&r.Actions[i])
		}
		for _, e := range r.Errors {
			mergeError(entry(failures, errorKey{e.Method, e.Status, e.Reason, e.Message}), &e)
		}
		for _, v := range r.Integrity {
			into := entry(violations, v.Kind)
			into.Kind, into.Count, into.Example = v.Kind, into.Count+v.Count, cmp.Or(into.Example, v.Example)
		}
		for _, s := range r.Slowest {
			slow[s.Kind] = append(slow[s.Kind], s)
		}
		out.Builds.merge(&r.Builds)
		out.Timeline.merge(&r.Timeline)
		out.Generator.merge(&r.Generator)
	}
	for key, c := range calls {
		c.CallKey = key
		out.Calls = append(out.Calls, *c)
	}
	for key, a := range actions {
		a.ActionKey = key
		out.Actions = append(out.Actions, *a)
	}
	for _, e := range failures {
		out.Errors = append(out.Errors, *e)
	}
	for _, v := range violations {
		out.Integrity = append(out.Integrity, *v)
	}
	for _, kind := range slices.Sorted(maps.Keys(slow)) {
		slices.SortFunc(slow[kind], compareSlow)
		out.Slowest = append(out.Slowest, slow[kind][:min(len(slow[kind]), MaxSlow)]...)
	}
	out.sort()
	out.judgeGenerator()
	return out, nil
}

func entry[K comparable, V any](m map[K]*V, key K) *V {
	v := m[key]
	if v == nil {
		v = new(V)
		m[key] = v
	}
	return v
}

func (r *Run) join(o *Run) {
	r.Shards += max(1, o.Shards)
	if o.Start.Before(r.Start) {
		r.Start = o.Start
	}
	if o.End.After(r.End) {
		r.End = o.End
	}
	r.Interrupted = r.Interrupted || o.Interrupted
	for _, note := range o.Notes {
		if !slices.Contains(r.Notes, note) {
			r.Notes = append(r.Notes, note)
		}
	}
}

// Merge adds what another counts. The key stays, the other isn't changed.
func (c *Calls) Merge(o *Calls) {
	c.Count += o.Count
	c.Failed += o.Failed
	c.Blobs += o.Blobs
	c.BytesSent += o.BytesSent
	c.BytesReceived += o.BytesReceived
	c.Response.Merge(&o.Response)
	c.Service.Merge(&o.Service)
	c.Delay.Merge(&o.Delay)
}

// Merge adds what another counts. The key stays, the other isn't changed.
func (a *Actions) Merge(o *Actions) {
	a.Count += o.Count
	a.Response.Merge(&o.Response)
	a.Service.Merge(&o.Service)
	a.Delay.Merge(&o.Delay)
	a.Queue.Merge(&o.Queue)
	a.Fetch.Merge(&o.Fetch)
	a.Run.Merge(&o.Run)
	a.Upload.Merge(&o.Upload)
	a.Overhead.Merge(&o.Overhead)
}

func mergeError(into, e *Error) {
	count := into.Count + e.Count
	if into.Count == 0 || e.First.Before(into.First) {
		last := into.Last
		*into = *e
		if last.After(into.Last) {
			into.Last = last
		}
	} else if e.Last.After(into.Last) {
		into.Last = e.Last
	}
	into.Count = count
}

func (b *Builds) merge(o *Builds) {
	b.BuildCounts.merge(&o.BuildCounts)
	b.Dropped += o.Dropped
	for i := range o.Streams {
		of := &o.Streams[i]
		at := slices.IndexFunc(b.Streams, func(s StreamBuilds) bool { return s.Stream == of.Stream })
		if at < 0 {
			at = len(b.Streams)
			b.Streams = append(b.Streams, StreamBuilds{Stream: of.Stream})
		}
		b.Streams[at].merge(&of.BuildCounts)
	}
	for _, build := range o.Longest {
		b.keep(build)
	}
}

func (c *BuildCounts) merge(o *BuildCounts) {
	c.Count += o.Count
	c.Failed += o.Failed
	c.Cancelled += o.Cancelled
	c.Makespan.Merge(&o.Makespan)
	c.Slowdown.Merge(&o.Slowdown)
}

// merge keeps the worst: each generator must have been well.
func (g *Generator) merge(o *Generator) {
	g.CPUs += o.CPUs
	g.CPUMean, g.CPUMax = max(g.CPUMean, o.CPUMean), max(g.CPUMax, o.CPUMax)
	g.MachineMax = max(g.MachineMax, o.MachineMax)
	g.GCPause, g.HeapMax = max(g.GCPause, o.GCPause), max(g.HeapMax, o.HeapMax)
	g.SharesMachine = g.SharesMachine || o.SharesMachine
}
