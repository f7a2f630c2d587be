package bench

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkTrue runs /bin/true through a whole cluster: proxy, scheduler, worker,
// a runner process for each, casd. traced=yes writes every span to a file.
func BenchmarkTrue(b *testing.B) {
	runner := filepath.Join(b.TempDir(), "buildbox-run-hosttools")
	build := exec.Command("go", "build", "-o", runner, "github.com/weir-build/weir/cmd/buildbox-run-hosttools")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for _, traced := range []bool{false, true} {
		b.Run("traced="+yesNo(traced), func(b *testing.B) {
			role := []string{"cluster", b.TempDir(), runner}
			if traced {
				role = append(role, "traced")
			}
			s := start(b, role...)
			conns := dial(b, s)
			actions := noops(b, s, b.N, true)
			measure(b, "actions/s", 1, []*server{s}, func() {
				parallel(b, b.N, 16, func(w, i int) error {
					response, err := execute(conns[w%connections], actions[i], true)
					if err == nil && (response.GetResult() == nil || response.Result.ExitCode != 0) {
						err = fmt.Errorf("no result: %v", response)
					}
					return err
				})
			})
		})
	}
}
