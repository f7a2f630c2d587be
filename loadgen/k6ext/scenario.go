package k6ext

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"
	"go.k6.io/k6/v2/lib"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
)

// shippedScenario returns the text of a scenario that comes with the program.
func (m *instance) shippedScenario(name string) string {
	text, err := scenario.ReadShipped(name)
	if err != nil {
		common.Throw(m.vu.Runtime(), fmt.Errorf("scenario %q: there is none of that name; there are %v", name, scenario.Shipped()))
	}
	return string(text)
}

// runScenario runs a scenario, given as text or as an object, to its end. It resolves to
// the result.
func (m *instance) runScenario(given, params sobek.Value) *sobek.Promise {
	rt := m.vu.Runtime()
	o := m.read("runScenario", params)
	c := drive.Config{
		Run:           o.text("run", m.root.run),
		Remote:        o.remote(o.text("target", "")),
		SharesMachine: o.boolean("sharesMachine"), Notes: o.list("notes"), Environment: o.words("environment"),
	}
	progress, samples := o.text("progress", ""), o.text("metrics", "samples")
	name := o.text("name", "scenario")
	function := o.text("digestFunction", "")
	seed := o.get("seed")
	duration := o.duration("duration", 0)
	if c.Remote.URL == "" {
		o.problems = append(o.problems, errors.New("runScenario: option target is missing"))
	}
	if samples != "samples" && samples != "none" {
		o.wrong("metrics", o.get("metrics"), "samples or none")
	}
	if _, err := digest.ParseFunc(function); function != "" && function != scenario.Auto && err != nil {
		o.wrong("digestFunction", o.get("digestFunction"), scenario.Auto+" or one of "+digest.Join(digest.Funcs()))
	}
	o.end()
	s, err := parse(name, given)
	if err != nil {
		common.Throw(rt, fmt.Errorf("runScenario: %w", err))
	}
	if seed != nil {
		s.Seed = uint64(seed.ToInteger())
	}
	if duration > 0 {
		s.Duration = duration
	}
	if function != "" {
		s.Client.DigestFunction = function
	}
	c.Scenario, c.Tracer = s, m.tracer()
	if state := m.vu.State(); state != nil {
		c.Segment = segment(state.Options.ExecutionSegment)
	}
	if progress != "" {
		c.Progress = func(p drive.Progress) { writeProgress(progress, p) }
	}
	if samples == "samples" && m.vu.State() != nil {
		observer, err := m.observe(nil)
		if err != nil {
			common.Throw(rt, err)
		}
		c.Observer = observer
	}
	return m.async("runScenario", nil, func(ctx context.Context) (any, error) {
		out, err := drive.Run(ctx, c)
		if err != nil {
			return nil, err
		}
		m.root.add(out)
		return plain(out)
	})
}

func parse(name string, given sobek.Value) (*scenario.Scenario, error) {
	if common.IsNullish(given) {
		return nil, errors.New("the scenario is missing")
	}
	text, ok := given.Export().(string)
	if !ok {
		// YAML holds JSON.
		data, err := json.Marshal(given.Export())
		if err != nil {
			return nil, err
		}
		text = string(data)
	}
	return scenario.Parse(name, []byte(text))
}

// segment is the part of the load that this k6 makes of several.
func segment(s *lib.ExecutionSegment) drive.Segment {
	if s == nil {
		return drive.Segment{}
	}
	// It prints as 0:1/3; the sum of the lengths before it isn't exported otherwise.
	var from, to float64
	if n, d, ok := rational(s.String(), 0); ok {
		from = n / d
	}
	if n, d, ok := rational(s.String(), 1); ok {
		to = n / d
	}
	if from == 0 && to == 1 {
		return drive.Segment{}
	}
	return drive.Segment{From: from, To: to}
}

// plain is a value of maps and numbers, as JavaScript has them.
func plain(r *result.Result) (any, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	err = json.Unmarshal(data, &out)
	return out, err
}

// writeProgress replaces a file, so that who reads it sees a whole one. That it can't be
// written is no reason to end a run.
func writeProgress(path string, p drive.Progress) {
	data, err := json.Marshal(p)
	if err != nil {
		return
	}
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".next")
	if os.WriteFile(next, data, 0o644) == nil {
		os.Rename(next, path)
	}
}

// FakeServer is a server of the generator's own, for scripts to try themselves on.
type FakeServer struct {
	// URL is its address.
	URL    string `js:"url"`
	server *fake.Server
}

func (m *instance) newFakeServer(call sobek.ConstructorCall) *sobek.Object {
	rt := m.vu.Runtime()
	o := m.read("FakeServer", call.Argument(0))
	c := fake.Config{Latency: o.duration("latency", 0), Slots: int(o.number("slots", 0, 0, 1e6)), Seed: uint64(o.number("seed", 1, 0, 1<<53))}
	o.end()
	server, err := m.root.fake(c)
	if err != nil {
		common.Throw(rt, err)
	}
	return constructed(call, rt.ToValue(&FakeServer{URL: server.URL, server: server}).ToObject(rt))
}

// fake returns the server of a configuration: the init code of a script runs once for each
// virtual user, and all are to see one server.
func (r *Root) fake(c fake.Config) (*fake.Server, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fakes) > 0 {
		return r.fakes[0], nil
	}
	server, err := fake.Start(c)
	if err == nil {
		r.fakes = append(r.fakes, server)
	}
	return server, err
}
