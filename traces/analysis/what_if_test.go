package analysis_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/lifecycle"
)

// a job is an action of a made-up build, in milliseconds.
type job struct {
	needs       []int // jobs before it in the list
	gap         int   // of the client, after the last of these has ended
	hold, after int   // on a slot, and from there to the action's end
}

// schedule runs jobs on slots, oldest first, millisecond by millisecond, and
// returns when each was released, got its slot and ended. It is slow and obvious.
func schedule(jobs []job, slots int) (released, leased, ended []int) {
	n := len(jobs)
	released, leased, ended = filled(n), filled(n), filled(n)
	for t, left := 0, n; left > 0; t++ {
		for again := true; again; { // all that happens at t, before slots are given away
			again = false
			for i, j := range jobs {
				if leased[i] >= 0 && ended[i] < 0 && leased[i]+j.hold+j.after == t || released[i] == t && j.hold == 0 && ended[i] < 0 && j.after == 0 {
					ended[i], again = t, true
					left--
				}
				if released[i] < 0 {
					ready := j.gap
					for _, k := range j.needs {
						if ended[k] < 0 {
							ready = -1
							break
						}
						ready = max(ready, ended[k]+j.gap)
					}
					if ready >= 0 && ready <= t {
						released[i], again = t, true
					}
				}
			}
		}
		for {
			busy, next := 0, -1
			for i, j := range jobs {
				if leased[i] >= 0 && t < leased[i]+j.hold {
					busy++
				}
				if released[i] >= 0 && leased[i] < 0 && j.hold > 0 && (next < 0 || released[i] < released[next]) {
					next = i
				}
			}
			if busy == slots || next < 0 {
				break
			}
			leased[next] = t
		}
	}
	return released, leased, ended
}

func filled(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = -1
	}
	return list
}

func latest(times []int) int {
	most := 0
	for _, t := range times {
		most = max(most, t)
	}
	return most
}

// recordOf makes the trace of a schedule, with so much time after the last action.
func recordOf(t testing.TB, jobs []job, released, leased, ended []int, tail int) *lifecycle.Tree {
	s := &script{end: latest(ended) + tail}
	for i, j := range jobs {
		target := fmt.Sprintf("//%d", i)
		if j.hold == 0 {
			s.hit("Genrule", target, released[i], ended[i])
			continue
		}
		left := leased[i] + j.hold
		s.ran("Genrule", target, "w", released[i], leased[i], leased[i], leased[i], left, left, left)
		s.actions[i].Done = at(ended[i])
	}
	return s.tree(t)
}

func randomJobs(r *rand.Rand) []job {
	jobs := make([]job, 1+r.IntN(12))
	for i := range jobs {
		j := job{gap: r.IntN(4), hold: 1 + r.IntN(20), after: r.IntN(3)}
		if r.IntN(8) == 0 {
			j.hold, j.after = 0, 0 // cached
		}
		for k := range i {
			if r.IntN(4) == 0 {
				j.needs = append(j.needs, k)
			}
		}
		jobs[i] = j
	}
	return jobs
}

// inferred returns the jobs in the order of their release, with the edges that
// their times allow: each needs all that had ended when it was released.
func inferred(jobs []job, released, ended []int) []job {
	order := make([]int, len(jobs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int { return cmp.Compare(released[i], released[k]) })
	list := make([]job, len(jobs))
	for at, i := range order {
		j := jobs[i]
		j.needs, j.gap = nil, released[i]
		for other, k := range order {
			// Of two cached ones that took no time at one time, the second needs the first.
			tied := ended[i] == released[i] && released[k] == released[i] && ended[k] == ended[i]
			if k != i && ended[k] <= released[i] && !(tied && other > at) {
				j.needs = append(j.needs, other)
				j.gap = min(j.gap, released[i]-ended[k])
			}
		}
		list[at] = j
	}
	return list
}

func TestPredictionIsTheListScheduleOfWhatTimesAllow(t *testing.T) {
	compared := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		jobs, slots := randomJobs(r), 1+r.IntN(4)
		released, leased, ended := schedule(jobs, slots)
		tree := recordOf(t, jobs, released, leased, ended, 5)
		m := analysis.NewModel(tree, analysis.Actions(tree))
		recorded := latest(ended) + 5

		// The same number of slots gives what was recorded.
		if got := time.Duration(m.Predict(slots).Total); got != ms(recorded) {
			t.Errorf("seed %d: %d slots as recorded: got %v, want %v", seed, slots, got, ms(recorded))
		}
		if m.Slots() > slots {
			t.Errorf("seed %d: got %d slots in use, there were %d", seed, m.Slots(), slots)
		}
		twin := inferred(jobs, released, ended)
		for n := 1; n <= 6; n++ {
			p := m.Predict(n)
			if p.Total < p.AtLeast || p.Total > p.AtMost {
				t.Errorf("seed %d: %d slots: %v is not within %v and %v", seed, n, p.Total, p.AtLeast, p.AtMost)
			}
			if unlimited := m.Predict(0); p.AtLeast < unlimited.Total || unlimited.Total != unlimited.AtMost {
				t.Errorf("seed %d: %d slots take at least %v, unlimited ones %v", seed, n, p.AtLeast, unlimited)
			}
			if tied(released) {
				continue // who of them goes first elsewhere is the twin's choice
			}
			compared++
			_, _, ends := schedule(twin, n)
			if got, want := time.Duration(p.Total), ms(latest(ends)+5); got != want {
				t.Errorf("seed %d: %d slots: got %v, want %v", seed, n, got, want)
			}
		}
	}
	if compared < 500 {
		t.Errorf("only %d predictions were compared", compared)
	}
}

