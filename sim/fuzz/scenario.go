package fuzz

import (
	"fmt"
	"strings"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/queue"
)

// dice are what a scenario is drawn by.
type dice struct{ *workload.Rand }

func (d dice) from(low, high int) int      { return low + int(d.Unit()*float64(high-low+1)) }
func (d dice) chance(p float64) bool       { return d.Unit() < p }
func (d dice) of(words ...string) string   { return words[d.from(0, len(words)-1)] }
func (d dice) millis(low, high int) string { return fmt.Sprintf("%dms", d.from(low, high)) }

// swarm are the features that a scenario has: a part of a scenario that could have one has
// it with its own probability, and 0 is never.
type swarm map[string]bool

// features are all that a scenario may have or lack.
var features = []string{
	"streams", "layers", "tape", "edit", "herd", "cancel", "keep_going", "hits", "failures", "priorities", "tenants",
	"platforms", "closed", "bursts", "odd arrivals", "skip_cache", "inputs", "shared", "fleets", "boot", "lifetime", "slow", "cache",
	"storage", "faults", "silence", "few slots", "policy", "long", "instant", "crowd", "autoscalers", "zones", "outgrowing",
}

// Scenario returns the scenario of a seed, as a file.
func Scenario(seed uint64) []byte {
	d := dice{workload.NewRand(seed, "fuzz")}
	on := make(swarm)
	for _, f := range features {
		on[f] = d.chance(0.5)
	}
	var b strings.Builder
	seconds := d.from(2, 40)
	fmt.Fprintf(&b, "version: 1\nseed: %d\nduration: %ds\ndemand:\n", seed, seconds)
	streams := 1
	if on["streams"] {
		streams = d.from(2, 4)
	}
	for i := range streams {
		d.demand(&b, on, i, seconds)
	}
	var client []string
	if on["crowd"] && d.chance(0.3) {
		client = append(client, fmt.Sprintf("max_in_flight: %d", d.from(1, 5)))
	}
	// By dice of its own, which leave all else of a seed as it was before there was a latency.
	if late := (dice{workload.NewRand(seed, "fuzz latency")}); late.chance(0.3) {
		client = append(client, "latency: "+late.millis(1, 400))
	}
	if client != nil {
		fmt.Fprintf(&b, "client: {%s}\n", strings.Join(client, ", "))
	}
	d.cluster(&b, on)
	if on["faults"] {
		b.WriteString("faults:\n")
		for range d.from(1, 4) {
			fmt.Fprintf(&b, "  - {at: %s, %s}\n", d.millis(0, seconds*1200), d.fault(on))
		}
	}
	return []byte(b.String())
}

// fault draws what goes wrong.
func (d dice) fault(on swarm) string {
	if on["storage"] && d.chance(0.3) {
		return d.of(fmt.Sprintf("storage_outage: %s", d.millis(1, 5000)), fmt.Sprintf("storage_slow: %d%%, for: %s", d.from(1, 99), d.millis(1, 10000)))
	}
	if on["zones"] && d.chance(0.3) {
		return fmt.Sprintf("kill_zone: z, for: %s", d.millis(1, 10000))
	}
	return d.of(
		fmt.Sprintf("kill_workers: %d", d.from(1, 3)),
		fmt.Sprintf("kill_share: %d%%", d.from(1, 100)),
		fmt.Sprintf("start_workers: %d", d.from(1, 3)),
		fmt.Sprintf("drain_workers: %d", d.from(1, 3)),
		fmt.Sprintf("freeze_workers: %d, for: %s", d.from(1, 3), d.millis(1, 20000)),
		fmt.Sprintf("cache_outage: %s", d.millis(1, 10000)),
		fmt.Sprintf("scheduler_restart: %s", d.millis(0, 10000)),
	)
}

