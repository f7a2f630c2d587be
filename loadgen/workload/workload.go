// Package workload is what clients ask of a cluster, from a seed: when builds arrive,
// which actions they consist of and in which order these can run, what is read and
// written, and every byte of it.
//
// The load generator makes it real and the simulator makes it virtual; both see the
// same builds, since nothing here knows of clocks, files or servers. Everything is a
// function of the seed and of names and numbers: build 17 of the stream "ci" is the same
// whether or not build 16 was ever made, and adding a stream changes no other.
//
//	builds := workload.Stream{Name: "ci", Arrivals: workload.Poisson(0.5), Graph: graph, Classes: classes}
//	arrivals := builds.Times(seed)
//	at, ok := arrivals()
//	build := builds.Build(seed, 0)
//
// Builds arrive in an open loop, requests within one are bounded by its jobs and ordered
// by its graph: the partly-open model of Schroeder, Wierman and Harchol-Balter (NSDI
// '06), which real builds are the textbook case of.
package workload

import (
	"time"
)

// A Stream is a source of builds that are alike.
type Stream struct {
	Name     string
	Arrivals Arrivals
	// Layers are the graph: each action depends on some of the layer before.
	Layers []Layer
	// Classes are the kinds of actions; a Layer names one by its index.
	Classes []Class
	// Jobs is how many actions of a build may be under way at a time.
	Jobs int
	// Incremental has each build be one of the same repository, in which a share Edit of
	// the first layer's sources has been edited since the one before. Otherwise every
	// build is new.
	Incremental bool
	Edit        float64
	// Cancel is the share of builds whose user gives up, at some moment within Patience.
	Cancel   float64
	Patience time.Duration
	// KeepGoing has a build go on with what doesn't need the action that failed.
	KeepGoing bool
	Priority  int32
	// Shared are the files that actions of all builds have in common.
	Shared Corpus
	// Herd has all builds of the stream be the same one, as when many ask for one thing.
	Herd bool
	// Tape are the builds, one after the other, if they are known instead of drawn: Layers
	// and what of Classes is drawn are ignored then. After the last comes the first again.
	Tape [][]Recorded
	// TapeJobs are the jobs of each build of the Tape; nil if all have Jobs.
	TapeJobs []int
	// TapeGroups are numbers of which builds of the Tape are of one pipeline, say: those
	// with an equal one, counted from 1; nil if all are. Only a simulator goes by it.
	TapeGroups []uint32
}

// Recorded is an action that was recorded once, and is done again.
type Recorded struct {
	Class int
	// After are the actions it waits for, by their indices, which are smaller.
	After    []int
	Duration time.Duration
	Output   int64
	// Hit has its result be in the cache, Fails has its command fail.
	Hit, Fails bool

	// What a simulator goes by only.

	// Pause is how long after the end of what it waits for, or after the begin of its
	// build, it begins: what the client did in between.
	Pause time.Duration
	// Expected is how long the scheduler guessed that it would take; 0 if it is to know
	// Duration.
	Expected time.Duration
	// Affinity is equal, and not 0, for actions that are better run by the same worker.
	Affinity uint64
	// Twin is equal, and not 0, for actions that are the same one, in whatever builds and
	// streams.
	Twin uint64
}

// A Layer is actions that depend on the layer before.
type Layer struct {
	Class   int
	Actions int
	// FanIn is how many of the layer before each depends on; ignored in the first.
	FanIn Dist
}

