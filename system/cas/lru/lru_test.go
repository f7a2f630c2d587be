package lru_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-build/weir/system/cas/lru"
)

func TestUseKeepsAnEntryFromEviction(t *testing.T) {
	var gone []string
	x := lru.New(lru.Limits{QuotaBytes: 3}, func(key string, _ int) { gone = append(gone, key) })
	for _, key := range []string{"a", "b", "c"} {
		x.Add(key, 0, 1)
	}
	x.Use("a")
	x.Peek("b")
	x.Add("d", 0, 1)
	if want := []string{"b"}; !slices.Equal(gone, want) {
		t.Errorf("evicted %v, want %v", gone, want)
	}
}

func TestAddTooCostlyChangesNothing(t *testing.T) {
	x := lru.New[string, int](lru.Limits{QuotaBytes: 10}, nil)
	x.Add("a", 1, 6)
	if !x.Reserve(3) {
		t.Fatal("3 bytes can't be reserved beside 6 of 10")
	}
	for _, key := range []string{"a", "b"} {
		if x.Add(key, 2, 8) {
			t.Errorf("Add(%q) took 8 bytes beside 3 reserved of 10", key)
		}
	}
	if got, ok := x.Peek("a"); !ok || *got != 1 {
		t.Error("a refused Add lost what was there")
	}
}

func TestReservationEvictsAndIsBounded(t *testing.T) {
	x := lru.New[string, int](lru.Limits{QuotaBytes: 10}, nil)
	x.Add("a", 0, 6)
	if !x.Reserve(5) {
		t.Fatal("Reserve refused what fits after eviction")
	}
	if _, ok := x.Peek("a"); ok {
		t.Error("a is still there beside a reservation that needs its place")
	}
	if x.Reserve(6) {
		t.Error("11 bytes reserved of 10")
	}
	x.Release(5)
	want := lru.Usage{QuotaBytes: 10, EvictedBytes: 6}
	if got := x.Usage(); got != want {
		t.Errorf("usage is %+v, want %+v", got, want)
	}
}

func TestUnlimitedEvictsNothing(t *testing.T) {
	x := lru.New[int, int](lru.Limits{QuotaBytes: lru.Unlimited}, func(int, int) { t.Error("evicted") })
	for i := range 1000 {
		x.Add(i, i, 1<<50)
	}
	if got := x.Usage().Entries; got != 1000 {
		t.Errorf("%d entries, want 1000", got)
	}
}

func TestEvictionGoesDownToTheLowMark(t *testing.T) {
	var gone []int
	x := lru.New(lru.Limits{QuotaBytes: 10, LowBytes: 6}, func(key, _ int) { gone = append(gone, key) })
	for i := range 10 {
		x.Add(i, i, 1)
	}
	if len(gone) > 0 {
		t.Errorf("evicted %v within the quota", gone)
	}
	x.Add(10, 10, 1)
	if want := []int{0, 1, 2, 3}; !slices.Equal(gone, want) || x.Usage().SizeBytes != 7 {
		t.Errorf("beyond the quota: evicted %v, %d bytes left, want %v and 6 beside the new one", gone, x.Usage().SizeBytes, want)
	}
	// What is larger than the distance of the marks gets the room it needs.
	if !x.Reserve(8) || x.Usage().SizeBytes != 10 {
		t.Errorf("8 bytes reserved: %+v, want 2 beside them", x.Usage())
	}
}

func TestProtectedEntriesStay(t *testing.T) {
	x := lru.New(lru.Limits{QuotaBytes: 4, LowBytes: 1}, func(key string, _ int) {
		if key != "old" {
			t.Errorf("evicted %s", key)
		}
	})
	for _, key := range []string{"old", "used", "replaced"} {
		x.Add(key, 0, 1)
	}
	x.Protect()
	x.Use("used")
	x.Add("replaced", 0, 1)
	x.Add("new", 0, 1)
	x.Peek("old")
	if !x.Add("newer", 0, 1) {
		t.Error("no room in the place of an entry of before")
	}
	if got, want := x.Usage(), (lru.Usage{SizeBytes: 4, QuotaBytes: 4, EvictedBytes: 1, ProtectedBytes: 4, Entries: 4}); got != want {
		t.Errorf("usage is %+v, want %+v", got, want)
	}
	if x.Add("more", 0, 1) || x.Reserve(1) {
		t.Error("room was found where all is protected")
	}
	if !x.Add("newer", 1, 1) {
		t.Error("a protected entry can't be replaced by one of its size")
	}
	x.Remove("newer")
	if !x.Reserve(1) {
		t.Error("no room after a protected entry was removed")
	}
}

