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
	seed  uint64 // of what is drawn for it
	key   Key    // as far as it doesn't depend on the build
	mixed Key    // key.mixed
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
	for l, n := 0, 0; l < len(s.Layers); l++ {
		for i := range s.Layers[l].Actions {
			p.draw(b.Actions, n, version, l, i)
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

// draw makes the action at n, which is i of a layer. Its dependencies are before it.
func (p *Plan) draw(actions []Action, n, version, l, i int) {
	s := p.stream
	class := &s.Classes[s.Layers[l].Class]
	place, deps := &p.places[n], p.graph.deps[n]
	key := place.key
	if !s.Incremental {
		key = place.mixed.and(mixed(uint64(version)))
	} else if l == 0 {
		key = place.mixed.and(mixed(p.edited(place.seed, i, version)))
	}
	for _, d := range deps {
		on := &actions[d].Key
		key = key.with(on.Hi).with(on.Lo)
	}
	warm := false
	if class.HitRate > 0 {
		r := source(mix(place.seed, ofWarm, uint64(version)))
		if r.Unit() < class.HitRate {
			warm = true
			n := r.below(warmPool)
			key = Key{mix(p.base, ofWarm, uint64(s.Layers[l].Class), n), mix(p.base, ofWarm, uint64(s.Layers[l].Class), n, 1)}
		}
	}
	// Part by part: a literal would be made elsewhere and copied.
	a := &actions[n]
	*a = Action{}
	a.Key, a.Class, a.Deps, a.Priority, a.Warm = key, s.Layers[l].Class, deps, s.Priority+class.Priority, warm
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
				key := Key{mix(seed, ofSource), mix(seed, ofSource, 1)}
				p.places = append(p.places, place{seed, key, key.mixed()})
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
