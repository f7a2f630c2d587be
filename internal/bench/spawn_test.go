package bench

import (
	"fmt"
	"os/exec"
	"testing"
)

// spawnJobs is how many processes or actions are under way at a time.
const spawnJobs = 16

// spawnTrue is the yardstick: a process that does nothing.
func spawnTrue() error { return exec.Command("/bin/true").Run() }

// BenchmarkSpawn sets what running a program costs as an action against what it costs as
// a process, /bin/true by fork and exec, alone and sixteen at a time: times-true is the
// ratio of the times, of-true that of the rates. An action is what a worker and its casd
// do, from the moment a lease is sent to the moment its result comes back.
func BenchmarkSpawn(b *testing.B) {
	runner := buildRunner(b)
	var alone, together float64 // of the yardstick: seconds, and per second
	b.Run("what=true/jobs=1", func(b *testing.B) {
		for b.Loop() {
			if err := spawnTrue(); err != nil {
				b.Fatal(err)
			}
		}
		alone = b.Elapsed().Seconds() / float64(b.N)
	})
	b.Run(fmt.Sprintf("what=true/jobs=%d", spawnJobs), func(b *testing.B) {
		parallel(b, b.N, spawnJobs, func(int, int) error { return spawnTrue() })
		together = float64(b.N) / b.Elapsed().Seconds()
	})
	b.Run("what=capabilities/jobs=1", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command(runner, "--capabilities").Run(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/alone, "times-true")
	})
	for _, pool := range []int{0, spawnJobs} {
		b.Run(fmt.Sprintf("what=action/pool=%d/jobs=1", pool), func(b *testing.B) {
			took := stationOfTrue(b, runner, pool, 1)
			b.ReportMetric(took.Seconds()/alone, "times-true")
		})
		b.Run(fmt.Sprintf("what=action/pool=%d/jobs=%d", pool, spawnJobs), func(b *testing.B) {
			stationOfTrue(b, runner, pool, spawnJobs)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/together, "of-true")
		})
	}
}
