package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/experiment"
)

// The JSON that all these commands print.
type (
	labJSON struct {
		Schema     string  `json:"schema"`
		Command    string  `json:"command"`
		Scenario   string  `json:"scenario"`
		Seed       uint64  `json:"seed"`
		Version    string  `json:"version"`
		Mode       string  `json:"mode"`
		Confidence float64 `json:"confidence"`
		// Points are what was run; Comparisons and Plan are there for those commands.
		Points      []pointJSON    `json:"points"`
		Comparisons []comparedJSON `json:"comparisons,omitempty"`
		Plan        *planJSON      `json:"plan,omitempty"`
		// At is when Branches part from the run as it was.
		At       time.Duration `json:"at,omitempty"`
		Branches []branchJSON  `json:"branches,omitempty"`
	}
	branchJSON struct {
		With        string         `json:"with"`
		Comparisons []comparedJSON `json:"comparisons"`
	}
	pointJSON struct {
		Settings    experiment.Variant `json:"settings"`
		Slots       int                `json:"slots"`
		CostPerHour float64            `json:"costPerHour,omitempty"`
		Rho         float64            `json:"rho"`
		Runs        int                `json:"runs"`
		WarmupNS    time.Duration      `json:"warmup,omitempty"`
		DurationNS  time.Duration      `json:"duration"`
		Busy        float64            `json:"busy"`
		Fingerprint string             `json:"fingerprint"`
		Estimates   []estimateJSON     `json:"estimates,omitempty"`
		// Met is in how many runs all objectives hold, if there are any.
		Met *int `json:"met,omitempty"`
	}
	estimateJSON struct {
		Measure string  `json:"measure"`
		Mean    float64 `json:"mean"`
		Low     float64 `json:"low"`
		High    float64 `json:"high"`
		Reached bool    `json:"reached"`
		Problem string  `json:"problem,omitempty"`
	}
	comparedJSON struct {
		Measure    string  `json:"measure"`
		A          float64 `json:"a"`
		B          float64 `json:"b"`
		Difference float64 `json:"difference"`
		Low        float64 `json:"low"`
		High       float64 `json:"high"`
		Margin     float64 `json:"margin"`
		Runs       int     `json:"runs"`
		// Reduction is Var_indep / Var_CRN; it is left out where the pairs don't differ at all.
		Reduction float64 `json:"varianceReduction,omitempty"`
		Verdict   string  `json:"verdict"`
		Problem   string  `json:"problem,omitempty"`
	}
	planJSON struct {
		// Workers is the least number that meets the objectives; 0 if none was found.
		Workers    int         `json:"workers"`
		Objectives []string    `json:"objectives"`
		Tried      []triedJSON `json:"tried"`
	}
	triedJSON struct {
		Workers int          `json:"workers"`
		Verdict string       `json:"verdict"`
		Answers []answerJSON `json:"answers"`
		MetLow  float64      `json:"metLow"`
		MetHigh float64      `json:"metHigh"`
		Point   pointJSON    `json:"point"`
	}
	answerJSON struct {
		Objective string  `json:"objective"`
		Mean      float64 `json:"mean"`
		Low       float64 `json:"low"`
		High      float64 `json:"high"`
		Verdict   string  `json:"verdict"`
	}
)

func newLabJSON(command string, x *experiment.Experiment, points []*experiment.Point, objectives []result.Expr) *labJSON {
	mode := "terminating"
	if x.Steady {
		mode = "steady"
	}
	doc := &labJSON{
		Schema: "weir-experiment/v1", Command: command, Scenario: x.Scenario.Name, Seed: x.Scenario.Seed, Version: version(),
		Mode: mode, Confidence: experiment.Confidence, Points: []pointJSON{},
	}
	for _, p := range points {
		doc.Points = append(doc.Points, newPointJSON(x, p, objectives))
	}
	return doc
}

func newPointJSON(x *experiment.Experiment, p *experiment.Point, objectives []result.Expr) pointJSON {
	out := pointJSON{
		Settings: p.Variant, Slots: p.Slots, CostPerHour: p.CostPerHour, Rho: p.Load.Rho, Runs: len(p.Runs), WarmupNS: p.Warmup, DurationNS: p.Duration,
		Busy: busy(p), Fingerprint: fmt.Sprintf("%016x", p.Fingerprint()),
	}
	if out.Settings == nil {
		out.Settings = experiment.Variant{}
	}
	for _, e := range p.Estimates {
		one := estimateJSON{Measure: e.Measure, Reached: e.Reached, Problem: e.Problem}
		if e.Problem == "" {
			one.Mean, one.Low, one.High = e.Mean, e.Low(), e.High()
		}
		out.Estimates = append(out.Estimates, one)
	}
	if len(objectives) > 0 {
		met := x.MetBy(p, objectives)
		out.Met = &met
	}
	return out
}

func (doc *labJSON) write(out io.Writer) error {
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	_, err = out.Write(append(text, '\n'))
	return err
}

// finite is 0 for what JSON has no number for.
func finite(v float64) float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	return v
}
