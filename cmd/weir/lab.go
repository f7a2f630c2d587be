package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/experiment"
)

// keptFolder is where finished runs are, in the current folder: beside the run folders, which
// have other names.
var keptFolder = filepath.Join("runs", "kept")

// labFlags are those of all commands that make many simulations.
type labFlags struct {
	seed      uint64
	duration  time.Duration
	settings  []string
	measures  []string
	steady    bool
	precision string
	most      int
	keep      string
	format    string

	seeded  bool
	precise experiment.Precision
	base    experiment.Variant
}

func (f *labFlags) add(c *cobra.Command, formats string) {
	flags := c.Flags()
	flags.Uint64Var(&f.seed, "seed", 0, "seed, instead of the scenario's")
	durationFlag(c, &f.duration, "builds")
	flags.StringArrayVar(&f.settings, "set", nil, "KNOB=VALUE, what else is changed of the scenario; may be repeated")
	flags.StringVar(&f.format, "format", "text", formats)
	f.addShared(c)
}

// addShared adds those that weir sim has no others in place of.
func (f *labFlags) addShared(c *cobra.Command) {
	flags := c.Flags()
	flags.BoolVar(&f.steady, "steady", false, "look at the steady state: leave out the warm-up, and make runs long enough")
	flags.IntVar(&f.most, "max-replications", experiment.DefaultMost, "the most runs of each variant")
	flags.StringVar(&f.keep, "keep", keptFolder, "folder of finished runs, from which an interrupted command goes on; empty keeps none")
}

// read checks the flags and reads the scenario; it returns an experiment that measures
// nothing yet.
func (f *labFlags) read(c *cobra.Command, from string, formats ...string) (*experiment.Experiment, error) {
	f.seeded = c.Flags().Changed("seed")
	if !slices.Contains(formats, f.format) {
		return nil, usageError{fmt.Errorf("--format %q: want %s", f.format, strings.Join(formats, ", "))}
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	for _, text := range f.settings {
		s, err := experiment.ParseSetting(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--set %w", err)}
		}
		f.base = append(f.base, s)
	}
	s, text, err := readScenario(from)
	if err != nil {
		return nil, err
	}
	if f.seeded {
		s.Seed = f.seed
	}
	if f.duration > 0 {
		s.Duration = f.duration
	}
	return f.experiment(c, s, text), nil
}

// check reads the flags of addShared, and the precision.
func (f *labFlags) check() (err error) {
	if f.most < 2 || f.most > maxReplications {
		return usageError{fmt.Errorf("--max-replications %d: want from 2 to %d", f.most, maxReplications)}
	}
	if f.precision != "" {
		if f.precise, err = parsePrecision(f.precision); err != nil {
			return usageError{fmt.Errorf("--precision %w", err)}
		}
	}
	f.precise.Most = f.most
	for _, m := range f.measures {
		if err := result.CheckMeasure(m); err != nil {
			return usageError{fmt.Errorf("--measure: %w", err)}
		}
	}
	return nil
}

func (f *labFlags) experiment(c *cobra.Command, s *scenario.Scenario, text []byte) *experiment.Experiment {
	x := &experiment.Experiment{Scenario: s, Steady: f.steady, Kept: experiment.Kept{Folder: f.keep, Text: text}}
	if f.keep != "" {
		x.Kept.Version = program()
	}
	if line := newStatusLine(c.ErrOrStderr()); line != nil {
		x.Progress = func(p experiment.Progress) {
			kept := ""
			if p.Kept > 0 {
				kept = fmt.Sprintf(", %d of them kept from before", p.Kept)
			}
			line.show(float64(p.Done)/float64(max(p.Total, 1)), fmt.Sprintf("%d of %d runs%s", p.Done, p.Total, kept))
		}
		return x
	}
	// Without a terminal there is a line for each point, so that a log shows how far it is.
	x.Finished = func(p *experiment.Point) { fmt.Fprintln(c.ErrOrStderr(), finishedLine(x, p)) }
	return x
}

// finishedLine says what came of a point by its first measure.
func finishedLine(x *experiment.Experiment, p *experiment.Point) string {
	line := fmt.Sprintf("done: %s, %s", p.Variant, plural(int64(len(p.Runs)), "run"))
	if mean, ok := p.Mean(0); ok {
		line += fmt.Sprintf(", %s %s", x.Measures[0], format(x.Measures[0], mean))
	}
	return line
}

// measure sets what is measured, each once: what is shown first, then what objectives need.
func measure(x *experiment.Experiment, shown []string, objectives []result.Expr) {
	x.Measures = slices.Clone(shown)
	for _, e := range objectives {
		if !slices.Contains(x.Measures, e.Measure) {
			x.Measures = append(x.Measures, e.Measure)
		}
	}
}

// simulated are the objectives that a simulation can say something of: it makes no single calls.
func simulated(objectives []result.Expr) []result.Expr {
	return slices.DeleteFunc(slices.Clone(objectives), func(e result.Expr) bool { return strings.HasPrefix(e.Measure, "call") })
}

// parsePrecision reads a share, a duration or both with a comma between.
func parsePrecision(text string) (experiment.Precision, error) {
	var p experiment.Precision
	wrong := fmt.Errorf("%q: want a share such as 5%%, a duration such as 20ms, or 5%%,20ms for whichever is reached first", text)
	for part := range strings.SplitSeq(text, ",") {
		digits, percent := strings.CutSuffix(part, "%")
		if share, err := strconv.ParseFloat(digits, 64); err == nil {
			if percent {
				share /= 100
			}
			if !(share > 0 && share < 1) || p.Relative != 0 {
				return p, wrong
			}
			p.Relative = share
			continue
		}
		d, err := time.ParseDuration(part)
		if err != nil || d <= 0 || p.Absolute != 0 {
			return p, wrong
		}
		p.Absolute = float64(d)
	}
	return p, nil
}

// program tells this build of the program from others: by its commit, if it is just that, else
// by all of its bytes.
func program() string {
	settings := make(map[string]string)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	if settings["vcs.revision"] != "" && settings["vcs.modified"] == "false" {
		return settings["vcs.revision"] + " " + settings["GOARCH"]
	}
	path, err := os.Executable()
	if err != nil {
		return version()
	}
	f, err := os.Open(path)
	if err != nil {
		return version()
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return version()
	}
	return hex.EncodeToString(h.Sum(nil))
}

// interrupted says how far an experiment is that was, and how it goes on.
func (f *labFlags) interrupted(x *experiment.Experiment, err error) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	if f.keep == "" {
		return fmt.Errorf("interrupted after %d runs", x.Made().Done)
	}
	return fmt.Errorf("interrupted after %d runs: they are in %s, and the same command goes on from there", x.Made().Done, f.keep)
}