// An upload that has its space ends well even if the quota shrinks meanwhile.
func TestFillUsesWhatIsReserved(t *testing.T) {
	x := lru.New[string, int](lru.Limits{QuotaBytes: 10}, nil)
	x.Add("a", 1, 3)
	x.Reserve(5)
	x.SetLimits(lru.Limits{QuotaBytes: 2})
	x.Fill("a", 2, 4)
	if got, ok := x.Peek("a"); !ok || *got != 2 {
		t.Error("a isn't what was filled in")
	}
	x.Release(1)
	if got, want := x.Usage(), (lru.Usage{SizeBytes: 4, QuotaBytes: 2, Entries: 1}); got != want {
		t.Errorf("usage is %+v, want %+v", got, want)
	}
	if !x.Reserve(1) || x.Usage().Entries != 0 {
		t.Errorf("after the quota shrank: %+v, want that its excess goes", x.Usage())
	}
}

func TestLimitsWithinADisk(t *testing.T) {
	for _, c := range []struct {
		limits               lru.Limits
		held, free, keepFree int64
		want                 lru.Limits
	}{
		{lru.Limits{QuotaBytes: 100, LowBytes: 50}, 40, 1000, 10, lru.Limits{QuotaBytes: 100, LowBytes: 50}},
		{lru.Limits{QuotaBytes: 100, LowBytes: 50}, 40, 50, 10, lru.Limits{QuotaBytes: 80, LowBytes: 40}},
		{lru.Limits{QuotaBytes: 100}, 40, 50, 10, lru.Limits{QuotaBytes: 80}},
		{lru.Limits{}, 40, 50, 10, lru.Limits{QuotaBytes: 80}},
		{lru.Limits{QuotaBytes: 100, LowBytes: 50}, 40, 5, 10, lru.Limits{QuotaBytes: 35, LowBytes: 17}},
		{lru.Limits{}, 0, 5, 10, lru.Limits{QuotaBytes: 1}},
	} {
		if got := c.limits.Within(c.held, c.free, c.keepFree); got != c.want {
			t.Errorf("%+v, %d held, %d free, %d of them kept: got %+v, want %+v", c.limits, c.held, c.free, c.keepFree, got, c.want)
		}
	}
}

// TestAgainstDumbTwin compares the index with a slice kept in order of use.
func TestAgainstDumbTwin(t *testing.T) {
	const quota = 50
	type item struct{ key, cost int }
	var twin []item // least recently used first
	x := lru.New[int, int](lru.Limits{QuotaBytes: quota}, nil)
	random := rand.New(rand.NewPCG(1, 2))
	remove := func(key int) {
		twin = slices.DeleteFunc(twin, func(i item) bool { return i.key == key })
	}
	total := func() (sum int) {
		for _, i := range twin {
			sum += i.cost
		}
		return sum
	}
	for step := range 20_000 {
		key, cost := random.IntN(30), 1+random.IntN(20)
		switch random.IntN(4) {
		case 0, 1:
			x.Add(key, key, int64(cost))
			remove(key)
			for total()+cost > quota {
				twin = twin[1:]
			}
			twin = append(twin, item{key, cost})
		case 2:
			_, got := x.Use(key)
			at := slices.IndexFunc(twin, func(i item) bool { return i.key == key })
			if got != (at >= 0) {
				t.Fatalf("step %d: Use(%d) = %v, want %v", step, key, got, at >= 0)
			}
			if at >= 0 {
				used := twin[at]
				remove(key)
				twin = append(twin, used)
			}
		case 3:
			x.Remove(key)
			remove(key)
		}
		if got := x.Usage(); got.SizeBytes != int64(total()) || got.Entries != len(twin) {
			t.Fatalf("step %d: usage %+v, want %d bytes in %d entries", step, got, total(), len(twin))
		}
	}
}
