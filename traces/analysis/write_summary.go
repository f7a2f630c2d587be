package analysis

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// nameWidth is the room for a name at the end of a line of 100 columns beside the
// numbers of a table.
const nameWidth = 40

// WriteSummary prints a summary for people.
func WriteSummary(w io.Writer, s Summary, by Key) error {
	out := bufio.NewWriter(w)
	if s.Trace == "" {
		fmt.Fprintf(out, "all %d builds: %s from the first start to the last end\n", s.Builds, s.Seconds)
	} else {
		fmt.Fprintf(out, "trace %s: %s\n", s.Trace, strings.Join(nonEmpty(s.Tool, s.Invocation, s.Seconds.String()), ", "))
	}
	if s.Lookups.Calls > 0 {
		fmt.Fprintf(out, "  %-9s %d by the client itself; %d found a result and needed no action\n", "look-ups", s.Lookups.Calls, s.Lookups.Found)
	}
	if s.Actions == 0 {
		fmt.Fprintf(out, "  %-9s none\n", "actions")
		return out.Flush()
	}
	fmt.Fprintf(out, "  %-9s %s\n", "actions", s.counts())
	if notes := s.notes(); notes != "" {
		fmt.Fprintf(out, "  %-9s %s\n", "of these", notes)
	}
	fmt.Fprintf(out, "  %-9s %.1f on average, at most %d; waiting %.1f on average, at most %d\n",
		"running", s.Running.Mean, s.Running.Peak, s.Waiting.Mean, s.Waiting.Peak)
	if s.QueueShare != nil {
		fmt.Fprintf(out, "  %-9s %s of the critical path\n", "queued", percent(*s.QueueShare))
	}
	if s.Hits.Count > 0 {
		h := s.Hits
		fmt.Fprintf(out, "  %-9s %s together, p50 %s, p90 %s, p99 %s, max %s\n", "hits", h.Total, h.P50, h.P90, h.P99, h.Max)
	}
	if s.Queued > 0 {
		fmt.Fprintf(out, "\n  %-9s %9s %7s %9s %9s %9s %9s  of %d queued actions\n",
			"stage", "total", "share", "p50", "p90", "p99", "max", s.Queued)
		for _, g := range s.Stages {
			fmt.Fprintf(out, "  %-9s %9s %7s %9s %9s %9s %9s\n", g.Stage, g.Total, percent(g.Share), g.P50, g.P90, g.P99, g.Max)
		}
	}
	fmt.Fprintf(out, "\n  %9s %7s %9s %9s %9s %9s  %s\n", "worker", "share", "cpu", "queued", "outputs", "actions", by)
	for i := range s.Costs {
		c := &s.Costs[i]
		fmt.Fprintf(out, "  %9s %7s %9s %9s %9s %9d  %s\n", c.Worker, percent(c.Share), c.cpu(), c.Queue, c.outputs(), c.Actions,
			clip(cmp.Or(c.Name, "(none)"), nameWidth))
	}
	if s.CostsLeftOut > 0 {
		fmt.Fprintf(out, "  and %d more\n", s.CostsLeftOut)
	}
	return out.Flush()
}

// counts lists the results of the actions.
func (s *Summary) counts() string {
	var parts []string
	for _, r := range []Result{Executed, Hit, Deduplicated, Failed, Unknown} {
		if n := s.Results[r]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, r))
		}
	}
	return fmt.Sprintf("%d: %s", s.Actions, strings.Join(parts, ", "))
}

// notes lists what else happened to them, "" if nothing did.
func (s *Summary) notes() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{s.Retried, "retried"}, {s.ExitNonZero, "with an exit code other than 0"}, {s.NeverRan, "never on a worker"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

// cpu is "-" where nobody said, and marked where not all did.
func (c *Cost) cpu() string {
	if c.CPU == nil {
		return "-"
	}
	return partial(c.CPUKnown < c.Ran) + c.CPU.String()
}

func (c *Cost) outputs() string {
	if c.OutputBytes == nil {
		return "-"
	}
	return partial(c.OutputsKnown < c.Actions) + bytesOf(*c.OutputBytes)
}

func partial(yes bool) string {
	if yes {
		return "≥"
	}
	return ""
}

// bytesOf writes a size for people, with three digits.
func bytesOf(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + "B"
	}
	x, unit := float64(n), -1
	for ; x >= 1024 && unit < 4; unit++ {
		x /= 1024
	}
	precision := 0
	switch {
	case x < 10:
		precision = 2
	case x < 100:
		precision = 1
	}
	return strconv.FormatFloat(x, 'f', precision, 64) + "KMGTP"[unit:unit+1] + "iB"
}

// clip shortens a name from the left, where those of targets are alike.
func clip(name string, width int) string {
	runes := []rune(name)
	if len(runes) <= width {
		return name
	}
	return "…" + string(runes[len(runes)-width+1:])
}

func nonEmpty(texts ...string) []string {
	var kept []string
	for _, t := range texts {
		if t != "" {
			kept = append(kept, t)
		}
	}
	return kept
}
