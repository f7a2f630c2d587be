package sizing_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue/sizing"
)

var compile, link = sizing.Kind{1}, sizing.Kind{2}

// place wants an action to go to a class and to be expected to take so long.
func place(t *testing.T, table *sizing.Table, of sizing.Kind, class int, expected time.Duration) {
	t.Helper()
	if c, e := table.Place(of); c != class || e != expected {
		t.Errorf("it goes to class %d, for %v; want %d, for %v", c, e, class, expected)
	}
}

func TestStepsDownWhileItIsFastEnough(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 3})
	place(t, table, compile, 2, 0)
	place(t, table, compile, 2, 0) // nothing has been heard of the first
	table.Ran(compile, 2, 10*time.Second)
	place(t, table, compile, 1, 10*time.Second) // tried, by one at a time
	place(t, table, compile, 2, 10*time.Second)
	table.Ran(compile, 1, 12*time.Second)
	place(t, table, compile, 0, 12*time.Second)
	place(t, table, compile, 1, 12*time.Second)
	table.Ran(compile, 0, 15*time.Second) // no more than 150%
	place(t, table, compile, 0, 15*time.Second)
	place(t, table, link, 2, 0) // another kind
}

func TestTooSlowIsTriedAgainLater(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 2, Percent: 200})
	table.Ran(compile, 1, 10*time.Second)
	table.Ran(compile, 0, 21*time.Second)
	if got, want := table.Known(compile), []sizing.Known{{21 * time.Second, 16}, {10 * time.Second, 0}}; !slices.Equal(got, want) {
		t.Errorf("it knows %v, want %v", got, want)
	}
	if got := table.Known(link); got != nil {
		t.Errorf("it knows %v of what never ran", got)
	}
	for _, runs := range []int{16, 32, 64, 128, 256, 512, 1024, 1024} {
		for range runs {
			place(t, table, compile, 1, 10*time.Second)
			table.Ran(compile, 1, 10*time.Second)
		}
		place(t, table, compile, 0, 21*time.Second)
		table.Ran(compile, 0, 21*time.Second)
	}
	for range 1024 {
		table.Ran(compile, 1, 10*time.Second)
	}
	// It has become faster: what it took before doesn't count.
	place(t, table, compile, 0, 21*time.Second)
	table.Ran(compile, 0, 11*time.Second)
	place(t, table, compile, 0, 11*time.Second)
	table.Ran(compile, 0, 15*time.Second)
	place(t, table, compile, 0, 12*time.Second) // a quarter of the difference
}

func TestFailureIsRemembered(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 3})
	for class, took := range []time.Duration{10 * time.Second, 9 * time.Second, 8 * time.Second} {
		table.Ran(compile, class, took)
	}
	place(t, table, compile, 0, 10*time.Second)
	table.Failed(compile, 0)
	table.Ran(compile, 0, 10*time.Second) // one that was under way did well
	place(t, table, compile, 2, 8*time.Second)
	for range 15 {
		place(t, table, compile, 1, 9*time.Second)
		table.Ran(compile, 1, 9*time.Second)
	}
	place(t, table, compile, 0, 10*time.Second)
	table.Failed(compile, 2) // that isn't for its size
	place(t, table, compile, 1, 9*time.Second)
}

func TestFailureOfWhatIsUnknown(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 2})
	table.Failed(compile, 0) // an action that named the class itself
	place(t, table, compile, 1, 0)
	table.Ran(compile, 1, time.Second)
	place(t, table, compile, 1, time.Second)
}

func TestTryThatNobodyHearsOfIsRepeated(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 2})
	table.Ran(compile, 1, time.Second)
	place(t, table, compile, 0, time.Second)
	for range 16 {
		place(t, table, compile, 1, time.Second)
	}
	place(t, table, compile, 0, time.Second)
}

func TestTheLargestIsMeasuredNowAndThen(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 2})
	table.Ran(compile, 1, 10*time.Second)
	largest := 0
	for range 650 {
		class, _ := table.Place(compile)
		if class == 1 {
			largest++
		}
		table.Ran(compile, class, 10*time.Second)
	}
	if largest != 10 {
		t.Errorf("of 650 actions %d went to the largest class, want 10", largest)
	}
}

func TestShortActionsMayTakeTheirTime(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 2})
	table.Ran(compile, 1, 10*time.Millisecond)
	table.Ran(compile, 0, 60*time.Millisecond)
	place(t, table, compile, 0, 60*time.Millisecond)
}

func TestExpected(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 3})
	table.Ran(compile, 1, time.Second)
	for class := range 3 {
		if got := table.Expected(compile, class); got != time.Second {
			t.Errorf("class %d: got %v, want what class 1 takes", class, got)
		}
	}
	for _, class := range []int{-1, 3} {
		table.Ran(compile, class, time.Hour)
		table.Failed(compile, class)
		if got := table.Expected(compile, class); got != 0 {
			t.Errorf("class %d: got %v, want nothing", class, got)
		}
	}
	if got := table.Expected(link, 0); got != 0 {
		t.Errorf("got %v of a kind that is unknown", got)
	}
}

