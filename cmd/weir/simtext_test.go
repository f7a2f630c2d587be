package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
)

// TestPlotsShowWhatThereWas: columns by time, each as high as its value, on a screen of 80
// columns.
func TestPlotsShowWhatThereWas(t *testing.T) {
	var intervals []observe.Interval
	for i := range 4 {
		intervals = append(intervals, observe.Interval{
			Start: time.Duration(i) * time.Second, End: time.Duration(i+1) * time.Second,
			Running: float64(i), Slots: 4, MaxQueued: int64(i * i), Queued: float64(i),
		})
	}
	var out bytes.Buffer
	plotQueue(&out, intervals)
	plotSlots(&out, intervals)
	plotWaits(&out, []observe.Wait{{Below: 0, Count: 3}, {Below: time.Millisecond}, {Below: 2 * time.Millisecond, Count: 1}, {Below: 4 * time.Millisecond}, {Below: 90 * time.Minute, Count: 6}})
	blank, full, idle := strings.Repeat(" ", 17), strings.Repeat("█", 17), strings.Repeat("░", 17)
	want := strings.Join([]string{
		"waiting (█ the longest queue of the time)",
		"      9 ┤" + blank + blank + blank + full,
		"        ┤" + blank + blank + blank + full,
		"        ┤" + blank + blank + blank + full,
		"        ┤" + blank + blank + blank + full,
		"        ┤" + blank + blank + strings.Repeat("▄", 17) + full,
		"        ┤" + blank + blank + full + full,
		"        ┤" + blank + blank + full + full,
		"  1.125 ┤" + blank + strings.Repeat("▇", 17) + full + full,
		"        └" + strings.Repeat("─", 68),
		"         0" + strings.Repeat(" ", 65) + "4s",
		"slots (█ busy, ░ idle, means)",
		"      4 ┤" + idle + idle + idle + idle,
		"        ┤" + idle + idle + idle + full,
		"        ┤" + idle + idle + full + full,
		"      1 ┤" + idle + full + full + full,
		"        └" + strings.Repeat("─", 68),
		"         0" + strings.Repeat(" ", 65) + "4s",
		"waits for a worker, each attempt",
		"     none │" + strings.Repeat("█", 25) + " 3 (30.0%)",
		"    < 2ms │" + strings.Repeat("█", 8) + " 1 (10.0%)",
		"    < 4ms │ 0 (0.0%)",
		"   < 1.5h │" + strings.Repeat("█", 50) + " 6 (60.0%)",
		"",
	}, "\n")
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// TestPlotsOfNothing: a run in which nothing waited, or ran.
func TestPlotsOfNothing(t *testing.T) {
	var out bytes.Buffer
	plotQueue(&out, nil)
	plotSlots(&out, nil)
	plotWaits(&out, nil)
	if got := out.String(); got != "waiting: nothing ever did\n" {
		t.Errorf("got %q", got)
	}
}

// TestProgressIsShownFiveTimesASecondAtMost: and says how far all runs are together.
func TestProgressIsShownFiveTimesASecondAtMost(t *testing.T) {
	var out bytes.Buffer
	p := newSimProgress(&out, 10*time.Second, 2, true)
	watch := p.watch(t.Context())
	var configs [2]model.Config
	for i := range configs {
		watch(i, &configs[i])
	}
	for i := range 1000 {
		if err := configs[i%2].Watch(model.Progress{At: int64(4 * time.Second), Events: 5, Level: model.Level{Builds: 3}}); err != nil {
			t.Fatal(err)
		}
	}
	p.end()
	elapsed := time.Since(p.began)
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if most := 1 + int(elapsed/barEvery); len(lines) > most || !strings.HasPrefix(lines[0], "████░░░░░░░░░░░░░░░░  20%  4s of 10s  3 builds open  ") {
		t.Errorf("%d lines in %v, the first %q", len(lines), elapsed, lines[0])
	}
	if got := simProgressLine(p.runs, 10*time.Second, 0); got != "████████░░░░░░░░░░░░  40%  4s of 10s  6 builds open" {
		t.Errorf("got %q", got)
	}
	silent := newSimProgress(&out, time.Second, 1, false)
	out.Reset()
	silent.watch(t.Context())(0, &configs[0])
	if err := configs[0].Watch(model.Progress{}); err != nil || out.Len() > 0 {
		t.Errorf("%v, %q where nobody asked for it", err, out.String())
	}
}

// TestWhatIsNotKnownIsNotClaimed: a run that ends before the queue is short again doesn't say
// that it never would be, and what never ran has no stretch.
func TestWhatIsNotKnownIsNotClaimed(t *testing.T) {
	back := 3 * time.Second
	var out strings.Builder
	printFaults(&out, &result.Result{Faults: []result.FaultEffect{
		{Fault: "10s kill_workers 1", At: 10 * time.Second, Until: 30 * time.Second, QueuePeak: 5},
		{Fault: "30s kill_workers 1", At: 30 * time.Second, Until: 40 * time.Second, QueuePeak: 5, Recovered: &back},
		{Fault: "40s kill_workers 1", At: 40 * time.Second, Until: 45 * time.Second, QueuePeak: 5},
	}})
	for _, want := range []string{`10s kill_workers 1 .* > 20s\n`, `30s kill_workers 1 .* 3s\n`, `40s kill_workers 1 .* > 5s\n`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
	out.Reset()
	printFaults(&out, &result.Result{Faults: make([]result.FaultEffect, maxFaultRows+2)})
	if got := out.String(); strings.Count(got, "\n") != 3+maxFaultRows+2 || !strings.Contains(got, "2 faults more: results.json\n") {
		t.Errorf("of many faults there are\n%s", got)
	}
	out.Reset()
	printPlatforms(&out, &result.Result{Actions: []result.Actions{
		{ActionKey: result.ActionKey{Outcome: result.ActionError, Platform: "os=mac"}, Count: 2}, {ActionKey: result.ActionKey{Outcome: result.ActionError}, Count: 1},
	}})
	if got := strings.Fields(out.String()); got[len(got)-1] != "–" {
		t.Errorf("the last row doesn't end with –:\n%s", &out)
	}
}
