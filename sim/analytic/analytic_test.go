package analytic_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/analytic"
	"github.com/weir-build/weir/sim/model"
)

var update = flag.Bool("update", false, "rewrite what is expected of the scenarios; read the diff")

// slack is how far a simulation may be from theory, by how right theory is: runs have some
// 10⁵ actions, whose waits hang together, and begin empty. Approximations here are of loads
// at which they are near.
var slack = map[analytic.Kind]float64{analytic.Exact: 0.05, analytic.Approximation: 0.12, analytic.UpperBound: 0}

// TestScenariosThatTheoryKnows simulates each of testdata, prints both, and holds them against
// each other. What is expected is rewritten by -update; the two have to agree even then.
func TestScenariosThatTheoryKnows(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.Files) != 2 || len(bytes.TrimSpace(archive.Comment)) == 0 {
				t.Fatal("want what it is, scenario.yaml and expected")
			}
			s, err := scenario.Parse(file, archive.Files[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			f, err := analytic.Of(s)
			if err != nil {
				t.Fatal(err)
			}
			r := simulate(t, s)
			for _, v := range f.Values {
				if got, ok := v.Of(r); !ok || !v.Holds(got, slack[v.Kind]) {
					t.Errorf("%s: simulated %v, %s of theory %v", v.Name, got, v.Kind, v.Is)
				}
			}
			var got bytes.Buffer
			if err := f.Write(&got, r); err != nil {
				t.Fatal(err)
			}
			if *update {
				archive.Files[1].Data = got.Bytes()
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if want := archive.Files[1].Data; !bytes.Equal(got.Bytes(), want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.Bytes(), want)
			}
		})
	}
}

