package model

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/queue"
)

// Shared returns where two simulations have memory in common that isn't known to stay as
// it is: paths through the fields of the second.
func Shared(a, b *Simulation) []string {
	seen := make(map[uintptr]bool)
	memory(reflect.ValueOf(a.sim).Elem(), "", func(at uintptr, _ string) bool {
		known := seen[at]
		seen[at] = true
		return !known
	})
	var shared []string
	own := make(map[uintptr]bool)
	memory(reflect.ValueOf(b.sim).Elem(), "", func(at uintptr, path string) bool {
		if seen[at] {
			shared = append(shared, path)
			return false
		}
		known := own[at]
		own[at] = true
		return !known
	})
	return shared
}

// constant are types of which nothing changes once they are made.
var constant = []reflect.Type{reflect.TypeFor[*scenario.Scenario](), reflect.TypeFor[*scenario.Demand](), reflect.TypeFor[*workload.Stream](), reflect.TypeFor[scenario.Workers](), reflect.TypeFor[*scenario.Autoscaler](), reflect.TypeFor[map[string]string](), reflect.TypeFor[workload.Action]()}

// memory walks what a value refers to: once into each piece, if the visitor says so.
func memory(v reflect.Value, path string, visit func(at uintptr, path string) bool) {
	for _, t := range constant {
		if v.Type() == t {
			return
		}
	}
	if v.Type().String() == "*workload.graph" || v.Type().String() == "queue.Config" {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && visit(v.Pointer(), path) {
			memory(v.Elem(), path, visit)
		}
	case reflect.Interface:
		if !v.IsNil() {
			memory(v.Elem(), path, visit)
		}
	case reflect.Slice:
		if v.Cap() == 0 || v.Type().Elem().Size() == 0 || !visit(v.Pointer(), path) {
			return
		}
		for i := range v.Len() {
			memory(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	case reflect.Map:
		if !v.IsNil() {
			visit(v.Pointer(), path)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			memory(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Array:
		for i := range v.Len() {
			memory(v.Index(i), path, visit)
		}
	}
}

// RunTampered is [Run] of a model that hears of the scheduler's outputs only as tamper
// leaves them, and not at all of those of which it says false.
func RunTampered(c Config, tamper func(*queue.Output) bool) (Outcome, error) {
	s, err := New(c)
	if err != nil {
		return Outcome{}, err
	}
	s.sim.tamper = tamper
	return s.Finish()
}

// RunJudged is Run of a scheduler that is held against another policy than its own.
func RunJudged(c Config, policy queue.Policy) (Outcome, error) {
	s, err := New(c)
	if err != nil {
		return Outcome{}, err
	}
	s.sim.with.Policy = policy
	s.sim.account.judge()
	return s.Finish()
}

// RunHaunted is Run with a worker that waits for tasks of the first platform, and of which
// the scheduler doesn't know.
func RunHaunted(c Config) (Outcome, error) {
	s, err := New(c)
	if err != nil {
		return Outcome{}, err
	}
	s.sim.account.workers[0] = workerAccount{slots: 1, serves: []queue.PlatformID{0}, waits: true}
	s.sim.account.want(&s.sim.account.workers[0])
	return s.Finish()
}

// ReportAll has workers report all that they hold each time, as production's do.
func ReportAll(c Config) Config {
	c.reportAll = true
	return c
}

// References returns the fields of a run that refer to other memory, by their types.
func References() []string {
	var all []string
	seen := make(map[reflect.Type]bool)
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		if seen[t] || slices.Contains(constant, t) || t.PkgPath() != "" && !strings.HasSuffix(t.PkgPath(), "sim/model") && !strings.HasSuffix(t.PkgPath(), "loadgen/workload") {
			return
		}
		seen[t] = true
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			walk(t.Elem())
		case reflect.Struct:
			for i := range t.NumField() {
				f := t.Field(i)
				switch f.Type.Kind() {
				case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Func, reflect.Interface:
					name, _, _ := strings.Cut(t.Name(), "[")
					all = append(all, name+"."+f.Name)
				}
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[sim]())
	slices.Sort(all)
	return slices.Compact(all)
}
