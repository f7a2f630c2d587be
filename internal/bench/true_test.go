package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
)

// trueInFlight is how many Execute calls of /bin/true are under way: twice the
// worker's slots.
const trueInFlight = 16

// buildRunner builds our runner and returns its path.
func buildRunner(b testing.TB) string {
	b.Helper()
	linked, runner := filepath.Join(b.TempDir(), "linked"), filepath.Join(b.TempDir(), "buildbox-run-hosttools")
	// As `make build` does, copy included.
	build := exec.Command("go", "build", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", linked, "github.com/weir-build/weir/cmd/buildbox-run-hosttools")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(linked)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(runner, data, 0o755); err != nil {
		b.Fatal(err)
	}
	return runner
}

func executeTrue(conn *grpc.ClientConn, action *repb.Digest) error {
	response, err := execute(context.Background(), conn, action, true)
	if err == nil && (response.GetResult() == nil || response.Result.ExitCode != 0) {
		err = fmt.Errorf("no result: %v", response)
	}
	return err
}

// BenchmarkTrue runs /bin/true through a whole cluster: proxy, scheduler, worker,
// a runner process for each, casd. traced=yes writes every span to a file.
func BenchmarkTrue(b *testing.B) {
	runner := buildRunner(b)
	for _, tracing := range []string{untraced, traced} {
		b.Run("traced="+tracing, func(b *testing.B) {
			s := start(b, "cluster", b.TempDir(), runner, tracing, "8", "0")
			conns := dial(b, s)
			actions := noops(b, s, b.N, true)
			measure(b, "actions/s", 1, []*server{s}, func() {
				parallel(b, b.N, trueInFlight, func(w, i int) error {
					return executeTrue(conns[w%connections], actions[i])
				})
			})
		})
	}
}
