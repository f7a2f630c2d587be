package workload

import (
	"slices"
	"time"
)

// A Plan is a stream under a seed: what all its builds have in common, worked out once. It
// draws builds faster than [Stream.Build], and into memory that is used again. It isn't
// safe for concurrent use.
type Plan struct {
	stream *Stream
	base   uint64
	graph  *graph  // of the layers, once it is needed
	places []place // of its actions
	edits  []edit  // of the first layer's sources
}

// place is what an action of the layers has in all builds.
type place struct {
	seed uint64 // of what is drawn for it
	key  Key    // as far as it doesn't depend on the build
}

// graph is which actions wait for which.
type graph struct {
	deps    [][]int // of layers
	waiting []int32 // by action: how many it waits for
	from    []int   // by action: where in after that begins which waits for it, and, last, its end
	after   []int32
}

// edit is what is known of a source: that of the versions up to At the last one in which
// it was edited is Last.
type edit struct{ at, last int }

// Plan returns the plan of a seed.
func (s *Stream) Plan(seed uint64) *Plan {
	return &Plan{stream: s, base: mix(seed, name(s.Name))}
}

// Draw makes b the build of a number, from 0, without the Inputs of its actions. Memory that
// b has is used again, so that no earlier build drawn into it may be in use.
func (p *Plan) Draw(number int, b *Build) {
	s := p.stream
	version := number
	if s.Herd {
		version = 0
	}
	*b = Build{Stream: s.Name, Number: number, Jobs: s.Jobs, KeepGoing: s.KeepGoing, Actions: b.Actions[:0], own: b.own}
	if s.Cancel > 0 {
		r := source(mix(p.base, ofCancel, uint64(number)))
		if r.Unit() < s.Cancel {
			b.CancelAfter = max(1, time.Duration(r.Unit()*float64(s.Patience)))
		}
	}
	if len(s.Tape) > 0 {
		tape := version % len(s.Tape)
		if s.TapeJobs != nil {
			b.Jobs = s.TapeJobs[tape]
		}
		if s.TapeGroups != nil {
			b.Group = s.TapeGroups[tape]
		}
		for i := range s.Tape[tape] {
			b.Actions = append(b.Actions, s.recorded(p.base, tape, i))
		}
		// It is drawn once, as a rule: its graph isn't kept.
		b.graph, b.alone = &b.own, true
		b.graph.make(len(b.Actions), func(i int) []int { return b.Actions[i].Deps })
		return
	}
	b.graph = p.layers()
	b.Actions = slices.Grow(b.Actions, len(p.places))[:len(p.places)]
	n := 0
	for l := range s.Layers {
		for i := range s.Layers[l].Actions {
			p.draw(&b.Actions[n], version, l, i, b.Actions[:n])
			n++
		}
	}
}

// Unshare makes b, which was copied from another build by an assignment, share nothing with
// that one which Draw changes.
func (b *Build) Unshare() {
	b.Actions = slices.Clone(b.Actions)
	b.own = graph{b.own.deps, slices.Clone(b.own.waiting), slices.Clone(b.own.from), slices.Clone(b.own.after)}
	if b.alone {
		b.graph = &b.own
	}
}

// Inputs appends the files that an action reads beside the outputs it depends on.
func (p *Plan) Inputs(a *Action, files []Blob) []Blob { return p.stream.inputs(p.base, a, files) }

// draw makes a action i of a layer, whose dependencies are among done.
func (p *Plan) draw(a *Action, version, l, i int, done []Action) {
	s := p.stream
	layer := &s.Layers[l]
	class := &s.Classes[layer.Class]
	place := &p.places[len(done)]
	*a = Action{Class: layer.Class, Priority: s.Priority + class.Priority, Deps: p.graph.deps[len(done)], Key: place.key}
	if !s.Incremental {
		a.Key = a.Key.with(uint64(version))
	} else if l == 0 {
		a.Key = a.Key.with(p.edited(place.seed, i, version))
	}
	for _, d := range a.Deps {
		a.Key = a.Key.with(done[d].Key.Hi).with(done[d].Key.Lo)
	}
	if class.HitRate > 0 {
		r := source(mix(place.seed, ofWarm, uint64(version)))
		if r.Unit() < class.HitRate {
			a.Warm = true
			n := r.below(warmPool)
			a.Key = Key{mix(p.base, ofWarm, uint64(layer.Class), n), mix(p.base, ofWarm, uint64(layer.Class), n, 1)}
		}
	}
	s.fill(class, a)
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
		if source(mix(place, ofSource, 2, uint64(v))).Unit() < p.stream.Edit {
			last = v
			break
		}
	}
	*known = edit{version, last}
	return uint64(last)
}

// layers returns the graph of the layers: that of the stream, since builds of one
// repository have the same. It makes places, too.
func (p *Plan) layers() *graph {
	if p.graph == nil {
		for l := range p.stream.Layers {
			for i := range p.stream.Layers[l].Actions {
				seed := mix(p.base, uint64(l), uint64(i))
				p.places = append(p.places, place{seed, Key{mix(seed, ofSource), mix(seed, ofSource, 1)}})
			}
		}
		deps := p.layered()
		p.graph = &graph{deps: deps}
		p.graph.make(len(deps), func(i int) []int { return deps[i] })
	}
	return p.graph
}

// layered draws what the actions of layers depend on.
func (p *Plan) layered() (deps [][]int) {
	before := [2]int{} // the layer before, as a range of actions
	for l := range p.stream.Layers {
		layer := &p.stream.Layers[l]
		for range layer.Actions {
			var on []int
			if l > 0 && before[1] > before[0] {
				seed := p.places[len(deps)].seed
				on = pick(source(mix(seed, ofGraph)), before, int(layer.FanIn.sample(source(mix(seed, ofGraph, 1)))))
			}
			deps = append(deps, on)
		}
		before = [2]int{len(deps) - layer.Actions, len(deps)}
	}
	return deps
}

// make makes g the graph of n actions, in memory that is there if it is enough.
func (g *graph) make(n int, deps func(action int) []int) {
	g.waiting = append(g.waiting[:0], make([]int32, n)...)
	g.from = append(g.from[:0], make([]int, n+2)...)
	total := 0
	for i := range n {
		on := deps(i)
		g.waiting[i] = int32(len(on))
		total += len(on)
		for _, d := range on {
			g.from[d+2]++
		}
	}
	for i := range n {
		g.from[i+2] += g.from[i+1]
	}
	g.after = append(g.after[:0], make([]int32, total)...)
	for i := range n {
		for _, d := range deps(i) {
			g.after[g.from[d+1]] = int32(i)
			g.from[d+1]++ // in the end it is where the next one's begins
		}
	}
}
