package observe

import (
	"strconv"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// Shares keeps when the attempts of each stream waited and when they held workers, and says
// how fairly those were shared. It cuts time into at most maxShares intervals, which get
// longer as a run does: an attempt costs the same however long it waits.
type Shares struct {
	deaf
	streams []string
	cells   []shareCell
	of      [][]int // by stream and class: the cell
	from    des.Time
	width   des.Time
	last    des.Time
}

// shareCell is a stream and the kinds of workers that can serve it.
type shareCell struct {
	stream, workers int
	waited, worked  covered
	work            float64
}

// maxShares bounds the intervals: of a day they are of two minutes at most.
const maxShares = 1024

// NewShares returns an observer of a run of a scenario, to which nothing matters that was before
// a time.
func NewShares(s *scenario.Scenario, from des.Time) *Shares {
	f := &Shares{from: from, width: firstWidth}
	sets := make(map[string]int) // of kinds of workers
	for i := range s.Demand {
		d := &s.Demand[i]
		f.streams = append(f.streams, d.Name)
		own := make(map[int]int) // of this stream, by set
		var cells []int
		for c := range d.Classes {
			name := serving(s.Cluster, d.Classes[c].Platform)
			set, ok := sets[name]
			if !ok {
				set = len(sets)
				sets[name] = set
			}
			cell, ok := own[set]
			if !ok {
				cell = len(f.cells)
				own[set] = cell
				f.cells = append(f.cells, shareCell{stream: i, workers: set})
			}
			cells = append(cells, cell)
		}
		f.of = append(f.of, cells)
	}
	return f
}

// serving names the kinds of workers that serve a platform. Platforms that the same ones serve
// are one here: who asks for anything and who asks for Linux wait for each other, if all
// workers run Linux.
func serving(c *scenario.Cluster, platform map[string]string) string {
	var name []byte
	for i := range c.Workers {
		if c.Workers[i].Serves(platform) {
			name = strconv.AppendInt(append(name, ' '), int64(i), 10)
		}
	}
	return string(name)
}

// Attempt is of model.Observer.
func (f *Shares) Attempt(a *model.Attempt) {
	queued, leased, end := max(a.Queued, f.from), max(a.Leased, f.from), max(a.End, f.from)
	f.until(end)
	c := &f.cells[f.of[a.Stream][a.Class]]
	c.waited.add(queued, leased, f.width)
	c.worked.add(leased, end, f.width)
	c.work += float64(end - leased)
}

// Action is of model.Observer. What ended without ever getting a worker has waited, too. Of
// several that waited for one task, the first that asked counts.
func (f *Shares) Action(a *model.Action) {
	leased := a.Leased > 0 || a.Attempts > len(a.Lost) // that may have been at 0
	first := a.Asker == model.Asker{Stream: a.Stream, Build: a.Build, Index: a.Index}
	if a.Task == 0 || leased || !first || a.Ended != model.Errored && a.Ended != model.Stopped {
		return
	}
	waited, end := max(a.Waited, f.from), max(a.End, f.from)
	f.until(end)
	f.cells[f.of[a.Stream][a.Class]].waited.add(waited, end, f.width)
}

// until makes intervals longer until they reach a time.
func (f *Shares) until(t des.Time) {
	f.last = max(f.last, t)
	for f.last/f.width >= maxShares {
		for i := range f.cells {
			f.cells[i].waited.double(f.width)
			f.cells[i].worked.double(f.width)
		}
		f.width *= 2
	}
}

// Fairness is what came of it; nil unless there are several streams.
func (f *Shares) Fairness() *result.Fairness {
	if len(f.streams) < 2 {
		return nil
	}
	out := &result.Fairness{Resolution: time.Duration(f.width), Streams: make([]result.StreamShare, len(f.streams))}
	waited, worked := make([][]float64, len(f.cells)), make([][]float64, len(f.cells))
	var all float64
	sets := 0
	for i := range f.cells {
		c := &f.cells[i]
		waited[i], worked[i] = c.waited.levels(f.width), c.worked.levels(f.width)
		out.Streams[c.stream].Work += time.Duration(c.work)
		all += c.work
		sets = max(sets, c.workers+1)
	}
	got, even := make([]float64, len(f.streams)), make([]float64, len(f.streams))
	beside := make([]bool, len(f.streams))
	for t := range int(f.last/f.width) + 1 {
		clear(beside)
		contended := false
		for set := range sets {
			n, held := 0, 0.0
			waits := func(i int) bool { return f.cells[i].workers == set && at(waited[i], t) >= 1 }
			for i := range f.cells {
				if waits(i) {
					n, held = n+1, held+at(worked[i], t)
				}
			}
			if n < 2 || held == 0 { // with nothing among them, others have it all
				continue
			}
			contended = true
			for i := range f.cells {
				if waits(i) {
					s := f.cells[i].stream
					beside[s] = true
					got[s] += at(worked[i], t)
					even[s] += held / float64(n)
				}
			}
		}
		if contended {
			out.Contended += time.Duration(f.width)
		}
		for s, is := range beside {
			if is {
				out.Streams[s].Contended += time.Duration(f.width)
			}
		}
	}
	var sum, squares, n float64
	for i := range out.Streams {
		s := &out.Streams[i]
		s.Stream = f.streams[i]
		if all > 0 {
			s.Share = float64(s.Work) / all
		}
		if even[i] > 0 {
			s.OfEven = got[i] / even[i]
			sum, squares, n = sum+s.OfEven, squares+float64(s.OfEven*s.OfEven), n+1
		}
	}
	if squares > 0 {
		out.Jain = float64(sum*sum) / float64(n*squares)
	}
	return out
}

// at is 0 beyond the end.
func at(levels []float64, i int) float64 {
	if i < len(levels) {
		return levels[i]
	}
	return 0
}

// covered is how many spans of time cover each interval: part is how long some cover a part of
// it, for those that begin or end there, and step by how many more cover all of it than of the
// one before.
type covered struct {
	part []float64
	step []int64
}

func (s *covered) add(from, to, width des.Time) {
	if to <= from {
		return
	}
	i, j := int(from/width), int(to/width)
	for len(s.part) <= j+1 {
		s.part, s.step = append(s.part, 0), append(s.step, 0)
	}
	if i == j {
		s.part[i] += float64(to - from)
		return
	}
	s.part[i] += float64(des.Time(i+1)*width - from)
	s.part[j] += float64(to - des.Time(j)*width)
	s.step[i+1]++
	s.step[j]--
}

// levels are how many spans cover each interval, in the mean.
func (s *covered) levels(width des.Time) []float64 {
	out := make([]float64, len(s.part))
	whole := int64(0)
	for i, part := range s.part {
		whole += s.step[i]
		out[i] = float64(whole) + part/float64(width)
	}
	return out
}

// double makes one interval of two: what covers one of them only becomes a part.
func (s *covered) double(width des.Time) {
	if len(s.part)%2 == 1 {
		s.part, s.step = append(s.part, 0), append(s.step, 0)
	}
	before, whole := int64(0), int64(0)
	for i := range len(s.part) / 2 {
		first := whole + s.step[2*i]
		second := first + s.step[2*i+1]
		both := min(first, second)
		s.part[i] = s.part[2*i] + s.part[2*i+1] + float64(float64(first+second-2*both)*float64(width))
		s.step[i], before, whole = both-before, both, second
	}
	s.part, s.step = s.part[:len(s.part)/2], s.step[:len(s.step)/2]
}
