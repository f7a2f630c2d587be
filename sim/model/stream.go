package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// stream is a source of builds.
type stream struct {
	*scenario.Demand
	plan      *workload.Plan
	times     func() (time.Duration, bool)
	drawn     int                // how many of them
	platforms []queue.PlatformID // by class
	larger    []uint32           // by class, as queue.Input has them
	expected  []time.Duration    // by class, as measured so far
	reads     []bool             // by class: its actions have inputs of their own
	recurs    bool               // a result may be asked for again
	tenant    uint32
	next      int // number of the next build
}

func (s *sim) addStream(d *scenario.Demand) error {
	st := &stream{
		Demand: d, plan: d.Plan(s.Scenario.Seed), times: d.Times(s.Scenario.Seed),
		recurs: d.Incremental || d.Herd || len(d.Tape) > 0,
	}
	st.expected = make([]time.Duration, len(d.Classes))
	for i := range d.Classes {
		class := &d.Classes[i]
		if !slices.ContainsFunc(s.Scenario.Cluster.Workers, func(w scenario.Workers) bool { return w.Most() > 0 && w.Serves(class.Platform) }) && s.Scenario.Faults == nil {
			kind := "any worker"
			if len(class.Platform) > 0 {
				kind = fmt.Sprintf("a worker of %v", class.Platform)
			}
			return fmt.Errorf("%s: action %s wants %s, of which the cluster has none", d.Name, class.Name, kind)
		}
		st.platforms = append(st.platforms, s.platform(class.Platform))
		st.reads = append(st.reads, class.InputFiles.Mean() > 0)
	}
	for i := range d.Classes {
		larger := uint32(0)
		if d.Classes[i].Larger != nil {
			larger = uint32(s.platform(d.Classes[i].Larger)) + 1
		}
		st.larger = append(st.larger, larger)
	}
	// Tenants are told apart by their instances, as production does.
	for _, other := range s.streams {
		if other.Instance == d.Instance {
			st.tenant = other.tenant
		}
	}
	if st.tenant == 0 {
		st.tenant = uint32(len(s.streams) + 1)
	}
	i := len(s.streams)
	s.streams = append(s.streams, st)
	if clients := d.Arrivals.Clients(); clients > 0 {
		for range clients {
			s.scheduleClosed(i)
		}
		return nil
	}
	s.scheduleNext(i)
	return nil
}

// affinity is what the server makes of an action's inputs, which the load generator has be
// its own: equal for equal actions, and 0 for one that has none.
func (st *stream) affinity(a *workload.Action) uint64 {
	if a.Affinity != 0 || len(st.Tape) > 0 || len(a.Deps) == 0 && !st.reads[a.Class] {
		return a.Affinity
	}
	return a.Key.Lo | 1
}

// closedLoop marks arrivals of a closed loop.
const closedLoop = 1

// scheduleNext schedules the next arrival of an open stream, if it is in time: at the end of the
// duration none comes any more, live neither.
func (s *sim) scheduleNext(i int) {
	st := s.streams[i]
	st.drawn++
	at, ok := st.times()
	if !ok || at >= s.Scenario.Duration {
		return
	}
	s.waiting++
	s.k.Schedule(des.Event{At: int64(at), Class: evArrive, Kind: evArrive, A: uint32(i)})
}

// scheduleClosed has a client of a closed loop begin a build now, if it may.
func (s *sim) scheduleClosed(i int) {
	st := s.streams[i]
	if s.k.Now() >= int64(s.Scenario.Duration) || st.Arrivals.Limit > 0 && st.next >= st.Arrivals.Limit {
		return
	}
	s.waiting++
	st.next++
	s.k.Schedule(des.Event{At: s.k.Now(), Class: evArrive, Kind: evArrive, A: uint32(i), B: closedLoop | uint64(st.next-1)<<1})
}
