package model

import (
	"slices"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
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

// fault has go wrong what the scenario says.
func (s *sim) fault(f *scenario.Fault) {
	left := f.KillWorkers
	for i := range s.workers.all {
		if left == 0 {
			break
		}
		if w := s.workers.find(int32(i), s.workers.turn(int32(i))); w != nil && w.alive {
			left--
			s.kill(int32(i))
		}
	}
	for range f.StartWorkers {
		s.start(s.fleets[0])
	}
}
