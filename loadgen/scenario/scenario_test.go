package scenario_test

import (
	"bytes"
	"fmt"
	"math"
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

// TestCost is of the slots that there are; a currency has no name, and no sign.
func TestCost(t *testing.T) {
	const text = "version: 1\ndemand: {arrivals: {burst: 1}, dag: [{class: a}], actions: [{name: a}]}\ncluster: {workers: [{count: 3, slots: 2, slot_hour: 0.05}, {count: 1, slot_hour: 1}, {}]}"
	s, err := scenario.Parse("priced", []byte(text))
	if err != nil || math.Abs(s.Cluster.CostPerHour()-1.3) > 1e-12 {
		t.Errorf("got %+v, %v", s, err)
	}
	if err := check(t, compileSchema(t), text); err != nil {
		t.Errorf("the schema refuses it: %v", err)
	}
	for _, bad := range []string{"-1", "NaN", "Inf", "much"} {
		if _, err := scenario.Parse("priced", []byte(strings.Replace(text, "slot_hour: 1", "slot_hour: "+bad, 1))); err == nil || !strings.Contains(err.Error(), "slot_hour") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

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
	if s.Client.DigestFunction != scenario.Auto {
		t.Errorf("digest function %q, want auto", s.Client.DigestFunction)
	}
	if s, err := scenario.Parse("mine", []byte(strings.Replace(good, "client: {", "client: {digest_function: blake3, ", 1))); err != nil || s.Client.DigestFunction != "BLAKE3" {
		t.Errorf("error %v, want BLAKE3 in capitals", err)
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
	scaled := func(autoscaler string) string {
		return good + "cluster: {workers: [{autoscaler: " + autoscaler + "}]}"
	}
	faulty := func(fault string) string {
		return good + "faults: [{at: 3s, " + fault + "}]\ncluster: {workers: [{zone: a}], storage: {bandwidth: 1G}}"
	}
	for _, c := range []struct{ text, want string }{
		{replace("jobs: 20", "job: 20"), `line 7: demand: unknown key "job"; did you mean "jobs"?`},
		{replace("rate: 0.5", "rate: -1"), `line 6: demand.arrivals.poisson.rate: "-1" is not a number from 0 up`},
		{replace("rate: 0.5", "rate: .nan"), "~"},
		{replace("client: {", "client: {digest_function: vso, "), `client.digest_function: digest function "vso" is not supported, only SHA256, SHA1, MD5, SHA384, SHA512, BLAKE3, and auto: what the target takes`},
		{replace("rate: 0.5", "rate: 0"), "~line 6: demand.arrivals: rate is 0: nothing would arrive"},
		{replace("version: 1", "version: 2"), `line 2: version: "2", want 1`},
		{replace("version: 1\n", ""), `key "version" is missing`},
		{replace("class: link", "class: lnk"), `~line 9: demand.dag[1].class: no action is called "lnk"; there are: compile, link`},
		{replace("2s,", "soon,"), `is not a duration`},
		{replace("2s,", "-2s,"), `is not a duration`},
		{replace("4M}", "4Q}"), `~is not a size`},
		{replace("4M}", "4M, outgrows: 5%}"), "~line 12: demand.actions[1]: want both outgrows"},
		{replace("4M}", "4M, larger: {size: large}}"), "~want both outgrows"},
		{replace("4M}", "4M, platform: {size: large}, outgrows: 5%, larger: {size: large}}"), "~demand.actions[1].larger: it is the action's platform"},
		{replace("4M}", "4M, outgrows: 5%, larger: big}"), "want a mapping"},
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
		{scaled("{rule: magic, max: 9}"), `line 15: cluster.workers[0].autoscaler.rule: "magic" is none of hpa, quantile, square-root`},
		{scaled("{max: 9}"), `line 15: cluster.workers[0].autoscaler: key "rule" is missing`},
		{scaled("{rule: hpa}"), `key "max" is missing`},
		{scaled("{rule: hpa, min: 5, max: 4}"), "~line 15: cluster.workers[0].autoscaler: min is 5, which is more than max, 4"},
		{scaled("{rule: hpa, min: 0, max: 4}"), "~would never come back; want min: 1, or metric: load"},
		{scaled("{rule: hpa, max: 4, target: 0}"), `target: "0" is not a ratio above 0`},
		{scaled("{rule: hpa, max: 4, lag: -1s}"), `lag: "-1s" is not a duration`},
		{scaled("{rule: hpa, max: 4, every: 0}"), "every: 0: want a duration above it"},
		{scaled("{rule: hpa, max: 4, quantile: 50%}"), `unknown key "quantile"`},
		{scaled("{rule: quantile, max: 4, target: 50%}"), `unknown key "target"`},
		{scaled("{rule: quantile, max: 4, quantile: 150%}"), "~is not a share"},
		{scaled("{rule: quantile, max: 4, window: 9000h}"), "~has 2160000 samples of 15s, more than 100000"},
		{scaled("{rule: square-root, max: 4, beta: -1}"), `beta: "-1" is not a number from 0 up`},
		{scaled("{rule: hpa, max: 4, up: {period: 1m}}"), "want workers, or share, or both"},
		{scaled("{rule: hpa, max: 4}, count: 5"), "~count: 5 is not what its autoscaler allows, from 1 to 4"},
		{faulty("freeze_workers: 2"), "line 15: faults[0]: freeze_workers lasts for some time; want it beside, such as for: 90s"},
		{faulty("storage_slow: 10%"), "storage_slow lasts for some time"},
		{faulty("storage_slow: 100%, for: 1s"), "~all of the rate is left"},
		{faulty("cache_outage: -3s"), `cache_outage: "-3s" is not a duration`},
		{faulty("kill_workers: 1, for: 9s"), "~for: it is of freeze_workers, storage_slow and kill_zone"},
		{faulty("kill_zone: b"), `~line 15: faults[0].kill_zone: no workers are in zone "b"; there are: a`},
		{faulty("kill_share: 200%"), "~is not a share"},
		{faulty("kil_zone: a"), `did you mean "kill_zone"?`},
		{good + "cluster: {workers: [{}]}\nfaults: [{at: 1s, kill_zone: b}]", `~no workers are in zone "b"; give some of cluster.workers one, as zone: a`},
		{good + "cluster: {workers: [{}]}\nfaults: [{at: 1s, storage_outage: 1s}]", "~the cluster has no storage"},
		{replace("command: shell", "retries: 0"), "client.retries: \"0\" is not a whole number"},
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

// TestAutoscalersAndFaults: what is left out is what Kubernetes and Buildbarn have; the
// schema takes them, and what no real cluster can be given is told.
func TestAutoscalersAndFaults(t *testing.T) {
	text := strings.Replace(good, "4M}", "4M, outgrows: 5%, larger: {size: large}}", 1)
	text = strings.Replace(text, "command: shell", "latency: 20ms, command: shell", 1) + `
cluster:
  workers:
    - {slots: 4, zone: a, autoscaler: {rule: hpa, max: 9, min: 2, target: 75%}}
    - {count: 3, autoscaler: {rule: quantile, max: 40, window: 1h}}
    - {autoscaler: {rule: square-root, max: 40, beta: 1.5, cooldown: 1m}}
    - {autoscaler: {rule: hpa, metric: load, min: 0, max: 4, target: 1.5, up: {workers: 2}, down: {share: 10%, period: 1m}}}
  storage: {bandwidth: 1G}
faults:
  - {at: 1s, kill_share: 33%, start_workers: 1}
  - {at: 2s, kill_zone: a, for: 20m}
  - {at: 2s, drain_workers: 1, cache_outage: 1m}
  - {at: 3s, freeze_workers: 2, for: 90s}
  - {at: 4s, storage_outage: 1s}
  - {at: 5s, storage_slow: 10%, for: 9s}
  - {at: 6s, scheduler_restart: 0s}
`
	s, err := scenario.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := check(t, compileSchema(t), text); err != nil {
		t.Errorf("the schema refuses it: %v", err)
	}
	var counts []int
	for _, w := range s.Cluster.Workers {
		counts = append(counts, w.Count)
	}
	if got := fmt.Sprint(counts); got != "[2 3 1 0]" {
		t.Errorf("the fleets begin with %s workers, want [2 3 1 0]", got)
	}
	a := s.Cluster.Workers[0].Autoscaler
	if a.Target != 0.75 || a.Tolerance != 0.1 || a.Stabilization != 5*time.Minute || a.Every != 15*time.Second || a.Up != (scenario.Limit{Workers: 4, Share: 1, Period: 15 * time.Second}) || a.Down.Workers+int(a.Down.Share) != 0 {
		t.Errorf("got %+v", a)
	}
	if r := s.Faults[6].SchedulerRestart; r == nil || *r != 0 {
		t.Errorf("got %+v", s.Faults[6])
	}
	only := strings.Join(s.SimulatedOnly(), " ")
	want := "demand.actions.outgrows cluster.storage cluster.workers.autoscaler client.latency faults.kill_share faults.kill_zone faults.drain_workers faults.cache_outage faults.freeze_workers faults.storage_outage faults.storage_slow faults.scheduler_restart"
	if only != want {
		t.Errorf("only simulated are\n%s, want\n%s", only, want)
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
