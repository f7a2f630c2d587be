package tracetest

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Measure runs f as often as b asks, and reports for how many actions that is for
// each second of a core's time, whatever else the machine is doing; f is for so
// many actions. The collector's work counts.
func Measure(b *testing.B, actions int, f func()) {
	b.Helper()
	b.ReportAllocs()
	runtime.GC() // what the benchmark was prepared with is not f's
	before := cpuTime()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(b.N*actions)/(cpuTime()-before).Seconds(), "actions/core-s")
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("getrusage of this process: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