func TestKindsAreBounded(t *testing.T) {
	table := sizing.New(sizing.Config{Classes: 2, Kinds: 100})
	for i := range 10_000 {
		table.Ran(sizing.Kind{byte(i), byte(i >> 8), 1}, 1, time.Second)
		table.Place(compile) // asking for what is unknown costs nothing
		table.Failed(sizing.Kind{byte(i), byte(i >> 8), 2}, 0)
		if n := table.Len(); n > 100 {
			t.Fatalf("it remembers %d kinds, want no more than 100", n)
		}
	}
	// What was used last is there.
	if got := table.Expected(sizing.Kind{0x0f, 0x27, 1}, 1); got != time.Second {
		t.Errorf("the latest kind is expected to take %v", got)
	}
}

func TestMemoryOfAKind(t *testing.T) {
	const kinds = 20_000
	var before, after runtime.MemStats
	table := sizing.New(sizing.Config{Classes: 2, Kinds: kinds})
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kinds {
		table.Ran(sizing.Kind{byte(i), byte(i >> 8)}, 1, time.Second)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := (after.HeapAlloc - before.HeapAlloc) / kinds; got > 400 {
		t.Errorf("a kind takes %d bytes", got)
	} else {
		t.Logf("a kind takes %d bytes", got)
	}
	runtime.KeepAlive(table)
}

// A world is what actions really take.
type world struct {
	took  map[sizing.Kind][]time.Duration // by class
	fails map[sizing.Kind]int             // below this class
}

// Whatever the world is like, actions go to classes that there are; where it never
// changes nearly all of them end up on the smallest class that is good enough, and
// few find out that a class is too small.
func TestActionsFindTheirSize(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			classes := 1 + random.IntN(sizing.MaxClasses)
			percent := 100 + random.IntN(300)
			w := world{make(map[sizing.Kind][]time.Duration), make(map[sizing.Kind]int)}
			best := make(map[sizing.Kind]int)
			kinds := make([]sizing.Kind, 5)
			for i := range kinds {
				kinds[i] = sizing.Kind{byte(i + 1)}
				took := make([]time.Duration, classes)
				for c := range took {
					took[c] = time.Second + time.Duration(random.Int64N(int64(9*time.Second)))
				}
				slices.SortFunc(took, func(a, b time.Duration) int { return int(b - a) })
				w.took[kinds[i]], w.fails[kinds[i]] = took, random.IntN(classes)
				b := classes - 1
				for b > w.fails[kinds[i]] && took[b-1] <= took[classes-1]/100*time.Duration(percent)+50*time.Millisecond {
					b--
				}
				best[kinds[i]] = b
			}
			config := sizing.Config{Classes: classes, Percent: percent}
			first, failed, right, late := run(rand.New(rand.NewPCG(seed, 1)), sizing.New(config), &w, kinds, best)
			if late > 0 && 100*right < 90*late {
				t.Errorf("%d of %d actions went to the right class, want 90%%", right, late)
			}
			if failed > 15*len(kinds) {
				t.Errorf("%d actions failed of a class that was too small", failed)
			}
			second, _, _, _ := run(rand.New(rand.NewPCG(seed, 1)), sizing.New(config), &w, kinds, best)
			if !slices.Equal(first, second) {
				t.Error("equal calls had different results")
			}
		})
	}
}

// run runs actions, a few at a time, and returns where they went, how many failed for
// the size, and of the later ones how many went to the best class.
func run(random *rand.Rand, table *sizing.Table, w *world, kinds []sizing.Kind, best map[sizing.Kind]int) (placed []int, failed, right, late int) {
	type action struct {
		kind  sizing.Kind
		class int
	}
	var running []action
	for step := range 10_000 {
		if len(running) < 8 && random.IntN(2) == 0 {
			kind := kinds[random.IntN(len(kinds))]
			class, expected := table.Place(kind)
			if class < 0 || class >= len(w.took[kind]) || expected < 0 {
				panic(fmt.Sprint("class ", class, " for ", expected))
			}
			placed = append(placed, class)
			running = append(running, action{kind, class})
			if step > 2000 {
				late++
				if class == best[kind] {
					right++
				}
			}
		} else if len(running) > 0 {
			i := random.IntN(len(running))
			a := running[i]
			running = slices.Delete(running, i, i+1)
			if a.class < w.fails[a.kind] {
				table.Failed(a.kind, a.class)
				failed++
			} else {
				table.Ran(a.kind, a.class, w.took[a.kind][a.class])
			}
		}
	}
	return placed, failed, right, late
}
