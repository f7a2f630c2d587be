package workload

import "time"

// A Plan is a stream under a seed: what all its builds have in common, worked out once. It
// draws builds faster than [Stream.Build], and into memory that is used again. It isn't
// safe for concurrent use.
type Plan struct {
	stream *Stream
	base   uint64
	graphs []*graph // of the layers, one; else of each recorded build, once it is needed
	edits  []edit   // of the first layer's sources
}

// graph is which actions wait for which.
type graph struct {
	deps    [][]int
	after   [][]int // by action: what waits for it
	waiting []int32 // by action: how many it waits for
}

// edit is what is known of a source: that of the versions up to At the last one in which
// it was edited is Last.
type edit struct{ at, last int }

// Plan returns the plan of a seed.
func (s *Stream) Plan(seed uint64) *Plan {
	return &Plan{stream: s, base: mix(seed, name(s.Name)), graphs: make([]*graph, max(1, len(s.Tape)))}
}

// Draw makes b the build of a number, from 0, without the Inputs of its actions. Memory that
// b has is used again, so that no earlier build drawn into it may be in use.
func (p *Plan) Draw(number int, b *Build) {
	s := p.stream
	version := number
	if s.Herd {
		version = 0
	}
	*b = Build{Stream: s.Name, Number: number, Jobs: s.Jobs, KeepGoing: s.KeepGoing, Actions: b.Actions[:0]}
	if s.Cancel > 0 {
		r := source(mix(p.base, ofCancel, uint64(number)))
		if r.unit() < s.Cancel {
			b.CancelAfter = max(1, time.Duration(r.unit()*float64(s.Patience)))
		}
	}
	if len(s.Tape) > 0 {
		tape := version % len(s.Tape)
		b.graph = p.graph(tape)
		for i := range s.Tape[tape] {
			b.Actions = append(b.Actions, s.recorded(p.base, tape, i))
		}
		return
	}
	b.graph = p.graph(0)
	for l := range s.Layers {
		for i := range s.Layers[l].Actions {
			b.Actions = append(b.Actions, p.action(version, l, i, b.Actions))
		}
	}
}

// Inputs appends the files that an action reads beside the outputs it depends on.
func (p *Plan) Inputs(a *Action, files []Blob) []Blob { return p.stream.inputs(p.base, a, files) }

// action makes action i of a layer, whose dependencies are among done.
func (p *Plan) action(version, l, i int, done []Action) Action {
	s := p.stream
	layer := &s.Layers[l]
	class := &s.Classes[layer.Class]
	a := Action{Class: layer.Class, Priority: s.Priority + class.Priority, Deps: p.graphs[0].deps[len(done)]}
	place := mix(p.base, uint64(l), uint64(i))
	a.Key = Key{mix(place, ofSource), mix(place, ofSource, 1)}
	if !s.Incremental {
		a.Key = a.Key.with(uint64(version))
	} else if l == 0 {
		a.Key = a.Key.with(p.edited(place, i, version))
	}
	for _, d := range a.Deps {
		a.Key = a.Key.with(done[d].Key.Hi).with(done[d].Key.Lo)
	}
	if class.HitRate > 0 {
		r := source(mix(place, ofWarm, uint64(version)))
		if r.unit() < class.HitRate {
			a.Warm = true
			n := r.below(warmPool)
			a.Key = Key{mix(p.base, ofWarm, uint64(layer.Class), n), mix(p.base, ofWarm, uint64(layer.Class), n, 1)}
		}
	}
	s.fill(class, &a)
	return a
}

// edited returns the last version, up to one, in which the first layer's source i was
// edited. It looks at one version after another, back to the last at which it looked.
func (p *Plan) edited(place uint64, i, version int) uint64 {
	for i >= len(p.edits) {
		p.edits = append(p.edits, edit{})
	}
	known := &p.edits[i]
	last, until := known.last, known.at
	if version < until {
		last, until = 0, 0
	}
	for v := version; v > until; v-- {
		if source(mix(place, ofSource, 2, uint64(v))).unit() < p.stream.Edit {
			last = v
			break
		}
	}
	*known = edit{version, last}
	return uint64(last)
}

// graph returns the graph of the layers, or of a recorded build: that of the stream, since
// builds of one repository have the same.
func (p *Plan) graph(of int) *graph {
	if p.graphs[of] == nil {
		if s := p.stream; len(s.Tape) > 0 {
			deps := make([][]int, len(s.Tape[of]))
			for i := range deps {
				deps[i] = s.Tape[of][i].After
			}
			p.graphs[of] = newGraph(deps)
		} else {
			p.graphs[of] = newGraph(p.layered())
		}
	}
	return p.graphs[of]
}

// layered draws what the actions of layers depend on.
func (p *Plan) layered() (deps [][]int) {
	before := [2]int{} // the layer before, as a range of actions
	for l := range p.stream.Layers {
		layer := &p.stream.Layers[l]
		for i := range layer.Actions {
			var on []int
			if l > 0 && before[1] > before[0] {
				place := mix(p.base, uint64(l), uint64(i))
				on = pick(source(mix(place, ofGraph)), before, int(layer.FanIn.sample(source(mix(place, ofGraph, 1)))))
			}
			deps = append(deps, on)
		}
		before = [2]int{len(deps) - layer.Actions, len(deps)}
	}
	return deps
}

func newGraph(deps [][]int) *graph {
	g := &graph{deps: deps, after: make([][]int, len(deps)), waiting: make([]int32, len(deps))}
	for i, on := range deps {
		g.waiting[i] = int32(len(on))
		for _, d := range on {
			g.after[d] = append(g.after[d], i)
		}
	}
	return g
}
