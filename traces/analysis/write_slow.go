package analysis

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/weir-build/weir/traces/lifecycle"
)

// WriteSlow prints actions for people, two lines each: its stages, then where to
// find it.
func WriteSlow(w io.Writer, actions []*Action) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%8s", "duration")
	for _, c := range columnNames {
		fmt.Fprintf(out, " %8s", c)
	}
	fmt.Fprintln(out, "  action")
	for _, a := range actions {
		fmt.Fprintf(out, "%8s", lifecycle.Brief(a.Duration()))
		for _, d := range a.Split.columns() {
			fmt.Fprintf(out, " %8s", lifecycle.Brief(d))
		}
		fmt.Fprintf(out, "  %s\n", a.Name())
		notes := nonEmpty(a.Reason(), a.Worker())
		if a.Result != Executed {
			notes = append(notes, string(a.Result))
		}
		if n := len(a.Attempts); n > 1 {
			notes = append(notes, fmt.Sprintf("%d attempts", n))
		}
		s := a.Node.Span
		where := fmt.Sprintf("span %s of trace %s", s.ID, s.Trace)
		if len(notes) > 0 {
			where += ": " + strings.Join(notes, ", ")
		}
		fmt.Fprintf(out, "%8s %s\n", "", where)
	}
	return out.Flush()
}
