package analysis

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
)

// A Run is one side of a comparison: the builds of a run, or one of them.
type Run struct {
	Name    string
	Builds  int
	Actions []Action
	// Total is the duration of all builds together, one after the other.
	Total time.Duration
}

// Add takes over a build.
func (r *Run) Add(t *lifecycle.Tree) {
	r.Builds++
	r.Actions = append(r.Actions, Actions(t)...)
	r.Total += t.End.Sub(t.Start)
}

// A Diff is what one run did differently than another. It is two single runs:
// what happens by chance is in it too. Differences are B less A.
type Diff struct {
	A DiffSide `json:"a"`
	B DiffSide `json:"b"`
	// Stages are by column, over all actions, "action" for all together.
	Stages    []DiffTime `json:"stages"`
	Mnemonics []DiffKind `json:"mnemonics"` // by the size of the difference

	// ByDigest and ByName are how many actions were found in both: the same
	// action, or another of the same target and kind, whose inputs or command
	// have changed.
	ByDigest int `json:"matched_by_digest"`
	ByName   int `json:"matched_by_name"`

	// Slower and Faster are of the actions that came by their results in the same
	// way, the greatest difference first.
	Slower Pairs `json:"slower"`
	Faster Pairs `json:"faster"`
	// NewlyCached were hits in B only, NoLongerCached in A only.
	NewlyCached    Pairs `json:"newly_cached"`
	NoLongerCached Pairs `json:"no_longer_cached"`
	OtherResult    Pairs `json:"other_result"` // any other change of the result
	OnlyA          Ones  `json:"only_a"`
	OnlyB          Ones  `json:"only_b"`
}

// A DiffSide is what there is to say of one side.
type DiffSide struct {
	Name    string         `json:"name"`
	Builds  int            `json:"builds"`
	Seconds Seconds        `json:"seconds"` // of the builds, added up
	Actions int            `json:"actions"`
	Results map[Result]int `json:"results"`
	Worker  Seconds        `json:"worker_seconds"`
}

// A DiffTime is a time in both.
type DiffTime struct {
	Name string  `json:"name"`
	A    Seconds `json:"a_seconds"`
	B    Seconds `json:"b_seconds"`
}

// A DiffKind is what the actions of a mnemonic cost in both.
type DiffKind struct {
	Name     string  `json:"name"`
	ActionsA int     `json:"a_actions"`
	ActionsB int     `json:"b_actions"`
	WorkerA  Seconds `json:"a_worker_seconds"`
	WorkerB  Seconds `json:"b_worker_seconds"`
}

// Pairs are actions that are in both.
type Pairs struct {
	Count int     `json:"count"`
	Total Seconds `json:"change_seconds"` // of all, not only of the top
	Top   []Pair  `json:"top"`
}

// A Pair is an action in both.
type Pair struct {
	A      Ref     `json:"a"`
	B      Ref     `json:"b"`
	Name   string  `json:"name"`
	TimeA  Seconds `json:"a_seconds"`
	TimeB  Seconds `json:"b_seconds"`
	Change Seconds `json:"change_seconds"`
	// Stage is the column that changed most in the direction of the change, and
	// StageChange by how much.
	Stage       string  `json:"stage"`
	StageChange Seconds `json:"stage_change_seconds"`
}

// Ones are actions that are in one only.
type Ones struct {
	Count int     `json:"count"`
	Total Seconds `json:"seconds"`
	Top   []One   `json:"top"`
}

// A One is such an action.
type One struct {
	Ref
	Name    string  `json:"name"`
	Seconds Seconds `json:"seconds"`
}

// Compare compares two runs and keeps the top of each list; 0 keeps all.
func Compare(a, b *Run, top int) Diff {
	d := Diff{A: side(a), B: side(b)}
	stagesA, stagesB := total(a), total(b)
	columnsA, columnsB := stagesA.columns(), stagesB.columns()
	for c, name := range columnNames {
		d.Stages = append(d.Stages, DiffTime{name, Seconds(columnsA[c]), Seconds(columnsB[c])})
	}
	d.Stages = append(d.Stages, DiffTime{"action", Seconds(stagesA.Total()), Seconds(stagesB.Total())})
	d.Mnemonics = kinds(a, b)

	matched, onlyA, onlyB := d.match(a.Actions, b.Actions)
	for _, m := range matched {
		p := newPair(m[0], m[1])
		list := &d.Slower
		switch wasHit, isHit := m[0].Result == Hit, m[1].Result == Hit; {
		case isHit && !wasHit:
			list = &d.NewlyCached
		case wasHit && !isHit:
			list = &d.NoLongerCached
		case m[0].Result != m[1].Result:
			list = &d.OtherResult
		case p.Change == 0:
			continue
		case p.Change < 0:
			list = &d.Faster
		}
		list.Count++
		list.Total += p.Change
		list.Top = append(list.Top, p)
	}
	for _, list := range []*Pairs{&d.Slower, &d.Faster, &d.NewlyCached, &d.NoLongerCached, &d.OtherResult} {
		slices.SortStableFunc(list.Top, func(p, q Pair) int { return cmp.Compare(magnitude(q.Change), magnitude(p.Change)) })
		list.Top = first(list.Top, top)
	}
	d.OnlyA, d.OnlyB = ones(onlyA, top), ones(onlyB, top)
	return d
}