// warnOverload tells, before they are made, of runs that are asked for more than they can serve.
func warnOverloads(w io.Writer, points []*experiment.Point) {
	for _, p := range points {
		warnOverload(w, p.Variant.String(), p.Load)
	}
}

func warnOverload(w io.Writer, what string, l experiment.Load) {
	if l.Rho >= 1 {
		fmt.Fprintf(&narrow{out: w}, "warning: %s: %s: it never catches up while builds come, and the numbers depend on for how long they do\n", what, overload(l))
	}
}

func overload(l experiment.Load) string {
	return fmt.Sprintf("ρ = %.3g: the work of %.3g slots arrives for %d of them", l.Rho, l.Erlang, l.Slots)
}

// mode says what runs are, of points that are all of one mode.
func mode(x *experiment.Experiment, points ...*experiment.Point) string {
	var parts []string
	for _, p := range points {
		part := p.Duration.String()
		if x.Steady {
			part = fmt.Sprintf("%v of %v", p.Warmup, p.Duration)
		}
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	if len(parts) > 3 {
		parts = append(parts[:3], "…")
	}
	if !x.Steady {
		return fmt.Sprintf("terminating runs: builds begin for %s, in an empty cluster, and a run lasts until the last has ended", strings.Join(parts, ", "))
	}
	return "steady state: the warm-up is left out by MSER-5, " + strings.Join(parts, ", ")
}

// evidence are the lines that say what an answer rests on.
func evidence(out io.Writer, x *experiment.Experiment, from string, confidence string, points ...*experiment.Point) {
	runs := fmt.Sprintf("%d runs", x.Made().Done)
	if len(points) > 1 {
		runs += ", the same builds for each variant"
	}
	if kept := x.Made().Kept; kept > 0 {
		runs += fmt.Sprintf(", %d of them kept from before", kept)
	}
	fmt.Fprintf(out, "\n%s\n%s\nscenario %s, seed %d, %s, weir %s\n", mode(x, points...), confidence, from, x.Scenario.Seed, runs, version())
}

// format writes a value of a measure, with four digits at most.
func format(measure string, v float64) string {
	if short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64); err == nil {
		v = short
	}
	return result.Expr{Measure: measure}.Format(v)
}

// span writes an interval.
func span(measure string, low, high float64) string {
	// Nothing measured is below 0; an interval by Student's t doesn't know.
	return "[" + format(measure, max(low, 0)) + ", " + format(measure, high) + "]"
}

// percent writes a share with two digits or more, and always a sign.
func percent(share float64) string {
	digits := 1
	if math.Abs(share) >= 0.1 {
		digits = 0
	}
	return strings.Replace(fmt.Sprintf("%+.*f %%", digits, 100*share), "-", "−", 1)
}

// busy is the mean share of the slots' time that was used.
func busy(p *experiment.Point) float64 {
	sum := 0.0
	for _, r := range p.Runs {
		sum += r.Busy
	}
	return sum / float64(max(len(p.Runs), 1))
}
