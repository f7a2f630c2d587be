package scenario_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/loadgen/scenario"
)

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(scenario.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("scenario.schema.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("scenario.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// check validates a scenario as an editor does.
func check(t testing.TB, s *jsonschema.Schema, text string) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestShippedScenariosAreGood(t *testing.T) {
	schema := compileSchema(t)
	names := scenario.Shipped()
	for _, want := range []string{"smoke", "cas-mix", "cold-build", "incremental-day", "thundering-herd", "priority-and-fairness", "worker-loss", "ramp-to-knee"} {
		if !strings.Contains(fmt.Sprint(names), want) {
			t.Errorf("%s isn't shipped: %v", want, names)
		}
	}
	for _, name := range names {
		text, err := scenario.ReadShipped(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Parse(name, text)
		if err != nil {
			t.Errorf("%s:\n%v", name, err)
			continue
		}
		if err := check(t, schema, string(text)); err != nil {
			t.Errorf("%s: the schema refuses it: %v", name, err)
		}
		if s.Description == "" || s.Cluster == nil || len(s.Objectives) == 0 {
			t.Errorf("%s has no description, cluster or objectives", name)
		}
		for i := range s.Demand {
			if b := s.Demand[i].Build(s.Seed, 0); len(b.Actions) == 0 {
				t.Errorf("%s: a build has no actions", name)
			}
		}
	}
}

const good = `
version: 1
seed: 7
duration: 1m30s
demand:
  arrivals: {poisson: {rate: 0.5}, limit: 9}
  jobs: 20
  edit: 3%
  dag: [{class: compile, actions: 50}, {class: link, actions: 2, fan_in: {uniform: [5, 25]}}]
  actions:
    - {name: compile, duration: {preset: compile, max: 10s}, inputs: {files: 4, size: 4Ki}, output: 16k, platform: {OSFamily: linux}}
    - {name: link, duration: 2s, output: 4M}
client: {command: shell, trace_sample: 10%}
objectives: [action.response.p99 < 30s]
`

func TestParse(t *testing.T) {
	s, err := scenario.Parse("mine", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	d := s.Demand[0]
	if s.Name != "mine" || s.Seed != 7 || s.Duration != 90*time.Second || d.Jobs != 20 || d.Edit != 0.03 || !d.Incremental || d.Arrivals.Limit != 9 {
		t.Errorf("got %+v", s)
	}
	if d.Layers[1].Class != 1 || d.Classes[1].OutputBytes.Mean() != 4e6 || d.Classes[0].InputBytes.Mean() != 4096 {
		t.Errorf("got %+v", d.Classes)
	}
	if s.Client.Command != scenario.Shell || s.Client.TraceSample != 0.1 || s.Client.MaxInFlight == 0 {
		t.Errorf("got %+v", s.Client)
	}
	if len(s.Assumed) != 1 || s.Assumed[0] != "compile" {
		t.Errorf("assumed: %v", s.Assumed)
	}
}

// TestProblemsAreToldWithTheirLines: for each, the file, and what the error has to say.
// Those marked ~ an editor can't see, since they are about values as a whole.
func TestProblemsAreToldWithTheirLines(t *testing.T) {
	schema := compileSchema(t)
	replace := func(old, by string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the example", old)
		}
		return strings.Replace(good, old, by, 1)
	}
	for _, c := range []struct{ text, want string }{
		{replace("jobs: 20", "job: 20"), `line 7: demand: unknown key "job"; did you mean "jobs"?`},
		{replace("rate: 0.5", "rate: -1"), `line 6: demand.arrivals.poisson.rate: "-1" is not a number from 0 up`},
		{replace("rate: 0.5", "rate: .nan"), "~"},
		{replace("rate: 0.5", "rate: 0"), "~line 6: demand.arrivals: rate is 0: nothing would arrive"},
		{replace("version: 1", "version: 2"), `line 2: version: "2", want 1`},
		{replace("version: 1\n", ""), `key "version" is missing`},
		{replace("class: link", "class: lnk"), `~line 9: demand.dag[1].class: no action is called "lnk"; there are: compile, link`},
		{replace("2s,", "soon,"), `is not a duration`},
		{replace("2s,", "-2s,"), `is not a duration`},
		{replace("4M}", "4Q}"), `~is not a size`},
		{replace("3%", "300%"), `~line 8: demand.edit: "300%" is not a share`},
		{replace("poisson:", "poison:"), `unknown key "poison"; did you mean "poisson"?`},
		{replace("poisson: {rate: 0.5}", "poisson: {rate: 1}, burst: 3"), `~both poisson and burst`},
		{replace("jobs: 20", "jobs: 0"), `"0" is not a whole number from 1 to 100000`},
		{replace("actions: 50", "actions: 99999999"), "is not a whole number"},
		{replace("[5, 25]", "[25, 5]"), "~the second is smaller"},
		{replace("preset: compile", "preset: compiling"), `"compiling" is none of`},
		{replace("action.response.p99 < 30s", "action.response.p99 < fast"), `~line 14: objective "action.response.p99 < fast": "fast" is not a duration`},
		{replace("seed: 7", "seed: -1"), "~not a whole number from 0 to 2^64-1"},
		{replace("jobs: 20", "jobs: 20\n  jobs: 30"), "~"},
		{replace("command: shell", "command: bash"), `"bash" is none of synthetic, shell`},
		{"version: 1\n", "~neither demand nor calls"},
		{"[1, 2]", "~want a mapping"},
		{"version: 1\ncalls:\n  - {arrivals: {burst: 1}, mix: [{op: find, weight: 1}]}", `"find" is none of find_missing`},
		{"version: 1\ncalls:\n  - {arrivals: {burst: 1}, mix: [{op: read, weight: 0}]}", "~at least one call with a weight"},
		{"version: 1\ncalls:\n  - {name: a, arrivals: {burst: 1}, mix: [{op: read}]}\n  - {name: a, arrivals: {burst: 1}, mix: [{op: read}]}", `~two streams are called "a"`},
		{good + "faults: [{at: 3s}]", "~nothing goes wrong"},
		{good + "cluster: {workers: []}", "the list is empty"},
		{good + "cluster: {workers: [{slow: 5%, slowness: 0.5}]}", "slowness: \"0.5\" is not a number from 1 up"},
		{good + "cluster: {workers: [{lifetime: 0s}]}", "~cluster.workers[0].lifetime: 0: a worker that is taken away at once"},
		{good + "cluster: {workers: [{}], storage: {bandwith: 1G}}", `did you mean "bandwidth"?`},
		{replace("  jobs: 20", "  tape: [[{duration: 1s}]]"), "~both tape and dag"},
		{"version: 1\ndemand: {arrivals: {burst: 1}, tape: []}", "at least one build"},
		{"version: 1\ndemand: {arrivals: {burst: 1}, tape: [[{}, {after: [1]}]]}", "~not a whole number from 0 to 0"},
		{"version: 1\ndemand: {arrivals: {burst: 1}, tape: [[{after: [0]}]]}", "~waits for none"},
		{"version: 1\ndemand: {arrivals: {burst: 1}, tape: [[{duraton: 1s}]]}", `did you mean "duration"?`},
	} {
		_, err := scenario.Parse("test", []byte(c.text))
		want, invisible := strings.CutPrefix(c.want, "~")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it, of\n%s", err, want, c.text)
		}
		if invisible {
			continue
		}
		if check(t, schema, c.text) == nil {
			t.Errorf("the schema accepts what the program refuses (%v):\n%s", err, c.text)
		}
	}
}

func TestAllProblemsAreTold(t *testing.T) {
	text := strings.NewReplacer("jobs: 20", "jobs: none", "2s,", "never,", "seed: 7", "sead: 7").Replace(good)
	_, err := scenario.Parse("test", []byte(text))
	if err == nil || strings.Count(err.Error(), "line ") != 3 {
		t.Errorf("want three problems, got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	for _, name := range scenario.Shipped() {
		text, err := scenario.ReadShipped(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("version: 1\ndemand: &a {arrivals: {burst: 1}, dag: *a}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scenario.Parse("fuzz", data)
		if err != nil {
			return
		}
		// What is accepted can be drawn from.
		for i := range s.Demand {
			d := &s.Demand[i]
			times := d.Times(s.Seed)
			times()
			total := 0
			for _, layer := range d.Layers {
				total += layer.Actions
			}
			if total < 1000 && fewFiles(d) {
				d.Build(s.Seed, 0)
			}
		}
	})
}

// fewFiles keeps the fuzzer from making builds of millions of files.
func fewFiles(d *scenario.Demand) bool {
	for _, c := range d.Classes {
		if !(c.InputFiles.Mean() < 100) {
			return false
		}
	}
	return true
}
