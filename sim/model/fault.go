package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
)

// Moments of a fault.
const (
	faultBegins = iota
	zoneIsUp
	cacheIsBack
	storageIsBack
	storageIsFast
	restartEnds
)

// addFaults has the faults of the scenario come, from a number on.
func (s *sim) addFaults(from int) {
	for i := from; i < len(s.Scenario.Faults); i++ {
		f := &s.Scenario.Faults[i]
		s.k.Schedule(des.Event{At: int64(f.At), Class: evFault, Kind: evFault, A: uint32(i)})
		s.faultTimes = append(s.faultTimes, int64(f.At))
	}
	slices.Sort(s.faultTimes)
}

// endsAfter has what a fault began end.
func (s *sim) endsAfter(fault int, d time.Duration, what uint64) {
	s.k.Schedule(des.Event{At: des.Add(s.k.Now(), int64(d)), Class: evFault, Kind: evFault, A: uint32(fault), B: what})
}

// fault has go wrong what the scenario says, or come right again.
func (s *sim) fault(i int, moment uint64) {
	f := &s.Scenario.Faults[i]
	switch moment {
	case faultBegins:
		s.harm(i, f)
	case zoneIsUp:
		s.zoneUp(f.KillZone)
	case cacheIsBack:
		s.results.away--
	case storageIsBack:
		s.speedUp(0)
	case storageIsFast:
		s.speedUp(f.StorageSlow)
	case restartEnds:
		s.restarted()
	}
}

func (s *sim) harm(i int, f *scenario.Fault) {
	s.each(f.KillWorkers, func(w *worker) bool { return w.alive }, s.kill)
	if f.KillShare > 0 {
		s.killShare(f.KillShare, workload.NewRand(s.Scenario.Seed, fmt.Sprintf("fault/%d", i)))
	}
	if f.KillZone != "" {
		s.zoneDown(f.KillZone)
		if f.For > 0 {
			s.endsAfter(i, f.For, zoneIsUp)
		}
	}
	for range f.StartWorkers {
		s.start(s.fleets[0])
	}
	s.each(f.DrainWorkers, func(w *worker) bool { return w.alive && !w.leaving }, s.leave)
	until := des.Add(s.k.Now(), int64(f.For))
	s.each(f.FreezeWorkers, (*worker).hears, func(at int32) { s.freeze(at, until) })
	if f.CacheOutage > 0 {
		s.results.away++
		s.endsAfter(i, f.CacheOutage, cacheIsBack)
	}
	if f.StorageOutage > 0 && s.link != nil {
		s.slowDown(0)
		s.endsAfter(i, f.StorageOutage, storageIsBack)
	}
	if f.StorageSlow > 0 && s.link != nil {
		s.slowDown(f.StorageSlow)
		s.endsAfter(i, f.For, storageIsFast)
	}
	if f.SchedulerRestart != nil {
		s.restart(i, *f.SchedulerRestart)
	}
}

// each does something to the first workers of a kind, by their places.
func (s *sim) each(n int, is func(*worker) bool, do func(int32)) {
	for i, w := range s.workers.all {
		if n == 0 {
			return
		}
		if is(w) {
			n--
			do(i)
		}
	}
}

// killShare kills a share of the workers, rounded, each as likely as another (Knuth, TAOCP
// 3.4.2, algorithm S).
func (s *sim) killShare(share float64, r *workload.Rand) {
	alive := func(w *worker) bool { return w.alive }
	left := 0
	s.each(-1, alive, func(int32) { left++ })
	n := int(float64(share*float64(left)) + 0.5)
	s.each(-1, alive, func(at int32) {
		if r.Unit()*float64(left) < float64(n) {
			n--
			s.kill(at)
		}
		left--
	})
}

// zoneDown ends all workers of a zone, those that boot too.
func (s *sim) zoneDown(zone string) {
	for _, f := range s.fleets {
		if f.Zone == zone {
			f.zoneDown++
		}
	}
	in := func(w *worker) bool { return w.fleet.Zone == zone && (w.alive || !w.leaving) }
	s.each(-1, in, func(at int32) {
		w := s.workers.at(at)
		if w.fleet.scaler == nil && (!w.leaving || w.noticed) {
			w.fleet.owed++
		}
		if w.alive {
			s.kill(at)
		} else {
			s.leave(at)
		}
	})
}

// zoneUp has workers come again, as many as were there.
func (s *sim) zoneUp(zone string) {
	for _, f := range s.fleets {
		if f.Zone != zone {
			continue
		}
		if f.zoneDown--; f.zoneDown == 0 {
			for range f.owed {
				s.start(f)
			}
			f.owed = 0
		}
	}
}
