package bench

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spawnJobs is how many processes or actions are under way at a time.
const spawnJobs = 16

// spawnTrue is the yardstick: a process that does nothing.
func spawnTrue() error { return exec.Command("/bin/true").Run() }

// usedCPU returns the CPU time of this process and of its children that have ended.
func usedCPU(b *testing.B) time.Duration {
	b.Helper()
	var sum int64
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += u.Utime.Nano() + u.Stime.Nano()
	}
	return time.Duration(sum)
}

// medianOf calls f again and again, and returns what half of the calls took at most.
func medianOf(b *testing.B, f func() error) time.Duration {
	b.Helper()
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	return median(took)
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}

// BenchmarkSpawn sets what running a program costs as an action against what it costs as
// a process, /bin/true by fork and exec, alone and sixteen at a time: times-true is the
// ratio of the medians, of-true that of the rates. An action is what a worker and its casd
// do, from the moment a lease is sent to the moment its result comes back: as they are by
// default, with as many runner processes kept as there are jobs, and with none kept. What each
// costs in CPU time is steadier on a machine with other work.
func BenchmarkSpawn(b *testing.B) {
	runner := buildRunner(b)
	var alone, together float64 // of the yardstick: seconds, and per second
	b.Run("what=true/jobs=1", func(b *testing.B) {
		alone = medianOf(b, spawnTrue).Seconds()
	})
	b.Run(fmt.Sprintf("what=true/jobs=%d", spawnJobs), func(b *testing.B) {
		used := usedCPU(b)
		parallel(b, b.N, spawnJobs, func(int, int) error { return spawnTrue() })
		b.ReportMetric(float64((usedCPU(b)-used).Microseconds())/float64(b.N), "cpu-µs/op")
		together = float64(b.N) / b.Elapsed().Seconds()
	})
	b.Run("what=capabilities/jobs=1", func(b *testing.B) {
		took := medianOf(b, func() error { return exec.Command(runner, "--capabilities").Run() })
		b.ReportMetric(took.Seconds()/alone, "times-true")
	})
	for _, pool := range []string{byDefault, strconv.Itoa(spawnJobs), "0"} {
		b.Run(fmt.Sprintf("what=action/pool=%s/jobs=1", pool), func(b *testing.B) {
			took := stationOfTrue(b, runner, pool, 1)
			b.ReportMetric(took.Seconds()/alone, "times-true")
		})
		b.Run(fmt.Sprintf("what=action/pool=%s/jobs=%d", pool, spawnJobs), func(b *testing.B) {
			stationOfTrue(b, runner, pool, spawnJobs)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/together, "of-true")
		})
	}
}
