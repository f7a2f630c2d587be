// Package fuzz simulates random scenarios with every invariant checked, and makes what
// fails small.
//
//	for seed := range uint64(1000) {
//		if failure := fuzz.Seed(seed); failure != nil {
//			fmt.Println(failure.Shrink())
//		}
//	}
//
// A scenario follows from its seed. Each has some features and lacks others (swarm testing:
// Groce, Zhang, Eide, Chen, Regehr, ISSTA '12): a run with everything on hides what shows
// only where, say, nobody cancels.
//
// Two things can be wrong: something happened that can't ([model.Violation]), or a run that
// was held, copied and gone on with came to something else than one that wasn't. A scenario
// that can't be served, since all workers were lost, is none of them.
package fuzz

import (
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/model"
)

// maxEvents ends a run: most take some thousands.
const maxEvents = 200_000

// A Failure is a scenario in which something is wrong.
type Failure struct {
	Seed     uint64 // of the scenario
	Scenario []byte
	Err      error
	simulate Simulate
}

// Simulate runs a scenario, as [model.Run] does.
type Simulate func(model.Config) (model.Outcome, error)

func (f *Failure) Error() string {
	return fmt.Sprintf("scenario of seed %d: %v\n\n%s", f.Seed, f.Err, f.Scenario)
}

// Result is what became of a scenario in which nothing is wrong.
type Result struct {
	Events uint64
	Ended  bool // otherwise it can't be served, or takes too long
}

// Seed runs the scenario of a seed.
func Seed(seed uint64) (Result, *Failure) { return With(nil, seed) }

// With is Seed, of another simulator; nil is the one that there is.
func With(simulate Simulate, seed uint64) (Result, *Failure) {
	text := Scenario(seed)
	result, err := try(simulate, text, maxEvents)
	if err != nil {
		return result, &Failure{seed, text, err, simulate}
	}
	return result, nil
}

// try runs a scenario; the error is what is wrong.
func try(simulate Simulate, text []byte, limit uint64) (r Result, wrong error) {
	s, err := scenario.Parse("fuzz", text)
	if err != nil {
		return r, fmt.Errorf("not a scenario: %w", err)
	}
	defer func() {
		if p := recover(); p != nil {
			wrong = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	config := model.Config{Scenario: s, Check: true, MaxEvents: limit}
	if simulate == nil {
		simulate = model.Run
		defer func() {
			if wrong == nil && r.Ended {
				wrong = copies(s)
			}
		}()
	}
	o, err := simulate(config)
	var v *model.Violation
	if errors.As(err, &v) {
		return r, v
	}
	return Result{o.Events, err == nil}, nil
}

// copies holds a run at some moment, and goes on with a copy of it.
func copies(s *scenario.Scenario) error {
	config := model.Config{Scenario: s, MaxEvents: maxEvents}
	want, err := model.Run(config)
	if err != nil {
		return fmt.Errorf("unchecked: %w", err)
	}
	held, err := model.New(config)
	if err != nil {
		return err
	}
	at := time.Duration(workload.NewRand(s.Seed, "hold").Unit() * float64(want.End))
	if err := held.RunUntil(at); err != nil {
		return fmt.Errorf("until %v: %w", at, err)
	}
	c, err := held.Clone()
	if err != nil {
		return fmt.Errorf("copied at %v: %w", at, err)
	}
	for _, run := range []*model.Simulation{c, held} {
		if got, err := run.Finish(); err != nil || got != want {
			return fmt.Errorf("held at %v and gone on with: %+v, %v; want %+v", at, got, err, want)
		}
	}
	return nil
}

// numbers are what differs between failures of one kind.
var numbers = regexp.MustCompile(`[a-z]?\d[\w.]*`)

func kind(err error) string {
	var v *model.Violation
	if errors.As(err, &v) {
		return numbers.ReplaceAllString(v.What, "#")
	}
	first, _, _ := strings.Cut(err.Error(), "\n") // a panic has its stack below
	return numbers.ReplaceAllString(first, "#")
}