func (d dice) demand(b *strings.Builder, on swarm, i, seconds int) {
	p := func(format string, args ...any) { fmt.Fprintf(b, "    "+format+"\n", args...) }
	fmt.Fprintf(b, "  - name: s%d\n", i)
	p("arrivals: {%s}", d.arrivals(on, seconds))
	p("jobs: %d", d.from(1, d.from(1, 20)))
	if on["tenants"] && d.chance(0.5) {
		p("instance: t%d", d.from(1, 2))
	}
	if on["priorities"] && d.chance(0.5) {
		p("priority: %d", d.from(-5, 5))
	}
	if on["cancel"] && d.chance(0.7) {
		p("cancel: %d%%", d.from(10, 100))
		p("patience: %s", d.millis(1, 8000))
	}
	for _, flag := range []string{"keep_going", "skip_cache", "herd"} {
		if on[flag] && d.chance(0.5) {
			p("%s: true", flag)
		}
	}
	if on["tape"] && d.chance(0.4) {
		p("tape:")
		for range d.from(1, 3) {
			p("  - %s", d.recorded(on))
		}
		return
	}
	if on["edit"] && d.chance(0.5) {
		p("edit: %d%%", d.from(0, 60))
	}
	if on["shared"] && on["inputs"] {
		p("shared: {blobs: %d, size: %dk}", d.from(1, 30), d.from(1, 200))
	}
	classes := d.from(1, 3)
	p("actions:")
	for c := range classes {
		p("  - {name: c%d, %s}", c, d.class(on))
	}
	layers := 1
	if on["layers"] {
		layers = d.from(1, 4)
	}
	p("dag:")
	for range layers {
		fan := ""
		if d.chance(0.6) {
			fan = fmt.Sprintf(", fan_in: %s", d.of(fmt.Sprint(d.from(1, 8)), "{uniform: [1, 6]}"))
		}
		p("  - {class: c%d, actions: %d%s}", d.from(0, classes-1), d.from(1, d.from(1, 15)), fan)
	}
}

