package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/reports/result"
)

func sketchOf(durations ...time.Duration) result.Sketch {
	var s result.Sketch
	for _, d := range durations {
		s.Record(d)
	}
	return s
}

// measured is a result with all that is printed of one.
func measured() *result.Result {
	ms := time.Millisecond
	r := &result.Result{}
	r.Actions = []result.Actions{
		{ActionKey: result.ActionKey{Class: "compile", Outcome: "cached"}, Count: 12, Response: sketchOf(16 * ms)},
		{
			ActionKey: result.ActionKey{Class: "compile", Outcome: "executed"}, Count: 400, Response: sketchOf(207*ms, 474*ms), Queue: sketchOf(159 * ms),
			Fetch: sketchOf(13 * ms), Run: sketchOf(66 * ms), Upload: sketchOf(5 * ms), Overhead: sketchOf(49 * ms),
		},
	}
	r.Calls = []result.Calls{{CallKey: result.CallKey{Method: "ContentAddressableStorage/BatchUpdateBlobs", Status: "RESOURCE_EXHAUSTED"}, Count: 68, Failed: 68, Response: sketchOf(23 * ms)}}
	r.Builds.Count = 2
	r.Builds.Makespan, r.Builds.Slowdown = sketchOf(3*time.Second), sketchOf(3000)
	r.Run.Notes = []string{"the target shares this machine with the generator: they take each other's CPU, and times are those of both together"}
	return r
}

func TestAResultFitsATerminal(t *testing.T) {
	var out strings.Builder
	printResult(onScreen(&out, "text"), measured(), "runs/20261126T061919Z-079a")
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > screenWidth || strings.TrimRight(line, " ") != line {
			t.Errorf("a line of %d characters: %q", n, line)
		}
	}
	for _, want := range []string{
		"  compile  executed    400  207ms  474ms  474ms  474ms\n", // the maximum is exact
		"  compile  executed  159ms   13ms  66ms     5ms      49ms\n",
		"  BatchUpdateBlobs  RESOURCE_EXHAUSTED     68      68 ",
		"2 builds, 0 failed: makespan p50 3s, p90 3s;",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q isn't in\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "compile    cached"); n != 1 {
		t.Errorf("what was cached has %d rows, want one and no stages:\n%s", n, out.String())
	}
}

func TestBuildsThatWereCancelledTookNoTime(t *testing.T) {
	var b result.Builds
	b.Count, b.Cancelled = 2, 2
	if got, want := buildsLine(&b), "2 builds, 0 failed, 2 cancelled: none came to its end"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgressTellsOnlyWhatItKnows(t *testing.T) {
	p := drive.Progress{Phase: "running", Elapsed: time.Second, Builds: 1, Actions: 56, Calls: 377}
	if got, want := progressLine(p, 2*time.Second), "running ██████████░░░░░░░░░░ 1s  1 build, 56 actions (0 cached)  0 in flight  377 calls"; got != want {
		t.Errorf("while nothing ends: %q, want %q", got, want)
	}
	p.P50, p.P99, p.Failed = time.Second, 2*time.Second, 3
	if got := progressLine(p, 2*time.Second); !strings.HasSuffix(got, " 1s  3 failed, 0 dropped  1 build, 56 actions (0 cached)  p50 1s p99 2s  0 in flight  377 calls") {
		t.Errorf("got %q", got)
	}
}
