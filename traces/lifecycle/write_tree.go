package lifecycle

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/weir-build/weir/traces/semconv"
)

const (
	// barWidth is the width of the time axis in characters.
	barWidth = 32
	// minGap is the shortest gap between stages that has a line of its own.
	minGap = time.Millisecond
	// minRun is the least number of equal siblings shown as one line: three
	// repeated lines are easier to read than a summary of them.
	minRun = 4
)

// shownAttributes are those that tell spans of one name apart, or explain their
// duration.
var shownAttributes = []string{
	semconv.AttrActionMnemonic, semconv.AttrTargetID, semconv.AttrWorker,
	semconv.AttrQueueReason, semconv.AttrRetryReason, semconv.AttrCacheResult, semconv.AttrToolName,
}

// View says what WriteTree shows. The zero View leaves RPCs out, but for those at
// the top (what hangs below one is shown in its place), and gaps between stages of
// less than a millisecond.
type View struct {
	Calls bool // show everything
}

// WriteTree prints a trace for people: a line a span, with its offset from the
// start of the trace, its duration, its place on the time axis and its place in
// the tree. Runs of equal calls are one line.
//
//	trace 8f0e…: 9 spans, 5.00s
//	    start  duration
//	        0     5.00s │████████████████████████████████│ invocation
//	    1.00s     2.50s │      ████████████████          │ └─ action
func WriteTree(w io.Writer, t *Tree, view View) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "trace %s: %d spans, %s\n", t.Trace, t.Spans, Brief(t.End.Sub(t.Start)))
	fmt.Fprintf(out, "%9s %9s\n", "start", "duration")
	p := treePrinter{out: out, tree: t, view: view}
	for _, r := range t.Roots {
		p.line(r.Span.Start, end(r.Span), "", Label(r))
		p.children(r, "")
	}
	return out.Flush()
}

type treePrinter struct {
	out  *bufio.Writer
	tree *Tree
	view View
}

// children prints what hangs below n, each line's tree drawing beginning with
// indent.
func (p *treePrinter) children(n *Node, indent string) {
	children := p.shown(n, nil)
	for i := 0; i < len(children); {
		count := runLength(children[i:])
		if count < minRun {
			count = 1
		}
		branch, below := "├─ ", "│  "
		if i+count == len(children) {
			branch, below = "└─ ", "   "
		}
		if c := children[i]; count == 1 {
			p.line(c.Span.Start, end(c.Span), indent+branch, Label(c))
			p.children(c, indent+below)
		} else {
			p.run(children[i:i+count], indent+branch)
		}
		i += count
	}
}

// shown appends to list what is shown below n.
func (p *treePrinter) shown(n *Node, list []*Node) []*Node {
	if p.view.Calls {
		return n.Children
	}
	for _, c := range n.Children {
		switch {
		case isCall(c.Span):
			list = p.shown(c, list)
		case c.Span.IsGap() && len(c.Children) == 0 && c.Span.Duration() < minGap:
		default:
			list = append(list, c)
		}
	}
	return list
}

// isCall reports whether a span is that of an RPC: those are named after their
// method, which has a slash.
func isCall(s *Span) bool { return strings.Contains(s.Name, "/") }

// run prints equal siblings as one line.
func (p *treePrinter) run(nodes []*Node, drawing string) {
	first, latest := nodes[0].Span, end(nodes[0].Span)
	var sum, longest time.Duration
	for _, n := range nodes {
		d := end(n.Span).Sub(n.Span.Start)
		sum += d
		longest = max(longest, d)
		if e := end(n.Span); e.After(latest) {
			latest = e
		}
	}
	p.line(first.Start, latest, drawing, fmt.Sprintf("%s ×%d%s  sum %s, longest %s", shortName(first), len(nodes), failed(first), Brief(sum), Brief(longest)))
}

func (p *treePrinter) line(start, end time.Time, drawing, text string) {
	fmt.Fprintf(p.out, "%9s %9s │%s│ %s%s\n", Brief(start.Sub(p.tree.Start)), Brief(end.Sub(start)), p.bar(start, end), drawing, text)
}