// A Class is a kind of action.
type Class struct {
	Name     string
	Mnemonic string
	// Duration of the command, in nanoseconds.
	Duration Dist
	// InputFiles is how many files an action reads beside the outputs it depends on,
	// InputBytes how large one is. OutputBytes is the size of its output.
	InputFiles, InputBytes, OutputBytes Dist
	// SharedInputs is the share of the files that come from the stream's Shared.
	SharedInputs float64
	// HitRate is the share of actions whose result is in the cache before the run.
	HitRate float64
	// FailureRate is the share of actions whose command fails.
	FailureRate float64
	// Platform is what the action asks of a worker.
	Platform map[string]string
	// Larger is what it asks for instead once it has turned out too large for workers of
	// Platform, as the share Outgrows of all actions does; nil if there is no such. Only a
	// simulator goes by it.
	Larger   map[string]string
	Outgrows float64
	Priority int32
}

// A Key is an action's identity: what its inputs, its command and those of everything it
// depends on come to. Equal keys are one action, for caches and for merging in flight.
type Key struct{ Hi, Lo uint64 }

// A Build is what one invocation of a build tool asks for.
type Build struct {
	Stream string
	Number int
	Jobs   int
	// CancelAfter is when its user gives up, counted from its start; 0 is never.
	CancelAfter time.Duration
	KeepGoing   bool
	// Group is that of a build of a tape, 0 otherwise.
	Group uint32
	// Actions are in an order in which they could run: what one depends on is before it.
	Actions []Action
	graph   *graph // of them; nil if it wasn't drawn
	own     graph  // of recorded ones
	alone   bool   // graph is own
}

// An Action is one command.
type Action struct {
	Key   Key
	Class int
	// Deps are the indices of the actions it waits for and, unless it is Warm, whose
	// outputs it reads; ascending, or as the tape has them. Builds share them: they are
	// only read.
	Deps     []int
	Duration time.Duration
	Inputs   []Blob
	Output   Blob
	Priority int32
	// Pause, Expected and Affinity are those of a [Recorded] action, 0 otherwise.
	Pause, Expected time.Duration
	Affinity        uint64
	// Warm has its result be in the cache before the run.
	Warm bool
	// Fails has its command exit with another code than 0.
	Fails bool
	// Outgrows has it be too large for workers of its class's Platform.
	Outgrows bool
}

// warmPool is how many warm actions of a class there are. A cache that's of use holds the
// same actions for many builds; some hundreds are enough that no single one is hot.
const warmPool = 256

// Streams of randomness of a build, by name, so that one more draw here moves none there.
const (
	ofGraph = iota
	ofSource
	ofClass
	ofInputs
	ofWarm
	ofCancel
	ofOutput
	ofFailure
	ofTwin
	ofOutgrowing
)

// Times returns the moments at which builds of the stream arrive, ascending from 0, until
// ok is false; a stream without an end never says so.
func (s *Stream) Times(seed uint64) func() (at time.Duration, ok bool) {
	return s.Arrivals.Times(source(mix(seed, name(s.Name), name("arrivals"))))
}

// Build returns the build of a number, from 0.
func (s *Stream) Build(seed uint64, number int) *Build {
	p, b := s.Plan(seed), new(Build)
	p.Draw(number, b)
	for i := range b.Actions {
		b.Actions[i].Inputs = p.Inputs(&b.Actions[i], make([]Blob, 0))
	}
	return b
}

// recorded makes action i of a build of the tape.
func (s *Stream) recorded(base uint64, build, i int) Action {
	t := &s.Tape[build][i]
	place := mix(base, uint64(build), uint64(i))
	if t.Twin != 0 {
		place = mix(ofTwin, t.Twin)
	}
	return Action{
		Key: Key{mix(place, ofSource), mix(place, ofSource, 1)}, Class: t.Class, Deps: t.After, Duration: t.Duration,
		Output: Blob{Seed: mix(place, ofOutput), Size: t.Output}, Priority: s.Priority + s.Classes[t.Class].Priority,
		Warm: t.Hit, Fails: t.Fails, Pause: t.Pause, Expected: t.Expected, Affinity: t.Affinity,
	}
}

// recordedInput is the size of the file that stands for a recorded action's inputs: what
// they were is unknown, so that each has one of its own, for its key.
const recordedInput = 64