func simulate(t *testing.T, s *scenario.Scenario) *result.Result {
	t.Helper()
	base := time.Unix(0, 0).UTC()
	recorder := result.NewRecorder(result.Run{Origin: "simulated"})
	recorder.Begin(base)
	o, err := model.Run(model.Config{Scenario: s, Recorder: recorder, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	return recorder.Result(base.Add(o.End))
}

// TestScenariosThatTheoryDoesNotKnow: each says why.
func TestScenariosThatTheoryDoesNotKnow(t *testing.T) {
	const plain = `version: 1
demand: {arrivals: {poisson: {rate: 1}}, dag: [{class: a}], actions: [{name: a, duration: {exponential: 1s}}]}
cluster: {policy: fifo, workers: [{count: 4}]}
`
	const two = `version: 1
demand:
  - {name: x, arrivals: {poisson: {rate: 1}}, dag: [{class: a}], actions: [{name: a, duration: 1s}]}
  - {name: y, arrivals: {poisson: {rate: 1}}, dag: [{class: a}], actions: [{name: a, duration: {exponential: 500ms}, priority: 4}]}
cluster: {policy: fifo, workers: [{count: 4}]}
`
	for _, r := range []struct{ text, old, now, want string }{
		{plain, "cluster: {policy: fifo, workers: [{count: 4}]}", "", "it has no cluster"},
		{plain, "poisson: {rate: 1}", "poisson: {rate: 1}, limit: 7", "arrivals of stream builds end after 7"},
		{plain, "poisson: {rate: 1}", "burst: 5", "are a list of moments"},
		{plain, "poisson: {rate: 1}", "diurnal: {rate: 1, period: 24h}", "go up and down"},
		{plain, "poisson: {rate: 1}", "poisson: {rate: 4}, limit: 0", ""},
		{plain, "[{class: a}]", "[{class: a}, {class: a}]", "wait for each other"},
		{plain, "[{class: a}]", "[{class: a, actions: 51}]", "51 actions, and holds back what is more than 50 jobs"},
		{plain, "dag:", "edit: 3%, dag:", "in the cache depends on the builds before"},
		{plain, "dag:", "herd: true, dag:", "in the cache depends on the builds before"},
		{plain, "dag:", "cancel: 10%, dag:", "users of stream builds give up"},
		{plain, "1s}}", "1s}, failure_rate: 1%}", "commands of stream builds fail"},
		{plain, "1s}}", "1s}, outgrows: 5%, larger: {size: large}}", "too large for their workers run twice"},
		{plain, "dag: [{class: a}], actions: [{name: a,", "skip_cache: true, dag: [{class: a}], actions: [{name: a, hit_rate: 90%,", "run once for all that ask"},
		{plain, "dag:", "skip_cache: true, dag:", ""},
		{plain, "1s}}", "0s}}", "take no time"},
		{plain, "1s}}", "1s}, platform: {size: large}}", "not all workers can do"},
		{plain, "{count: 4}", "{count: 4, slow: 10%}", "not equally fast"},
		{plain, "{count: 4}", "{count: 4, lifetime: 1h}", "taken away"},
		{plain, "{count: 4}", "{autoscaler: {rule: hpa, min: 1, max: 4, target: 80%}}", "an autoscaler"},
		{plain, "{count: 4}", "{count: 0}", "there are no slots"},
		{plain, "workers:", "storage: {bandwidth: 1M}, workers:", "share a bandwidth"},
		{plain, "cluster:", "faults: [{at: 1s, kill_workers: 1}]\ncluster:", "faults change the cluster"},
		{plain, "cluster:", "client: {max_in_flight: 3}\ncluster:", "fewer than there are slots"},
		{plain, "duration: {exponential: 1s}", "duration: 5s", "ρ = 1.25"},
		{plain, "rate: 1}}, dag: [{class: a}]", "rate: 0.3}}, dag: [{class: a, actions: 13}]", ""},
		{plain, "poisson: {rate: 1}}, dag: [{class: a}]", "closed: {clients: 3}}, dag: [{class: a, actions: 2}]", "wait for the last"},
		{plain, "poisson: {rate: 1}}, dag: [{class: a}], actions: [{name: a, duration: {exponential: 1s}}]}", "closed: {clients: 9}}, dag: [{class: a}], actions: [{name: a, duration: 1s}]}\nclient: {latency: 1s}", "if durations are exponential"},
		{plain, "cluster:", "client: {max_in_flight: 5, latency: 1s}\ncluster:", "neither served nor wait"},
		{plain, "rate: 1}}, dag: [{class: a}], actions: [{name: a, duration: {exponential: 1s}}]}\ncluster: {policy: fifo, workers: [{count: 4}]}",
			"rate: 0.04}}, dag: [{class: a}], actions: [{name: a, duration: {uniform: [0s, 2s]}}]}\nclient: {max_in_flight: 1}\ncluster: {workers: [{}]}", "0.0411 builds are open on average, and a client has 1 at most"},
		{plain, "cluster:", "client: {max_in_flight: 60, latency: 10s}\ncluster:", "21 builds are open on average, and a client has 60 at most"},
		{strings.Replace(plain, "name: a,", "name: a, hit_rate: 90%,", 1), "cluster:", "client: {max_in_flight: 60, latency: 10s}\ncluster:", "20.1 builds are open on average"},
		{plain, "cluster:", "client: {max_in_flight: 600, latency: 10s}\ncluster:", ""},
		{two, "policy: fifo", "policy: fair", "take turns, and not all take as long"},
		{two, "policy: fifo", "policy: priority", "theory knows ageing=off"},
		{two, "policy: fifo", "policy: shortest", "theory knows patience=off"},
		{two, "policy: fifo", "policy: priority ageing=off", "theory knows that of one slot"},
		{two, "arrivals: {poisson: {rate: 1}}", "arrivals: {constant: {rate: 1}}", "not all of which come by Poisson"},
		{two, "arrivals: {poisson: {rate: 1}}", "arrivals: {closed: {clients: 1}}", "are not the only ones"},
		{strings.Replace(plain, "poisson: {rate: 1}}, dag: [{class: a}]", "poisson: {rate: 0.38}}, dag: [{class: a, actions: 10}]", 1), "cluster:", "client: {max_in_flight: 5}\ncluster:", "who comes then is dropped"},
	} {
		text := strings.Replace(r.text, r.old, r.now, 1)
		if text == r.text {
			t.Fatalf("%q is not in it", r.old)
		}
		s, err := scenario.Parse("test", []byte(text))
		if err != nil {
			if r.want != "" {
				t.Errorf("%s: %v", r.now, err)
			}
			continue
		}
		if _, err := analytic.Of(s); r.want != "" && (err == nil || !strings.Contains(err.Error(), r.want)) {
			t.Errorf("%s: %v, want %q", r.now, err, r.want)
		} else if r.want == "" && err != nil {
			t.Errorf("%s: %v", r.now, err)
		}
	}
}
