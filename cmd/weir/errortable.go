package main

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/tape"
)

// spreadJSON is what is worth knowing of many durations, in seconds.
type spreadJSON struct {
	Count int     `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func secondsOf(s tape.Spread) spreadJSON {
	return spreadJSON{s.Count, s.Mean.Seconds(), s.P50.Seconds(), s.P95.Seconds(), s.P99.Seconds(), s.Max.Seconds()}
}

func (s *spreadJSON) mean() string { return secondsText(s.Mean) }
func (s *spreadJSON) p95() string  { return secondsText(s.P95) }

func secondsText(s float64) string {
	return result.Round(time.Duration(s * float64(time.Second))).String()
}

// errorJSON is how far a simulation is from what was seen. Errors are shares of what was seen, null
// if that is 0.
type errorJSON struct {
	Recorded  spreadJSON   `json:"recorded"`
	Simulated spreadJSON   `json:"simulated"`
	Error     relativeJSON `json:"error"`
	KS        float64      `json:"ks"`
}

type relativeJSON struct {
	Mean *float64 `json:"mean"`
	P50  *float64 `json:"p50"`
	P95  *float64 `json:"p95"`
	P99  *float64 `json:"p99"`
}

func errorOf(e tape.Error) errorJSON {
	a, b := &e.Recorded, &e.Simulated
	return errorJSON{secondsOf(*a), secondsOf(*b), relativeJSON{
		relative(a.Mean, b.Mean), relative(a.P50, b.P50), relative(a.P95, b.P95), relative(a.P99, b.P99),
	}, e.KS}
}

func relative(recorded, simulated time.Duration) *float64 {
	r := tape.Relative(recorded, simulated)
	if math.IsInf(r, 0) {
		return nil
	}
	return &r
}

func errorHead(w io.Writer, changed bool) {
	fmt.Fprint(w, "\t\trecorded\tsimulated\terror\t")
	if changed {
		fmt.Fprint(w, "changed\tdifference\t")
	}
	fmt.Fprintln(w)
}

// errorRows prints the rows of a measure, beside those of another simulation if there is one.
func errorRows(w io.Writer, name string, e *errorJSON, changed *spreadJSON) {
	if e.Recorded.Count == 0 {
		fmt.Fprintf(w, "%s\tnone\t\t\t\t\n", name)
		return
	}
	row := func(what string, recorded, simulated float64, off *float64, other func(*spreadJSON) float64) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t", name, what, secondsText(recorded), secondsText(simulated), offText(off))
		if changed != nil {
			v := other(changed)
			fmt.Fprintf(w, "%s\t%s\t", secondsText(v), offText(relative(time.Duration(simulated*1e9), time.Duration(v*1e9))))
		}
		fmt.Fprintln(w)
	}
	a, b := &e.Recorded, &e.Simulated
	row("mean", a.Mean, b.Mean, e.Error.Mean, func(s *spreadJSON) float64 { return s.Mean })
	row("p50", a.P50, b.P50, e.Error.P50, func(s *spreadJSON) float64 { return s.P50 })
	row("p95", a.P95, b.P95, e.Error.P95, func(s *spreadJSON) float64 { return s.P95 })
	row("p99", a.P99, b.P99, e.Error.P99, func(s *spreadJSON) float64 { return s.P99 })
	fmt.Fprintf(w, "%s\tKS distance\t\t\t%.3f\t", name, e.KS)
	if changed != nil {
		fmt.Fprint(w, "\t\t")
	}
	fmt.Fprintln(w)
}

func offText(share *float64) string {
	if share == nil {
		return "from 0"
	}
	return percent(*share)
}
