package observe_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

// tenants are three streams: the third has a class of each of two platforms.
const tenants = `
version: 1
duration: 60s
demand:
  - {name: a, arrivals: {burst: 1}, dag: [{class: a, actions: 1}], actions: [{name: a, duration: 1s}]}
  - {name: b, arrivals: {burst: 1}, dag: [{class: b, actions: 1}], actions: [{name: b, duration: 1s}]}
  - name: c
    arrivals: {burst: 1}
    dag: [{class: c, actions: 1}, {class: mac, actions: 1}]
    actions: [{name: c, duration: 1s}, {name: mac, duration: 1s, platform: {os: mac}}]
cluster: {workers: [{count: 1, slots: 4}, {count: 1, slots: 4, platform: {os: mac}}]}
`

// attempt is one of a stream, with its times in seconds.
func attempt(stream, class int, queued, leased, end float64) model.Attempt {
	at := func(seconds float64) des.Time { return des.Time(seconds * 1e9) }
	return model.Attempt{Stream: stream, Class: class, Queued: at(queued), Leased: at(leased), End: at(end)}
}

// TestSharesLeaveAWarmUpOut: what was before counts for nothing, of what goes on beyond it the
// rest does.
func TestSharesLeaveAWarmUpOut(t *testing.T) {
	s := parse(t, tenants)
	whole, rest := observe.NewShares(s, des.Time(10e9)), observe.NewShares(s, 0)
	for _, a := range []model.Attempt{
		attempt(0, 0, 0, 0, 9), attempt(1, 0, 0, 4, 9), // over by then
		attempt(0, 0, 0, 5, 30), attempt(1, 0, 0, 20, 40), attempt(0, 0, 15, 30, 40),
	} {
		whole.Attempt(&a)
	}
	for _, a := range []model.Attempt{attempt(0, 0, 10, 10, 30), attempt(1, 0, 10, 20, 40), attempt(0, 0, 15, 30, 40)} {
		rest.Attempt(&a)
	}
	got, want := whole.Fairness(), rest.Fairness()
	if got.Jain == 0 || got.Streams[0].Work != 30*time.Second || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestSharesOfWhoWaits: what a stream has counts while it waits beside another, for the same
// platform.
func TestSharesOfWhoWaits(t *testing.T) {
	for name, test := range map[string]struct {
		attempts  []model.Attempt
		contended float64 // seconds
		even      [3]float64
		jain      float64
	}{
		"three slots and one": {
			[]model.Attempt{
				attempt(0, 0, 0, 0, 10), attempt(0, 0, 0, 0, 10), attempt(0, 0, 0, 0, 10), attempt(0, 0, 0, 10, 11),
				attempt(1, 0, 0, 0, 10), attempt(1, 0, 0, 10, 11),
			}, 10, [3]float64{1.5, 0.5, 0}, 0.8,
		},
		"all and nothing": {
			[]model.Attempt{attempt(0, 0, 0, 0, 10), attempt(0, 0, 0, 10, 11), attempt(1, 0, 0, 10, 11)}, 10, [3]float64{2, 0, 0}, 0.5,
		},
		"who has what it wants doesn't wait": {
			[]model.Attempt{attempt(0, 0, 0, 0, 10), attempt(0, 0, 0, 10, 20), attempt(1, 0, 0, 0, 10)}, 0, [3]float64{}, 0,
		},
		"one that waits for another platform is in nobody's way": {
			[]model.Attempt{attempt(0, 0, 0, 10, 20), attempt(2, 1, 0, 10, 20)}, 0, [3]float64{}, 0,
		},
		"others have it all": {
			[]model.Attempt{attempt(0, 0, 0, 0, 10), attempt(1, 0, 0, 10, 11), attempt(2, 0, 0, 10, 11)}, 0, [3]float64{}, 0,
		},
		"three alike": {
			[]model.Attempt{
				attempt(0, 0, 0, 0, 10), attempt(1, 0, 0, 0, 10), attempt(2, 0, 0, 0, 10),
				attempt(0, 0, 0, 10, 20), attempt(1, 0, 0, 10, 20), attempt(2, 0, 0, 10, 20),
			}, 10, [3]float64{1, 1, 1}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := observe.NewShares(parse(t, tenants), 0)
			var work time.Duration
			for _, a := range test.attempts {
				f.Attempt(&a)
				work += time.Duration(a.End - a.Leased)
			}
			got := f.Fairness()
			if near := 2 * got.Resolution.Seconds(); math.Abs(got.Contended.Seconds()-test.contended) > near || math.Abs(got.Jain-test.jain) > 0.01 {
				t.Errorf("contended %v, Jain %v, want %vs, %v", got.Contended, got.Jain, test.contended, test.jain)
			}
			var sum time.Duration
			for i, s := range got.Streams {
				if math.Abs(s.OfEven-test.even[i]) > 0.02 {
					t.Errorf("%s has %v of an even share, want %v", s.Stream, s.OfEven, test.even[i])
				}
				sum += s.Work
			}
			if sum != work {
				t.Errorf("work adds up to %v, want %v", sum, work)
			}
		})
	}
}

