package analysis

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
)

// WriteCriticalPath prints a critical path for people: a line a hop, split into
// its stages, then the sums and their shares of the build.
func WriteCriticalPath(w io.Writer, p Path) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "critical path of trace %s: %d of %d actions, %s, %.1f%% queued\n",
		p.Trace, len(p.Hops), p.Actions, lifecycle.Brief(p.Total()), 100*p.QueueShare())
	fmt.Fprintf(out, "%8s %8s", "start", "client")
	for _, c := range columnNames {
		fmt.Fprintf(out, " %8s", c)
	}
	fmt.Fprintln(out, "  action")

	var client time.Duration
	for i := range p.Hops {
		h := &p.Hops[i]
		client += h.Gap
		fmt.Fprintf(out, "%8s", lifecycle.Brief(h.Action.Span.Start.Sub(p.Start)))
		writeRow(out, h.Gap, &h.Split, lifecycle.Brief, lifecycle.Label(h.Action))
	}
	client += p.Tail
	sum := p.Split()
	fmt.Fprintf(out, "%8s", "total")
	writeRow(out, client, &sum, lifecycle.Brief, lifecycle.Brief(p.Tail)+" after the last action")
	fmt.Fprintf(out, "%8s", "share")
	writeRow(out, client, &sum, func(d time.Duration) string {
		if p.Total() <= 0 {
			return "-"
		}
		return percent(share(d, p.Total()))
	}, "of "+lifecycle.Brief(p.Total()))
	return out.Flush()
}

func writeRow(w io.Writer, client time.Duration, split *Split, show func(time.Duration) string, text string) {
	fmt.Fprintf(w, " %8s", show(client))
	for _, d := range split.columns() {
		fmt.Fprintf(w, " %8s", show(d))
	}
	fmt.Fprintf(w, "  %s\n", text)
}
