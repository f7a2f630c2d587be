package bench

import (
	"testing"
	"time"
)

// TestCostOfJournal measures what the journal costs an action of nothing, in time and
// in CPU time, as TestCostOfTracing does.
func TestCostOfJournal(t *testing.T) {
	rounds := roundsAsked(t)
	storage := start(t, "memory", "-")
	cpu := newComparison("CPU of the execution-server", "journal", rounds, onOff(false), onOff(true))
	elapsed := newComparison("elapsed time", "journal", rounds, cpu.variants...)
	servers := make(map[string]*execution)
	for _, v := range cpu.variants {
		servers[v] = startExecution(t, storage, variant{inFlight: plain.inFlight, tracing: untraced, journaled: v == onOff(true)})
		startCrew(t, servers[v].conns, plain.inFlight/actionsPerWorker)
	}
	cpu.run(func(variant string) time.Duration {
		s, actions := servers[variant], noops(t, storage, noopsOfRound, true)
		before, begin := s.cpu(t), time.Now()
		s.run(t, actions)
		elapsed.add(variant, time.Since(begin)/noopsOfRound)
		return (s.cpu(t) - before) / noopsOfRound
	})
	cpu.print(t)
	elapsed.print(t)
}
