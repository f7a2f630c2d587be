package drive

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/reports/result"
)

// healthInterval is how often the generator looks at itself.
const healthInterval = time.Second

// Health watches how much of its machine a generator takes, until it is stopped.
type Health struct {
	stopped chan struct{}
	done    chan result.Generator
}

// WatchHealth begins.
func WatchHealth() *Health {
	h := &Health{make(chan struct{}), make(chan result.Generator, 1)}
	go h.watch()
	return h
}

// Stop ends it.
func (h *Health) Stop() result.Generator {
	close(h.stopped)
	return <-h.done
}

func (h *Health) watch() {
	g := result.Generator{CPUs: runtime.GOMAXPROCS(0)}
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	first := sample()
	last := first
	for {
		select {
		case <-ticker.C:
		case <-h.stopped:
			now := sample()
			g.CPUMean = now.cpu(first, g.CPUs)
			if now.at.Sub(first.at) < healthInterval {
				g.CPUMax, g.MachineMax = g.CPUMean, now.machine(first)
			}
			g.HeapMax = max(g.HeapMax, now.heap)
			g.GCPause = now.pause
			h.done <- g
			return
		}
		now := sample()
		g.CPUMax = max(g.CPUMax, now.cpu(last, g.CPUs))
		g.MachineMax = max(g.MachineMax, now.machine(last))
		g.HeapMax = max(g.HeapMax, now.heap)
		last = now
	}
}

// reading is what the process and its machine had used at a moment.
type reading struct {
	at         time.Time
	used       time.Duration // CPU time of this process
	busy, idle int64         // of all CPUs, in ticks; 0 where /proc can't say
	heap       int64
	pause      time.Duration
}

func sample() reading {
	r := reading{at: time.Now()}
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) == nil {
		r.used = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	r.busy, r.idle = machineTicks()
	values := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(values)
	if values[0].Value.Kind() == metrics.KindUint64 {
		r.heap = int64(values[0].Value.Uint64())
	}
	if values[1].Value.Kind() == metrics.KindFloat64Histogram {
		h := values[1].Value.Float64Histogram()
		for i, n := range h.Counts {
			if n > 0 && h.Buckets[i] > 0 { // the lowest is −∞
				r.pause = time.Duration(h.Buckets[i] * float64(time.Second)) // its lower bound
			}
		}
	}
	return r
}

func (r reading) cpu(before reading, cpus int) float64 {
	return float64(r.used-before.used) / float64(max(1, r.at.Sub(before.at))) / float64(cpus)
}

func (r reading) machine(before reading) float64 {
	all := r.busy + r.idle - before.busy - before.idle
	if all <= 0 {
		return 0
	}
	return float64(r.busy-before.busy) / float64(all)
}

// machineTicks reads the first line of /proc/stat: cpu user nice system idle iowait …
func machineTicks() (busy, idle int64) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	for i, field := range bytes.Fields(line) {
		n, err := strconv.ParseInt(string(field), 10, 64)
		switch {
		case err != nil: // the word cpu
		case i == 4 || i == 5: // idle, waiting for disks
			idle += n
		case i < 9: // guests are in user already
			busy += n
		}
	}
	return busy, idle
}
