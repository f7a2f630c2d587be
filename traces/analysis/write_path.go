package analysis

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
)

// pathColumns are the headings over a hop's stages, parallel to hopStages.
var pathColumns = [len(hopStages)]string{"cache", "queued", "dispatch", "fetch", "execute", "upload", "report"}

// WriteCriticalPath prints a critical path for people: a line a hop, split into
// its stages, then the sums and their shares of the build.
func WriteCriticalPath(w io.Writer, p Path) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "critical path of trace %s: %d of %d actions, %s, %.1f%% queued\n",
		p.Trace, len(p.Hops), p.Actions, lifecycle.Brief(p.Total()), 100*p.QueueShare())
	fmt.Fprintf(out, "%9s %9s", "start", "client")
	for _, c := range pathColumns {
		fmt.Fprintf(out, " %9s", c)
	}
	fmt.Fprintf(out, " %9s  %s\n", "other", "action")

	var client, other time.Duration
	for i := range p.Hops {
		h := &p.Hops[i]
		client += h.Gap
		other += h.Other()
		fmt.Fprintf(out, "%9s", lifecycle.Brief(h.Action.Span.Start.Sub(p.Start)))
		writeRow(out, h.Gap, h.stages, h.Other(), lifecycle.Brief, lifecycle.Label(h.Action))
	}
	client += p.Tail
	var sums [len(hopStages)]time.Duration
	for i, name := range hopStages {
		sums[i] = p.Stage(name)
	}
	fmt.Fprintf(out, "%9s", "total")
	writeRow(out, client, sums, other, lifecycle.Brief, fmt.Sprintf("%s after the last action", lifecycle.Brief(p.Tail)))
	fmt.Fprintf(out, "%9s", "share")
	share := func(d time.Duration) string {
		if p.Total() <= 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f%%", 100*float64(d)/float64(p.Total()))
	}
	writeRow(out, client, sums, other, share, "of "+lifecycle.Brief(p.Total()))
	return out.Flush()
}

func writeRow(w io.Writer, client time.Duration, stages [len(hopStages)]time.Duration, other time.Duration, show func(time.Duration) string, text string) {
	fmt.Fprintf(w, " %9s", show(client))
	for _, d := range stages {
		fmt.Fprintf(w, " %9s", show(d))
	}
	fmt.Fprintf(w, " %9s  %s\n", show(other), text)
}
