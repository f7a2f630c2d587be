package lru_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-build/weir/system/cas/lru"
)

func TestUseKeepsAnEntryFromEviction(t *testing.T) {
	var gone []string
	x := lru.New(3, func(key string, _ int) { gone = append(gone, key) })
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
	x := lru.New[string, int](10, nil)
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
	x := lru.New[string, int](10, nil)
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
	x := lru.New[int, int](lru.Unlimited, func(int, int) { t.Error("evicted") })
	for i := range 1000 {
		x.Add(i, i, 1<<50)
	}
	if got := x.Usage().Entries; got != 1000 {
		t.Errorf("%d entries, want 1000", got)
	}
}

// TestAgainstDumbTwin compares the index with a slice kept in order of use.
func TestAgainstDumbTwin(t *testing.T) {
	const quota = 50
	type item struct{ key, cost int }
	var twin []item // least recently used first
	x := lru.New[int, int](quota, nil)
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

func TestEvictionGoesOnToTheLowWatermark(t *testing.T) {
	var gone []string
	x := lru.New(10, func(key string, _ int) { gone = append(gone, key) })
	x.SetLow(lru.Low{Percent: 50})
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		x.Add(key, 0, 2)
	}
	if len(gone) > 0 {
		t.Fatalf("evicted %v below the quota", gone)
	}
	x.Add("f", 0, 2)
	if want := []string{"a", "b", "c", "d"}; !slices.Equal(gone, want) || x.Usage().SizeBytes != 4 {
		t.Errorf("evicted %v, want %v; %d bytes are left", gone, want, x.Usage().SizeBytes)
	}
	// One that is larger than the watermark fits, as long as the quota has room.
	if !x.Add("g", 0, 9) || x.Usage().SizeBytes != 9 {
		t.Errorf("%d bytes are left", x.Usage().SizeBytes)
	}
}

func TestWhatIsProtectedStays(t *testing.T) {
	var gone []string
	x := lru.New(10, func(key string, _ int) { gone = append(gone, key) })
	for _, key := range []string{"old", "older", "used"} {
		x.Add(key, 0, 2)
	}
	x.Protect()
	x.Use("used")
	x.Add("new", 0, 4)
	x.Add("newer", 0, 4)
	if want := []string{"old", "older"}; !slices.Equal(gone, want) {
		t.Errorf("evicted %v, want %v", gone, want)
	}
	if x.Add("one more", 0, 1) || x.Reserve(1) {
		t.Error("something was added to a quota that is full of what is protected")
	}
	if !x.Add("new", 1, 3) || !x.Reserve(1) {
		t.Error("what is replaced doesn't count")
	}
	x.Remove("newer")
	if !x.Add("one more", 0, 4) {
		t.Error("what was removed counts")
	}
}

func TestQuotaChanges(t *testing.T) {
	var gone []string
	x := lru.New(10, func(key string, _ int) { gone = append(gone, key) })
	x.Add("a", 0, 5)
	x.Add("b", 0, 5)
	x.SetQuota(6)
	if len(gone) > 0 {
		t.Errorf("evicted %v before anything was added", gone)
	}
	x.Add("c", 0, 1)
	if want := []string{"a"}; !slices.Equal(gone, want) {
		t.Errorf("evicted %v, want %v", gone, want)
	}
	x.SetQuota(0)
	x.Add("d", 0, 1000)
	if len(gone) != 1 {
		t.Errorf("evicted %v without a quota", gone)
	}
}