// TestSharesDoNotDependOnHowTimeWasCut: intervals that were joined, as a run got longer, are
// what long ones would have been from the begin.
func TestSharesDoNotDependOnHowTimeWasCut(t *testing.T) {
	s := parse(t, tenants)
	r := rand.New(rand.NewPCG(3, 3))
	var all []model.Attempt
	for range 3000 {
		queued := r.Float64() * 1000
		leased := queued + r.ExpFloat64()*20
		all = append(all, attempt(r.IntN(3), 0, queued, leased, leased+r.ExpFloat64()*10))
	}
	longest := all[0]
	for _, a := range all {
		if a.End > longest.End {
			longest = a
		}
	}
	grown, told := observe.NewShares(s, 0), observe.NewShares(s, 0)
	for _, a := range all {
		grown.Attempt(&a)
	}
	told.Attempt(&longest) // first, which makes the intervals as long as they get
	skipped := false
	for _, a := range all {
		if !skipped && a == longest {
			skipped = true
			continue
		}
		told.Attempt(&a)
	}
	a, b := grown.Fairness(), told.Fairness()
	if a.Resolution != b.Resolution || a.Contended != b.Contended || math.Abs(a.Jain-b.Jain) > 1e-9 || a.Contended == 0 {
		t.Errorf("got %+v, want %+v", a, b)
	}
	for i := range a.Streams {
		if math.Abs(a.Streams[i].OfEven-b.Streams[i].OfEven) > 1e-9 || a.Streams[i].Contended != b.Streams[i].Contended {
			t.Errorf("got %+v, want %+v", a.Streams[i], b.Streams[i])
		}
	}
}

// TestWhoGetsNothingHasWaited: a stream whose users give up before they get a worker waited
// beside the one that had them, which asks for the same workers in other words.
func TestWhoGetsNothingHasWaited(t *testing.T) {
	s := parse(t, `
version: 1
duration: 60s
demand:
  - {name: all, priority: -1, arrivals: {burst: 1}, jobs: 100, dag: [{class: a, actions: 100}], actions: [{name: a, duration: 1s}]}
  - name: nothing
    arrivals: {trace: [1s]}
    cancel: 100%
    patience: 30s
    jobs: 10
    dag: [{class: b, actions: 10}]
    actions: [{name: b, duration: 1s, platform: {OSFamily: linux}}]
cluster: {workers: [{count: 1}]}
`)
	f := &lasted{Shares: observe.NewShares(s, 0)}
	if _, err := model.Run(model.Config{Scenario: s, Observers: []model.Observer{f}}); err != nil {
		t.Fatal(err)
	}
	got := f.Fairness()
	if near := 2 * got.Resolution; f.cancelled < time.Second || (got.Contended-f.cancelled).Abs() > near || math.Abs(got.Jain-0.5) > 0.01 ||
		got.Streams[1].OfEven != 0 || got.Streams[1].Contended != got.Contended {
		t.Errorf("a build is given up after %v: got %+v", f.cancelled, got)
	}
}

// lasted knows how long a cancelled build lasted, too.
type lasted struct {
	*observe.Shares
	cancelled time.Duration
}

func (l *lasted) Build(b *model.Build) {
	if b.Cancelled {
		l.cancelled = time.Duration(b.End - b.Begun)
	}
}

// TestOneStreamSharesWithNobody: there is nothing to tell then.
func TestOneStreamSharesWithNobody(t *testing.T) {
	s := parse(t, tenants)
	s.Demand = s.Demand[:1]
	if f := observe.NewShares(s, 0).Fairness(); f != nil {
		t.Errorf("got %+v", f)
	}
	none := observe.NewShares(parse(t, tenants), 0).Fairness()
	if none.Contended != 0 || none.Jain != 0 || len(none.Streams) != 3 {
		t.Errorf("of nothing: %+v", none)
	}
}
