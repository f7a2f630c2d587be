package model

import (
	"testing"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/system/queue"
)

// TestFirstIsWhatTheQueueSays: of two platforms of a worker one task comes first under fifo, and
// any other that it gets is a violation.
func TestFirstIsWhatTheQueueSays(t *testing.T) {
	const worker, ran = 7, 5
	plain, known, failed, elsewhere := taskAccount{}, taskAccount{affinity: ran}, taskAccount{worker: worker}, taskAccount{platform: 1}
	passed := func(n int, t taskAccount) taskAccount { t.passed = n; return t }
	for name, c := range map[string]struct {
		tasks []taskAccount // as they arrived
		want  int
	}{
		"what arrived first":                                {[]taskAccount{plain, plain, elsewhere}, 0},
		"what arrived first, on whichever platform":         {[]taskAccount{elsewhere, plain, plain}, 0},
		"the second, if the first has failed on the worker": {[]taskAccount{failed, plain, plain}, 1},
		"the first, if it was passed over for that":         {[]taskAccount{passed(1, failed), plain}, 0},
		"the first, if there is no second":                  {[]taskAccount{failed, elsewhere}, 0},
		"what has inputs that the worker has":               {[]taskAccount{plain, plain, known}, 2},
		"of two such, the first":                            {[]taskAccount{plain, known, known}, 1},
		"the eighth of a line, if it has them":              {[]taskAccount{plain, plain, plain, plain, plain, plain, plain, known}, 7},
		"not the ninth":                                     {[]taskAccount{plain, plain, plain, plain, plain, plain, plain, plain, known}, 0},
		"the first, if it was passed over eight times":      {[]taskAccount{passed(8, plain), known}, 0},
		"this platform's, if its first is the oldest, though another's is older than what it gives": {[]taskAccount{plain, elsewhere, known}, 2},
		"this platform's, if the one that it gives arrived before, too":                             {[]taskAccount{plain, known, elsewhere}, 1},
		"another platform's, though this one has inputs that the worker has":                        {[]taskAccount{elsewhere, plain, known}, 0},
		"this platform's second, if its first, the oldest, has failed on the worker":                {[]taskAccount{failed, elsewhere, plain}, 2},
		"another platform's, if the first of this one, which has failed on the worker, is younger":  {[]taskAccount{elsewhere, failed, plain}, 0},
	} {
		for got := range c.tasks {
			a := &account{s: &sim{Config: Config{Scenario: &scenario.Scenario{}}}, fifo: true, platforms: make([]platformAccount, 2)}
			for n, one := range c.tasks {
				one.id, one.state, one.arrival = queue.TaskID(n+1), taskWaits, uint64(n)
				a.tasks = append(a.tasks, one)
				p := &a.platforms[one.platform]
				p.line = append(p.line, arrived{uint32(n), one.arrival})
			}
			a.first(&a.tasks[got], &workerAccount{id: worker, serves: []queue.PlatformID{0, 1}, ran: [affinityMemory]uint64{ran}})
			if is, want := a.s.broken == nil, got == c.want; is != want {
				t.Errorf("%s: number %d is given: is it right? got %v, want %v (%v)", name, got, is, want, a.s.broken)
			}
		}
	}
}
