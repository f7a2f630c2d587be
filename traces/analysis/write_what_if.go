package analysis

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
)

// WriteWhatIf prints for people what other numbers of slots would have come to.
func WriteWhatIf(w io.Writer, x *WhatIf) error {
	out := bufio.NewWriter(w)
	if x == nil {
		fmt.Fprintln(out, "no action was on a worker: with other numbers of slots nothing would be different")
		return out.Flush()
	}
	fmt.Fprintf(out, "with other numbers of slots than the %d there were, on which it took %s:\n", x.Slots, x.Recorded)
	fmt.Fprintf(out, "%9s %9s %9s %9s %9s\n", "slots", "predicted", "change", "at least", "at most")
	line := func(p Prediction, text string) {
		slots := strconv.Itoa(p.Slots)
		if p.Slots == 0 {
			slots = "unlimited"
		}
		change := "-"
		if x.Same.Total > 0 {
			change = signed(share(p.Total-x.Same.Total, x.Same.Total))
		}
		fmt.Fprintf(out, "%9s %9s %9s %9s %9s%s\n", slots, p.Total, change, p.AtLeast, p.AtMost, text)
	}
	same := "  as it was: the model says " + x.Same.Total.String()
	if x.Recorded > 0 {
		same = "  as it was: the model is off by " + signed(share(x.Same.Total-x.Recorded, x.Recorded))
	}
	shown := false
	for _, p := range x.Others {
		if !shown && (p.Slots == 0 || p.Slots > x.Slots) {
			line(x.Same, same)
			shown = true
		}
		line(p, "")
	}
	fmt.Fprint(out, `The order of actions is inferred from times: each waits for all that had ended when it began.
Assumed: a slot takes any action, oldest first; what isn't queueing takes as long as it did.
`)
	return out.Flush()
}

// signed writes a share as a change, with its sign.
func signed(share float64) string { return fmt.Sprintf("%+.1f%%", 100*share) }
