package analysis_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
)

func TestFind(t *testing.T) {
	s := mixed()
	s.hit("CppLink", "//c", 2000, 2001) // the same action again
	s.actions[len(s.actions)-1].Attributes[4] = build.Text(semconv.AttrOperation, "operations/again")
	s.actions[0].Attributes = append(s.actions[0].Attributes, build.Text(semconv.AttrActionID, "the first"))
	actions := analysis.Actions(s.tree(t))
	a := actions[0]
	if a.Target() != "//a" {
		t.Fatalf("the first is %s", a.Target())
	}
	digest := a.Digest()
	read := build.Worker(s.actions[0].Context, 1).Child(semconv.SpanInputFetch, 0).Child("read", 1).Span.String()
	for name, want := range map[string][]string{
		a.Node.Span.ID.String(): {"//a"},
		read:                    {"//a"},
		digest:                  {"//a"},
		digest[:64]:             {"//a"},
		digest[:6]:              {"//a"},
		digest[:5]:              nil,
		"//c":                   {"//c", "//c"},
		"operations///b":        {"//b"},
		"again":                 {"//c"},
		"the first":             {"//a"},
		"":                      nil,
		"//":                    nil,
	} {
		var got []string
		for _, a := range analysis.Find(actions, name) {
			got = append(got, a.Target())
		}
		if !cmp.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
	var out bytes.Buffer
	if err := analysis.WriteCandidates(&out, analysis.Find(actions, "//c")); err != nil {
		t.Fatal(err)
	}
	golden(t, "candidates.txt", out.Bytes())
}

func TestWriteDetail(t *testing.T) {
	s := mixed()
	// The clock of //b's worker is 250 ms fast: it completed when its result had
	// long been there.
	s.actions[1].Result = result("w-1", 1260, 1350, 2150, 2240)
	s.actions[1].Result.ExitCode = 1
	tree := s.tree(t)
	actions := analysis.Actions(tree)
	var out bytes.Buffer
	for _, target := range []string{"//a", "//b", "//c", "//d", "//e", "//f", "//h"} {
		if err := analysis.WriteDetail(&out, analysis.NewDetail(tree, analysis.Find(actions, target)[0])); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out)
	}
	golden(t, "detail.txt", out.Bytes())
}

func TestDetailTellsOfMissingSpans(t *testing.T) {
	s := &script{end: 100}
	s.ran("A", "//a", "w-1", 0, 0, 0, 10, 80, 90, 90)
	s.lost = func(p *build.Span) bool { return p.Name == semconv.SpanExecute || p.Name == semconv.SpanInputFetch }
	tree := s.tree(t)
	actions := analysis.Actions(tree)
	d := analysis.NewDetail(tree, &actions[0])
	if d.SpansMissing != 2 || time.Duration(d.OnWorker) != ms(80) {
		t.Errorf("got %d missing, %v in none of the worker's stages; want 2 and 80ms", d.SpansMissing, d.OnWorker)
	}
}

func TestDetailAddsUp(t *testing.T) {
	tree := mixed().tree(t)
	actions := analysis.Actions(tree)
	for i := range actions {
		d := analysis.NewDetail(tree, &actions[i])
		if got := d.Stages.Total(); got != time.Duration(d.Seconds) {
			t.Errorf("%s: stages are %v of %v", d.Name, got, d.Seconds)
		}
		for _, p := range d.Parts {
			if p.Offset < 0 || p.Offset+p.Seconds > d.Seconds {
				t.Errorf("%s: %s is outside: %+v", d.Name, p.Stage, p)
			}
		}
	}
}

// Units are in the names, what is unknown is null or not there.
func TestJSONOfDetail(t *testing.T) {
	tree := mixed().tree(t)
	actions := analysis.Actions(tree)
	read := func(target string) map[string]any {
		data, err := json.Marshal(analysis.NewDetail(tree, analysis.Find(actions, target)[0]))
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, b := read("//a"), read("//b")
	if a["output_bytes"] != 3000. || a["seconds"] != 1. || b["output_bytes"] != nil || b["exit_code"] != 1. {
		t.Errorf("got %v and %v", a, b)
	}
	if diff := cmp.Diff(map[string]any{"dispatch": 0.01, "input_fetch": 0.09, "execute": 0.8, "output_upload": 0.09, "report": 0.01}, a["stage_seconds"]); diff != "" {
		t.Error(diff)
	}
}
