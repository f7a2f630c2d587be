package analysis

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// leastHole is the share of an action from which on time without a span is worth a
// line of its own.
const leastHole = 0.001

// WriteDetail prints one action for people.
func WriteDetail(w io.Writer, d Detail) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s: %s, %s", d.Name, d.Result, d.Seconds)
	if d.ExitCode != 0 {
		fmt.Fprintf(out, ", exit code %d", d.ExitCode)
	}
	fmt.Fprintln(out)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "  %-11s %s\n", name, value)
		}
	}
	field("trace", d.Trace)
	field("span", d.Span)
	field("invocation", d.Invocation)
	field("operation", d.Operation)
	field("digest", d.Digest)
	field("action id", d.ActionID)
	field("instance", d.Instance)
	field("platform", d.Platform)
	field("worker", d.Worker)
	field("cache", d.CacheResult)
	for _, l := range d.Links {
		field("result of", strings.Join(nonEmpty(linkWords[l.Kind], "trace "+l.Trace+" span "+l.Span), ", "))
	}
	field("error", strings.Join(nonEmpty(d.ErrorType, d.Error), ": "))
	field("kept", d.SamplingKept)
	if d.OutputBytes != nil {
		field("outputs", fmt.Sprintf("%s, files: %d", bytesOf(*d.OutputBytes), *d.OutputFiles))
	}
	field("started", fmt.Sprintf("%s, %s into the build", d.Start.UTC().Format("2006-01-02T15:04:05.000000Z"), d.Offset))

	fmt.Fprintf(out, "\n  %9s %9s %7s  stage\n", "start", "duration", "share")
	for i := range d.Parts {
		p := &d.Parts[i]
		if p.Span == "" && p.Share < leastHole {
			continue
		}
		name := p.Stage
		if p.OnWorker {
			name = "  " + name
		}
		if p.Attempt > 1 {
			name += fmt.Sprintf(" attempt %d", p.Attempt)
		}
		if p.Failed {
			name += " FAILED"
		}
		fmt.Fprintf(out, "  %9s %9s %7s  %s%s\n", p.Offset, p.Seconds, percent(p.Share), name, p.notes())
		p.writeUse(out)
		// Stages of a worker were moved with it.
		if !p.OnWorker || p.Numbers[semconv.AttrClockCut] != 0 {
			p.writeClock(out)
		}
	}
	if d.Other > 0 {
		fmt.Fprintf(out, "  %9s %9s %7s  in no stage, %s of it on a worker\n", "", d.Other, percent(share(d.Other, d.Seconds)), d.OnWorker)
	}
	if d.SpansMissing > 0 {
		fmt.Fprintf(out, "  spans of this action that are missing: %d\n", d.SpansMissing)
	}
	if len(d.RPCs) > 0 {
		fmt.Fprintf(out, "\n  %9s %9s %7s  calls below it\n", "total", "longest", "calls")
		for _, r := range d.RPCs {
			call := shortMethod(r.Method)
			if r.Service != "" {
				call += " @" + r.Service
			}
			if r.Failed > 0 {
				call += fmt.Sprintf(", %d FAILED", r.Failed)
			}
			fmt.Fprintf(out, "  %9s %9s %7d  %s\n", r.Total, r.Longest, r.Calls, call)
		}
	}
	return out.Flush()
}

// linkWords says what a kind of link means for the result.
var linkWords = map[string]string{semconv.LinkCached: "cached", semconv.LinkDeduplicated: "work that was under way"}

// notes are the texts of a part, in a fixed order.
func (p *DetailPart) notes() string {
	var b strings.Builder
	for _, key := range partTexts {
		if v := p.Texts[key]; v != "" {
			b.WriteString("  " + v)
		}
	}
	if p.Numbers[semconv.AttrLate] != 0 {
		b.WriteString("  late")
	}
	return b.String()
}

const underStage = "                                 "

// writeUse prints what the command used.
func (p *DetailPart) writeUse(w io.Writer) {
	user, system := p.Numbers[semconv.AttrUserTime], p.Numbers[semconv.AttrSystemTime]
	var parts []string
	if user != 0 || system != 0 {
		cpu := time.Duration(user + system)
		text := fmt.Sprintf("cpu %s (user %s, system %s)", lifecycle.Brief(cpu), lifecycle.Brief(time.Duration(user)), lifecycle.Brief(time.Duration(system)))
		if p.Seconds > 0 {
			text += fmt.Sprintf(", %.2f CPUs", share(cpu, time.Duration(p.Seconds)))
		}
		parts = append(parts, text)
	}
	if n := p.Numbers[semconv.AttrMaxRSS]; n != 0 {
		parts = append(parts, "max rss "+bytesOf(n))
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "%s%s\n", underStage, strings.Join(parts, ", "))
	}
	parts = parts[:0]
	for _, c := range []struct{ key, what string }{
		{semconv.AttrMajorFaults, "major faults"}, {semconv.AttrBlockInput, "blocks read"}, {semconv.AttrBlockOutput, "blocks written"},
		{semconv.AttrVoluntarySwitches, "voluntary switches"}, {semconv.AttrInvoluntarySwitches, "involuntary"},
	} {
		if n := p.Numbers[c.key]; n != 0 {
			parts = append(parts, strconv.FormatInt(n, 10)+" "+c.what)
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "%s%s\n", underStage, strings.Join(parts, ", "))
	}
}

// writeClock prints what was done to the part's times.
func (p *DetailPart) writeClock(w io.Writer) {
	var parts []string
	if n := p.Numbers[semconv.AttrClockOffset]; n != 0 {
		parts = append(parts, fmt.Sprintf("the worker's clock was corrected by %s", lifecycle.Brief(time.Duration(n))))
	}
	if n := p.Numbers[semconv.AttrClockCut]; n != 0 {
		parts = append(parts, fmt.Sprintf("its end was cut by %s", lifecycle.Brief(time.Duration(n))))
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "%s%s\n", underStage, strings.Join(parts, ", "))
	}
	raw := func(key string) string {
		n := p.Numbers[key]
		if n == 0 {
			return "as shown"
		}
		return time.Unix(0, n).UTC().Format("15:04:05.000000")
	}
	if p.Numbers[semconv.AttrClockRawStart] != 0 || p.Numbers[semconv.AttrClockRawEnd] != 0 {
		fmt.Fprintf(w, "%sit says itself: start %s, end %s\n", underStage, raw(semconv.AttrClockRawStart), raw(semconv.AttrClockRawEnd))
	}
}

// shortMethod leaves the package out of a method's name.
func shortMethod(name string) string {
	service, method, _ := strings.Cut(name, "/")
	return service[strings.LastIndexByte(service, '.')+1:] + "/" + method
}

// WriteCandidates prints the actions that an ambiguous name may stand for.
func WriteCandidates(w io.Writer, actions []*Action) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%-16s  %-32s %9s  action\n", "span", "trace", "duration")
	for _, a := range actions {
		s := a.Node.Span
		fmt.Fprintf(out, "%s  %s %9s  %s %s\n", s.ID, s.Trace, lifecycle.Brief(a.Duration()), a.Name(), a.Result)
	}
	return out.Flush()
}