// fill draws what follows from an action's key, so that equal keys are equal actions.
func (s *Stream) fill(class *Class, a *Action) {
	key := mixIn(mixed(a.Key.Hi), a.Key.Lo)
	r := source(mixIn(key, ofClass))
	a.Duration = time.Duration(class.Duration.sample(r))
	a.Fails = !a.Warm && class.FailureRate > 0 && source(mix(a.Key.Hi, ofFailure)).Unit() < class.FailureRate
	a.Outgrows = !a.Warm && class.Outgrows > 0 && source(mix(a.Key.Hi, ofOutgrowing)).Unit() < class.Outgrows
	a.Output = Blob{Seed: mixIn(key, ofOutput), Size: int64(class.OutputBytes.sample(r))}
}

// inputs appends the files that an action reads beside the outputs it depends on.
func (s *Stream) inputs(base uint64, a *Action, files []Blob) []Blob {
	if len(s.Tape) > 0 {
		return append(files, Blob{Seed: mix(a.Output.Seed, ofInputs), Size: recordedInput})
	}
	class := &s.Classes[a.Class]
	seed := mix(a.Key.Hi, a.Key.Lo, ofInputs)
	in := source(seed)
	for f := range int(class.InputFiles.sample(in)) {
		// The first is the action's own source, which makes its key what it is.
		if f > 0 && s.Shared.Blobs > 0 && in.Unit() < class.SharedInputs {
			files = append(files, s.Shared.Pick(base, in))
			continue
		}
		files = append(files, Blob{
			Seed: mixIn(seed, uint64(f)), Size: int64(class.InputBytes.sample(in)), Ratio: s.Shared.Ratio,
		})
	}
	return files
}

// pick returns n of a range's indices, ascending, or all of them.
func pick(r *Rand, among [2]int, n int) []int {
	size := among[1] - among[0]
	n = min(max(n, 1), size)
	chosen := make(map[int]bool, n)
	// Floyd's: each subset is equally likely, and n draws do.
	for j := size - n; j < size; j++ {
		t := int(r.below(uint64(j + 1)))
		if chosen[t] {
			t = j
		}
		chosen[t] = true
	}
	picked := make([]int, 0, n)
	for i := range size {
		if chosen[i] {
			picked = append(picked, among[0]+i)
		}
	}
	return picked
}

// WarmActions returns the actions of a class that have to be in the cache before the run.
func (s *Stream) WarmActions(seed uint64) []Action {
	base := mix(seed, name(s.Name))
	var all []Action
	for build := range s.Tape {
		for i := range s.Tape[build] {
			if a := s.recorded(base, build, i); a.Warm {
				a.Inputs = s.inputs(base, &a, nil)
				all = append(all, a)
			}
		}
	}
	used := make(map[int]bool)
	for _, layer := range s.Layers {
		class := &s.Classes[layer.Class]
		if class.HitRate <= 0 || used[layer.Class] {
			continue
		}
		used[layer.Class] = true
		for n := range uint64(warmPool) {
			a := Action{Class: layer.Class, Priority: s.Priority + class.Priority, Warm: true}
			a.Key = Key{mix(base, ofWarm, uint64(layer.Class), n), mix(base, ofWarm, uint64(layer.Class), n, 1)}
			s.fill(class, &a)
			a.Inputs = s.inputs(base, &a, make([]Blob, 0))
			all = append(all, a)
		}
	}
	return all
}

// with is the key of what follows from k and a number.
func (k Key) with(number uint64) Key { return k.mixed().and(mixed(number)) }

// mixed is what with makes of k alone, and and is the rest, with a number that is mixed too.
func (k Key) mixed() Key { return Key{mixed(k.Hi), mixed(k.Lo)} }

func (k Key) and(number uint64) Key {
	return Key{scramble(k.Hi^number) + golden, mixIn(scramble(k.Lo^number)+golden, 1)}
}
