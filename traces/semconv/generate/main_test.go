package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-build/weir/traces/semconv"
)

func TestSchemaIsInSync(t *testing.T) {
	if err := run("../../SCHEMA.md", true); err != nil {
		t.Error(err)
	}
}

func TestCheckNoticesAStaleDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "SCHEMA.md")
	if err := run(path, true); !os.IsNotExist(err) {
		t.Errorf("without a document the error is %v, want that there is none", err)
	}
	if err := run(path, false); err != nil {
		t.Fatal(err)
	}
	if err := run(path, true); err != nil {
		t.Errorf("the document just written: %v", err)
	}
	if err := os.WriteFile(path, []byte(preamble), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(path, true); err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("a document cut short: error %v, want that it is stale", err)
	}
}

func TestDocumentTellsAll(t *testing.T) {
	v := vocabulary{
		spans: []semconv.Span{{Name: "a"}, {Name: "b", Parent: "a"}, {Name: "c", Parent: "b"}, {Name: "d", Parent: "c"}},
		attributes: []semconv.Attribute{
			{Key: "escaped", Type: semconv.Text, Help: "a|b <c>", Values: []string{"x", "y"}},
			{Key: "constant", Type: semconv.Text, Help: "Text.", Values: []string{"x"}},
			{Key: "number", Type: semconv.Int, On: []string{"a", semconv.OnRPCs}, Help: "Number.", Max: 7},
			{Key: "tree", Type: semconv.Int, On: []string{"b", "c", "d"}, Help: "Tree."},
			{Key: "part", Type: semconv.Int, On: []string{"a", "c", "d"}, Help: "Part."},
		},
		links:     []semconv.Link{{Kind: "joined", From: "a", To: "b", Help: "Link."}},
		events:    []semconv.Event{{Name: "thrown", On: []string{"a"}, Help: "Event."}},
		resources: []semconv.Attribute{{Key: "host", Type: semconv.Text, Help: "Host."}},
		areas: []semconv.Area{
			{Metrics: []semconv.Metric{{Name: "m", Labels: []string{"l"}, Help: "Metric."}}},
			{Roles: []string{"r"}, Source: "S", Metrics: []semconv.Metric{{Name: "n", Help: "Metric."}}},
		},
		labels: []semconv.Label{
			{Name: "l", Help: "Label.", Values: []semconv.LabelValues{{List: []string{"x", "y"}}}},
			{Name: "k", Help: "Label.", Values: []semconv.LabelValues{{Metrics: []semconv.Metric{{Name: "m"}, {Name: "n"}}, List: []string{"x"}}}},
		},
	}
	got := v.document()
	for _, want := range []string{
		"| `b` | – | `a` | – | – | – |\n",
		"| `escaped` | string | – | – | – | – | – | a\\|b &lt;c> One of `x`, `y`. |\n",
		"| `constant` | string | – | – | – | – | – | Text. Always `x`. |\n",
		"| `number` | int | – | `a`, RPCs | – | – | – | Number. From 0 to 7. |\n",
		"| `tree` | int | – | `b` and what is below it | – | – | – | Tree. |\n",
		"| `part` | int | – | `a`, `c` and what is below it | – | – | – | Part. |\n",
		"| `joined` | `a` | `b` | – | – | Link. |\n",
		"| `thrown` | `a` | – | – | Event. |\n",
		"| `host` | string | – | – | – | Host. |\n",
		"| `m` | every role | counter | – | `l` | – | – | Metric. |\n",
		"| `n` | r | counter | – | – | S | – | Metric. |\n",
		"| `l` | – | – | Label. One of `x`, `y`. |\n",
		"| `k` | – | – | Label. Of `m` and `n`: `x`. |\n",
		"| `rbe.worker.id` | `cicd.worker.id`, `cicd.worker.name` |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the document lacks %q:\n%s", want, got)
		}
	}
	v.events = nil
	if got := v.document(); !strings.Contains(got, "## Events\n\nNone.") {
		t.Errorf("the document doesn't say that there are no events:\n%s", got)
	}
}