// bar draws the time from start to end on the trace's axis. The shortest span
// has one character.
func (p *treePrinter) bar(start, end time.Time) string {
	whole := float64(p.tree.End.Sub(p.tree.Start))
	if whole <= 0 {
		return strings.Repeat("█", barWidth)
	}
	from := min(int(barWidth*float64(start.Sub(p.tree.Start))/whole), barWidth-1)
	to := min(int(barWidth*float64(end.Sub(p.tree.Start))/whole+0.5), barWidth)
	to = max(to, from+1)
	return strings.Repeat(" ", from) + strings.Repeat("█", to-from) + strings.Repeat(" ", barWidth-to)
}

// runLength returns how many of the first nodes print alike: calls of one
// method, to one service, equally successful, that no action hangs below.
func runLength(nodes []*Node) int {
	first := nodes[0].Span
	n := 0
	for n < len(nodes) {
		s := nodes[n].Span
		if s.Name != first.Name || s.Service != first.Service || s.Failed != first.Failed || holdsAction(nodes[n]) {
			break
		}
		n++
	}
	return max(n, 1)
}

func holdsAction(n *Node) bool {
	return !n.walk(func(n *Node) bool { return !n.Span.IsAction() && !n.Span.IsStage() })
}

// Label names a span for people, with what is notable about it.
func Label(n *Node) string {
	s := n.Span
	var b strings.Builder
	b.WriteString(shortName(s))
	if s.Service != "" && !ownsItsName(s) {
		b.WriteString(" @" + s.Service)
	}
	if a := s.IntAttr(semconv.AttrAttempt); a > 1 {
		b.WriteString(" attempt " + strconv.FormatInt(a, 10))
	}
	if code := s.IntAttr(semconv.AttrExitCode); code != 0 {
		b.WriteString(" exit " + strconv.FormatInt(code, 10))
	}
	for _, key := range shownAttributes {
		// Calls repeat what the spans above them say.
		if v := s.Attr(key); v != "" && !isCall(s) {
			b.WriteString(" " + v)
		}
	}
	b.WriteString(identity(s))
	b.WriteString(failed(s))
	if n.Remote {
		b.WriteString(" (parent " + s.Parent.String() + " is elsewhere)")
	}
	if n.Cycle {
		b.WriteString(" (parent " + s.Parent.String() + " is below it)")
	}
	return b.String()
}

// shortName leaves the package out of a method's name.
func shortName(s *Span) string {
	service, method, ok := strings.Cut(s.Name, "/")
	if !ok {
		return s.Name
	}
	return service[strings.LastIndexByte(service, '.')+1:] + "/" + method
}

// ownsItsName reports whether a span's name tells who wrote it: the
// execution-server writes actions and their stages, the proxy invocations.
func ownsItsName(s *Span) bool {
	return s.IsAction() || s.IsStage()
}

// identity tells actions apart whose client says nothing of them but a digest,
// and names a build.
func identity(s *Span) string {
	switch {
	case s.IsAction() && s.Attr(semconv.AttrTargetID) == "":
		d := s.Attr(semconv.AttrActionDigest)
		if d == "" {
			return " " + s.Attr(semconv.AttrActionDescription)
		}
		return " " + d[:min(12, len(d))]
	case s.Name == semconv.SpanInvocation:
		return " " + s.Attr(semconv.AttrInvocationID)
	}
	return ""
}

func failed(s *Span) string {
	if s.Failed {
		return " FAILED"
	}
	return ""
}

// Brief writes a duration with three digits: 1.23ms, 45.6s; from an hour on to the
// second.
func Brief(d time.Duration) string {
	switch abs := d.Abs(); {
	case d == 0:
		return "0"
	case abs < time.Microsecond:
		return strconv.FormatInt(int64(d), 10) + "ns"
	case abs < time.Millisecond:
		return digits(float64(d)/1e3) + "µs"
	case abs < time.Second:
		return digits(float64(d)/1e6) + "ms"
	case abs < time.Hour:
		return digits(d.Seconds()) + "s"
	}
	return d.Round(time.Second).String()
}

// digits writes three significant digits, or all before the point.
func digits(x float64) string {
	switch {
	case x < 10 && x > -10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 100 && x > -100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 0, 64)
}