func (d dice) recorded(on swarm) string {
	var all []string
	for i := range d.from(1, 8) {
		a := fmt.Sprintf("duration: %s, output: %dk", d.millis(0, 2000), d.from(0, 500))
		if i > 0 && d.chance(0.6) {
			a += fmt.Sprintf(", after: [%d]", d.from(0, i-1))
		}
		if on["hits"] && d.chance(0.2) {
			a += ", hit: true"
		}
		if on["failures"] && d.chance(0.1) {
			a += ", fails: true"
		}
		all = append(all, "{"+a+"}")
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (d dice) arrivals(on swarm, seconds int) string {
	limit := fmt.Sprintf(", limit: %d", d.from(1, 60))
	switch {
	case on["closed"] && d.chance(0.5):
		return fmt.Sprintf("closed: {clients: %d}", d.from(1, 6)) + limit
	case on["bursts"] && d.chance(0.5):
		return fmt.Sprintf("burst: %d", d.from(1, 12))
	case on["odd arrivals"] && d.chance(0.7):
		return d.of(
			fmt.Sprintf("constant: {rate: %d}", d.from(1, 4)),
			fmt.Sprintf("on_off: {rate: %d, on: %s, off: %s}", d.from(1, 8), d.millis(100, 3000), d.millis(0, 5000)),
			fmt.Sprintf("diurnal: {rate: %d, amplitude: %d%%, period: %ds}", d.from(1, 3), d.from(0, 100), d.from(1, 2*seconds)),
			fmt.Sprintf("ramp: {from: 0, to: %d, over: %ds}", d.from(1, 5), d.from(1, seconds)),
			fmt.Sprintf("trace: [0s, 0s, %s, 3s, 3s]", d.millis(0, 3000)),
		) + limit
	}
	return fmt.Sprintf("poisson: {rate: 0.%d}", d.from(1, 99)) + limit
}

func (d dice) class(on swarm) string {
	longest := 1500
	if on["long"] && d.chance(0.2) {
		longest = 150_000
	}
	duration := d.of(
		d.millis(1, longest),
		fmt.Sprintf("{uniform: [%s, %dms]}", d.millis(0, 100), 100+longest),
		fmt.Sprintf("{exponential: %s}", d.millis(1, longest)),
		fmt.Sprintf("{lognormal: {median: %s, sigma: 1.%d}, max: %dms}", d.millis(1, longest), d.from(0, 9), 10*longest),
		fmt.Sprintf("{pareto: {min: %s, shape: 1.%d}, max: %dms}", d.millis(1, longest), d.from(1, 9), 10*longest),
	)
	if on["instant"] && d.chance(0.3) {
		duration = "0s"
	}
	parts := []string{"duration: " + duration}
	add := func(feature string, p float64, format string, args ...any) {
		if on[feature] && d.chance(p) {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add("hits", 0.5, "hit_rate: %d%%", d.from(1, 100))
	add("failures", 0.5, "failure_rate: %d%%", d.from(1, 40))
	add("priorities", 0.3, "priority: %d", d.from(-3, 3))
	add("platforms", 0.5, "platform: {%s}", d.of("os: a", "os: b", "os: a, size: large"))
	if on["outgrowing"] && on["platforms"] && d.chance(0.5) {
		parts = append(parts, fmt.Sprintf("outgrows: %d%%, larger: {%s, ram: more}", d.from(1, 60), d.of("os: a", "os: b", "size: large")))
	}
	add("inputs", 0.7, "inputs: {files: %d, size: %dk, shared: %d%%}", d.from(0, 10), d.from(0, 500), d.from(0, 100))
	add("storage", 0.7, "output: %dk", d.from(0, 3000))
	return strings.Join(parts, ", ")
}

func (d dice) cluster(b *strings.Builder, on swarm) {
	b.WriteString("cluster:\n  workers:\n")
	fleets := 1
	if on["fleets"] {
		fleets = d.from(2, 3)
	}
	for f := range fleets {
		slots := d.from(1, 6)
		if on["few slots"] {
			slots = 1
		}
		parts := []string{fmt.Sprintf("count: %d, slots: %d", d.from(min(1, f)^1, 5), slots)}
		add := func(feature string, p float64, format string, args ...any) {
			if on[feature] && d.chance(p) {
				parts = append(parts, fmt.Sprintf(format, args...))
			}
		}
		if on["platforms"] {
			// The first serves everybody, so that most scenarios can be.
			of := "os: a, size: large"
			if f > 0 {
				of = d.of("os: a", "os: b", "os: b, size: large")
			}
			if on["outgrowing"] && d.chance(0.5) {
				of += ", ram: more"
			}
			parts = append(parts, "platform: {"+of+"}")
		}
		add("boot", 0.7, "boot: %s", d.of(d.millis(0, 5000), "{exponential: 2s}"))
		add("lifetime", 0.5, "lifetime: {exponential: %s}, notice: %s", d.millis(3000, 30000), d.millis(0, 3000))
		if on["zones"] {
			parts = append(parts, "zone: z")
		}
		add("autoscalers", 0.5, "autoscaler: {rule: %s, min: 0, max: %d, every: %s, scrape: %s, lag: %s}", d.of(
			"square-root, window: 15s", "quantile, window: 10s", "hpa, metric: load, target: 50%, stabilization: 0s",
		), d.from(6, 9), d.millis(1000, 5000), d.millis(500, 1000), d.millis(0, 3000))
		add("slow", 0.7, "slow: %d%%, slowness: %d", d.from(1, 100), d.from(1, 5))
		add("cache", 0.7, "cache: %dk", d.from(0, 5000))
		fmt.Fprintf(b, "    - {%s}\n", strings.Join(parts, ", "))
	}
	if on["policy"] {
		fmt.Fprintf(b, "  policy: %s\n", d.policy())
	}
	if on["silence"] {
		fmt.Fprintf(b, "  session_timeout: %s\n", d.millis(1000, 20000))
	}
	if on["storage"] {
		fmt.Fprintf(b, "  storage: {bandwidth: %dM, per_worker: %dM, latency: %s}\n", d.from(1, 50), d.from(0, 10), d.millis(0, 20))
	}
}

// policy draws a preset, with other settings at times, or a tree.
func (d dice) policy() string {
	if d.chance(0.2) {
		return fmt.Sprintf("tenant=%s invocation=%s task=%s cost=%s",
			d.of("fifo", "fair", "priority", "shortest"), d.of("fifo", "fair", "priority", "shortest"), d.of("fifo", "priority", "shortest"), d.of("count", "expected", "measured"))
	}
	p := d.of(queue.Presets()...)
	if d.chance(0.2) {
		p += " " + d.of("ageing=1s", "ageing=off", "patience=2", "patience=off", "cost=expected")
	}
	return p
}