// tied reports whether two jobs were released at one time.
func tied(released []int) bool {
	sorted := slices.Sorted(slices.Values(released))
	return len(slices.Compact(sorted)) < len(released)
}

// Hand-computed: four jobs of 10 ms at once, then one that needs them, 2 ms later,
// for 20 ms; the build ends 1 ms after.
func TestPredictByHand(t *testing.T) {
	jobs := []job{{hold: 10}, {hold: 10}, {hold: 10}, {hold: 10}, {hold: 20, gap: 2, needs: []int{0, 1, 2, 3}}}
	released, leased, ended := schedule(jobs, 2)
	tree := recordOf(t, jobs, released, leased, ended, 1)
	m := analysis.NewModel(tree, analysis.Actions(tree))
	if m.Slots() != 2 {
		t.Errorf("got %d slots, want 2", m.Slots())
	}
	for slots, want := range map[int]struct{ total, least, most time.Duration }{
		1: {ms(63), ms(61), ms(63)},       // 60 of work, 2 of the client, 1 after: chain 3 + all work
		2: {ms(43), ms(33), ms(48)},       // chain 5+2+10+1, work 30
		3: {ms(43), ms(33), ms(43)},       // chain 10·⅔+2+20·⅔+1 = 23, work 20
		4: {ms(33), ms(33), ms(40) + 5e5}, // chain 7.5+2+15+1 = 25.5, work 15
		0: {ms(33), ms(33), ms(33)},
	} {
		p := m.Predict(slots)
		slack := time.Duration(p.AtMost) - want.most
		if time.Duration(p.Total) != want.total || time.Duration(p.AtLeast) != want.least || slack < -time.Microsecond || slack > time.Microsecond {
			t.Errorf("%d slots: got %v, want %v", slots, p, want)
		}
	}
}

// Graham's own example: more slots make this list schedule longer, within bounds.
func TestMoreSlotsMayTakeLonger(t *testing.T) {
	//	T1/3 → T9/9;  T2/2;  T3/2;  T4/2 → T5/4, T6/4, T7/4, T8/4
	jobs := []job{
		{hold: 3}, {hold: 2}, {hold: 2}, {hold: 2},
		{hold: 4, needs: []int{3}}, {hold: 4, needs: []int{3}}, {hold: 4, needs: []int{3}}, {hold: 4, needs: []int{3}},
		{hold: 9, needs: []int{0}},
	}
	_, _, three := schedule(jobs, 3)
	_, _, four := schedule(jobs, 4)
	if latest(three) >= latest(four) {
		t.Fatalf("3 slots take %d, 4 take %d: this is no anomaly", latest(three), latest(four))
	}
	released, leased, ended := schedule(jobs, 3)
	tree := recordOf(t, jobs, released, leased, ended, 0)
	m := analysis.NewModel(tree, analysis.Actions(tree))
	for n := 1; n < 8; n++ {
		if p := m.Predict(n); p.Total < p.AtLeast || p.Total > p.AtMost {
			t.Errorf("%d slots: %v is not within %v and %v", n, p.Total, p.AtLeast, p.AtMost)
		}
	}
}

// Two slots were in use, when //b and //c ran. With two from the start, //b runs
// beside //a, to 1000; //c then needs its two leases' 1500, to 2500; //f the next
// 500, //h the 100 after it; 400 remain. //e, which joined others' work, and //g,
// which no worker took, take as long as they took.
func TestModelOfMixedBuild(t *testing.T) {
	tree := mixed().tree(t)
	m := analysis.NewModel(tree, analysis.Actions(tree))
	x := m.Ask(0, nil)
	if x.Slots != 2 || time.Duration(x.Recorded) != ms(4000) || time.Duration(x.Same.Total) != ms(3500) {
		t.Errorf("got %d slots, recorded %v, predicted %v; want 2, 4s, 3.5s", x.Slots, x.Recorded, x.Same.Total)
	}
	for _, c := range []struct {
		slots int
		ask   []int
		want  string
	}{{0, nil, "[3 4 6 0]"}, {4, []int{8, 2, 8, 4}, "[2 8 0]"}} {
		var got []int
		for _, p := range m.Ask(c.slots, c.ask).Others {
			got = append(got, p.Slots)
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%d slots, asked about %v: got %v, want %s", c.slots, c.ask, got, c.want)
		}
	}
}

func TestWriteWhatIf(t *testing.T) {
	jobs := []job{{hold: 10}, {hold: 10}, {hold: 10}, {hold: 10}, {hold: 20, gap: 2, needs: []int{0, 1, 2, 3}}}
	released, leased, ended := schedule(jobs, 2)
	tree := recordOf(t, jobs, released, leased, ended, 1)
	var out bytes.Buffer
	for _, x := range []*analysis.WhatIf{
		analysis.NewModel(tree, analysis.Actions(tree)).Ask(0, nil),
		analysis.NewModel(tree, analysis.Actions(tree)).Ask(3, []int{1, 2}),
		nil,
	} {
		if err := analysis.WriteWhatIf(&out, x); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "what_if.txt", out.Bytes())
}

func TestNothingToAskOfCachedBuild(t *testing.T) {
	s := &script{end: 10}
	s.hit("Genrule", "//a", 1, 2)
	tree := s.tree(t)
	if x := analysis.NewModel(tree, analysis.Actions(tree)).Ask(0, nil); x != nil {
		t.Errorf("got %v, want nothing", x)
	}
}