func side(r *Run) DiffSide {
	s := DiffSide{Name: r.Name, Builds: r.Builds, Seconds: Seconds(r.Total), Actions: len(r.Actions), Results: make(map[Result]int)}
	for i := range r.Actions {
		s.Results[r.Actions[i].Result]++
		s.Worker += Seconds(r.Actions[i].WorkerTime())
	}
	return s
}

func total(r *Run) Split {
	var sum Split
	for i := range r.Actions {
		sum.add(&r.Actions[i].Split)
	}
	return sum
}

func kinds(a, b *Run) []DiffKind {
	byName := make(map[string]*DiffKind)
	kind := func(c Cost) *DiffKind {
		if byName[c.Name] == nil {
			byName[c.Name] = &DiffKind{Name: c.Name}
		}
		return byName[c.Name]
	}
	for _, c := range Costs(a.Actions, ByMnemonic) {
		k := kind(c)
		k.ActionsA, k.WorkerA = c.Actions, c.Worker
	}
	for _, c := range Costs(b.Actions, ByMnemonic) {
		k := kind(c)
		k.ActionsB, k.WorkerB = c.Actions, c.Worker
	}
	list := make([]DiffKind, 0, len(byName))
	for _, k := range byName {
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b DiffKind) int {
		return cmp.Or(cmp.Compare(magnitude(b.WorkerB-b.WorkerA), magnitude(a.WorkerB-a.WorkerA)), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// match pairs actions: those of one digest first, then those that are left of one
// mnemonic and target. Where several have it, the first goes with the first.
func (d *Diff) match(a, b []Action) (matched [][2]*Action, onlyA, onlyB []*Action) {
	onlyA, onlyB = pointers(a), pointers(b)
	pass := func(key func(*Action) string) int {
		before := len(matched)
		waiting := make(map[string][]*Action)
		for _, y := range onlyB {
			if k := key(y); k != "" {
				waiting[k] = append(waiting[k], y)
			}
		}
		taken := make(map[*Action]bool)
		var left []*Action
		for _, x := range onlyA {
			k := key(x)
			if list := waiting[k]; len(list) > 0 {
				matched = append(matched, [2]*Action{x, list[0]})
				taken[list[0]] = true
				waiting[k] = list[1:]
			} else {
				left = append(left, x)
			}
		}
		onlyA = left
		onlyB = slices.DeleteFunc(onlyB, func(y *Action) bool { return taken[y] })
		return len(matched) - before
	}
	d.ByDigest = pass((*Action).Digest)
	d.ByName = pass(func(x *Action) string {
		if x.Target() == "" {
			return "" // a mnemonic alone says too little
		}
		return strconv.Quote(x.Mnemonic()) + x.Target()
	})
	return matched, onlyA, onlyB
}

func pointers(actions []Action) []*Action {
	list := make([]*Action, len(actions))
	for i := range actions {
		list[i] = &actions[i]
	}
	return list
}

func newPair(a, b *Action) Pair {
	p := Pair{A: a.Ref(), B: b.Ref(), Name: b.Name(), TimeA: Seconds(a.Duration()), TimeB: Seconds(b.Duration())}
	p.Change = p.TimeB - p.TimeA
	columnsA, columnsB := a.Split.columns(), b.Split.columns()
	for c, name := range columnNames {
		change := Seconds(columnsB[c] - columnsA[c])
		if p.Change < 0 && change < p.StageChange || p.Change > 0 && change > p.StageChange {
			p.Stage, p.StageChange = name, change
		}
	}
	return p
}

func ones(actions []*Action, top int) Ones {
	o := Ones{Count: len(actions)}
	for _, a := range actions {
		o.Total += Seconds(a.Duration())
		o.Top = append(o.Top, One{a.Ref(), a.Name(), Seconds(a.Duration())})
	}
	slices.SortStableFunc(o.Top, func(a, b One) int { return cmp.Compare(b.Seconds, a.Seconds) })
	o.Top = first(o.Top, top)
	return o
}

func first[T any](list []T, top int) []T {
	if top > 0 && len(list) > top {
		return list[:top]
	}
	return list
}

func magnitude(d Seconds) Seconds {
	if d < 0 {
		return -d
	}
	return d
}
