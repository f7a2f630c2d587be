package docs

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/weir-build/weir/traces/semconv"
)

// What a task is said to wait for is explained, each word of it.
func TestEveryReasonIsExplained(t *testing.T) {
	listed := column(section(t, read(t, filepath.Join(root, "docs/queue.md")), "## The reasons"))
	for _, a := range semconv.Attributes() {
		if a.Key != semconv.AttrQueueReason {
			continue
		}
		words := slices.Clone(a.Values)
		slices.Sort(words)
		slices.Sort(listed)
		if !slices.Equal(listed, words) {
			t.Errorf("docs/queue.md explains %q, the reasons are %q", listed, words)
		}
		return
	}
	t.Fatalf("%s isn't declared", semconv.AttrQueueReason)
}
