package execution_test

import (
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/queue"
)

func TestAnyValueServesAllValues(t *testing.T) {
	c := start(t, queue.Config{NoWorkerTimeout: -1})
	b := c.bot("any", "OSFamily", "linux", "image", "*")
	s := c.queued("a", wanting("OSFamily", "linux", "image", "debian"))
	b.poll(briefly, done(t, b.take(), 0))
	s.until(repb.ExecutionStage_COMPLETED)
	// Of the key alone, and not of those that it doesn't offer.
	response := c.execute(c.upload("b", wanting("image", "alpine", "gpu", "yes"))).until(repb.ExecutionStage_COMPLETED)
	want := "no worker has served the platform gpu=yes,image=alpine for too long: no worker has gpu=yes (1 connected has no gpu at all)"
	if got := response.Status; got.GetCode() != int32(codes.FailedPrecondition) || got.GetMessage() != want {
		t.Errorf("got %v, want FAILED_PRECONDITION: %s", got, want)
	}
	// Bazel repeats an action that failed with FAILED_PRECONDITION only to upload
	// what the details say is missing.
	if n := len(response.Status.GetDetails()); n != 0 {
		t.Errorf("got %d details, at which Bazel tries again", n)
	}
}

// A server that is told to give up does so on what another one had queued, too.
func TestNoWorkerTimeoutChangesAtRestart(t *testing.T) {
	dir := t.TempDir()
	journal := func(c *execution.Config) { c.Journal.Dir = dir }
	before := start(t, queue.Config{}, journal)
	name := before.queued("a", wanting("OSFamily", "plan9")).name
	before.flush()
	after := start(t, queue.Config{NoWorkerTimeout: -1}, journal)
	if got := after.wait(name).until(repb.ExecutionStage_COMPLETED); got.Status.GetCode() != int32(codes.FailedPrecondition) {
		t.Errorf("got %v, want FAILED_PRECONDITION", got)
	}
}

func TestMatchingChoosesProperties(t *testing.T) {
	matching := execution.Matching{
		Ignore: []string{"note"}, Unknown: execution.IgnoreUnknown, Known: []string{"gpu"}, Defaults: map[string]string{"OSFamily": "linux"},
	}
	for name, test := range map[string]struct {
		wants []string
		want  string
	}{
		"nothing":      {nil, "OSFamily=linux"},
		"its own":      {[]string{"OSFamily", "macos"}, "OSFamily=macos"},
		"known":        {[]string{"gpu", "yes"}, "OSFamily=linux,gpu=yes"},
		"not matched":  {[]string{"note", "x", "other", "y"}, "OSFamily=linux"},
		"all together": {[]string{"note", "x", "OSFamily", "linux", "gpu", "no", "other", "y"}, "OSFamily=linux,gpu=no"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, queue.Config{}, func(c *execution.Config) { c.Matching = matching })
			s := c.queued("a", wanting(test.wants...))
			if got := c.explain(s.name).Platform; got != test.want {
				t.Errorf("it waits for %q, want %q", got, test.want)
			}
		})
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	c := start(t, queue.Config{}, func(c *execution.Config) {
		c.Matching = execution.Matching{
			Ignore: []string{"note"}, Unknown: execution.RefuseUnknown, Known: []string{"gpu"}, Defaults: map[string]string{"OSFamily": "linux"},
		}
	})
	got := c.execute(c.upload("a", wanting("OSFamliy", "linux"))).failure()
	want := `platform property OSFamliy=linux is refused: the key "OSFamliy" is unknown here, only OSFamily, gpu, note are allowed`
	if got.Code() != codes.InvalidArgument || got.Message() != want {
		t.Errorf("got %v, want INVALID_ARGUMENT: %s", got, want)
	}
	c.queued("b", wanting("gpu", "yes", "note", "x"))
}
