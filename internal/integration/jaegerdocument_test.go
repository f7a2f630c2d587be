//go:build integration

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-build/weir/internal/demo"
	"github.com/weir-build/weir/traces/jaeger"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// A question of the document is the commands that ask it, and what came back.
type question struct{ commands, answer string }

// questions reads docs/jaeger.md: what is defined first, and the questions.
func questions(t *testing.T) (preamble string, all []question) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(repository, "docs", "jaeger.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```(\\w*)\\n(.*?)^```$").FindAllStringSubmatch(string(data), -1)
	for i, b := range blocks {
		switch {
		case b[1] != "sh":
		case preamble == "":
			preamble = b[2]
		case i+1 == len(blocks) || blocks[i+1][1] != "":
			t.Errorf("no answer follows:\n%s", b[2])
		default:
			all = append(all, question{b[2], blocks[i+1][2]})
		}
	}
	if preamble == "" || len(all) < 8 {
		t.Fatalf("docs/jaeger.md has %d questions, want 8 or more", len(all))
	}
	return preamble, all
}

// assign gives variables of a shell script other values.
func assign(script string, values map[string]string) string {
	return regexp.MustCompile(`(?m)^([A-Z]+)=.*$`).ReplaceAllStringFunc(script, func(line string) string {
		name, _, _ := strings.Cut(line, "=")
		if value, ok := values[name]; ok {
			return name + "=" + value
		}
		return line
	})
}

// between is what is between columns: a tab, or spaces where they are aligned.
var between = regexp.MustCompile(`\t|  +`)

// widths returns the numbers of columns that the lines of an answer have.
func widths(answer string) []int {
	var all []int
	for line := range strings.Lines(answer) {
		if line = strings.TrimSpace(line); line != "…" {
			all = append(all, len(between.Split(line, -1)))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// The commands of docs/jaeger.md find in a real Jaeger what it says they find: at
// least a line, with as many columns, and a value in each.
func TestJaegerDocument(t *testing.T) {
	program(t, "curl")
	program(t, "jq")
	preamble, all := questions(t)
	const seed = 6
	p := newProject(8, seed)
	p.files["BUILD"] += `
genrule(name = "slow", outs = ["slow.txt"], cmd = "sleep 1; echo slow > $@")
genrule(name = "fails", outs = ["fails.txt"], cmd = "exit 1", tags = ["manual"])
genrule(name = "hangs", outs = ["hangs.txt"], cmd = "sleep 300", tags = ["manual"])
`
	w := newWorkspace(t, p.files)
	j := startJaeger(t)
	c := upAt(t, t.TempDir(), j.env(), "--workers", "2", "--slots", "2", "--default-timeout", "5s")
	b := w.build(t, c.url(), "//...")
	b.want(t, p.actions+1, 0)
	w.build(t, c.url(), "//:fails")
	w.build(t, c.url(), "//:hangs")
	r := c.drain(t, lifecycle.Options{})
	again := launch(t, t.TempDir(), j.env(), filepath.Join(programs, "weir"), "demo")
	if code := again.wait(t, startLimit); code != 0 {
		t.Fatalf("weir demo: exit code %d, want 0", code)
	}

	built := tracecontext.OfInvocation(b.invocation).Trace
	j.records(t, built, len(r.traces.Get(built).Spans))
	hits := jaeger.Query{Service: "execution-server", Operation: semconv.SpanAction, Tags: map[string]string{semconv.AttrCacheResult: semconv.CacheHit}}
	var cached *lifecycle.Tree
	eventually(t, jaegerLimit, "Jaeger has the demonstration's builds", func() bool {
		found, err := j.client.Find(t.Context(), hits)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			return false
		}
		cached = j.trace(t, found[0].Trace, found[0].Spans)
		return len(cached.Actions()) == len(demo.Project())
	})
	values := map[string]string{
		"JAEGER": j.client.URL, "BUILD": b.invocation, "CACHED": cached.Trace.String(),
		"DIGEST": cached.Actions()[0].Span.Attr(semconv.AttrActionDigest),
	}
	for _, q := range all {
		command := exec.CommandContext(t.Context(), "sh", "-euc", assign(preamble+q.commands, values))
		command.Stderr = os.Stderr
		out, err := command.Output()
		if err != nil {
			t.Errorf("%v: %s", err, q.commands)
		}
		if got, want := widths(string(out)), widths(q.answer); !slices.Equal(got, want) {
			t.Errorf("lines have %v columns, the document's have %v:\n%s%s", got, want, q.commands, out)
		}
		if regexp.MustCompile(`(^|\t)-?(\t|\n)`).Match(out) {
			t.Errorf("a value is missing:\n%s%s", q.commands, out)
		}
	}
	// The document says so: if it is found now, Jaeger has been mended.
	failed := jaeger.Query{Service: "execution-server", Tags: map[string]string{"error": "true"}}
	if found, err := j.client.Find(t.Context(), failed); err != nil || len(found) > 0 {
		t.Errorf("error=true finds %d traces (%v), the document says none", len(found), err)
	}
}
