package bench

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/runner/runnertest"
)

// spawnJobs is how many processes or actions are under way at a time.
const spawnJobs = 16

// spawnTrue is the yardstick: a process that does nothing.
func spawnTrue() error { return exec.Command("/bin/true").Run() }

// BenchmarkSpawn sets what running a program costs as an action against what it costs as
// a process, /bin/true by fork and exec, alone and sixteen at a time: times-true is the
// ratio of the times, of-true that of the rates. An action counts from the moment the
// worker got its lease to the moment it has its result.
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
			var took time.Duration
			actionsOfTrue(b, runner, pool, 1, func(m *repb.ExecutedActionMetadata) {
				took += m.WorkerCompletedTimestamp.AsTime().Sub(m.WorkerStartTimestamp.AsTime())
			})
			b.ReportMetric(took.Seconds()/float64(b.N)/alone, "times-true")
		})
		b.Run(fmt.Sprintf("what=action/pool=%d/jobs=%d", pool, spawnJobs), func(b *testing.B) {
			actionsOfTrue(b, runner, pool, spawnJobs, nil)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/together, "of-true")
		})
	}
}

// actionsOfTrue runs b.N actions of /bin/true on a cluster.
func actionsOfTrue(b *testing.B, runner string, pool, jobs int, each func(*repb.ExecutedActionMetadata)) {
	s := start(b, "cluster", runnertest.OpenDir(b), runner, untraced, fmt.Sprint(jobs), fmt.Sprint(pool))
	conns := dial(b, s)
	actions := noops(b, s, b.N, true)
	warm := noops(b, s, jobs, true)
	parallel(b, jobs, jobs, func(w, i int) error { return executeTrue(conns[w%connections], warm[i]) })
	b.ResetTimer()
	parallel(b, b.N, jobs+jobs/2, func(w, i int) error {
		response, err := execute(context.Background(), conns[w%connections], actions[i], true)
		if err == nil && (response.GetResult() == nil || response.Result.ExitCode != 0) {
			err = fmt.Errorf("no result: %v", response)
		}
		if err == nil && each != nil {
			each(response.Result.ExecutionMetadata)
		}
		return err
	})
	b.StopTimer()
}
