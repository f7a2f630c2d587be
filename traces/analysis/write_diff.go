package analysis

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
)

// WriteDiff prints a comparison for people.
func WriteDiff(w io.Writer, d Diff) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "A: %s\nB: %s\n\n", d.A.text(), d.B.text())
	fmt.Fprintf(out, "%10s %9s %9s %9s\n", "", "A", "B", "change")
	row := func(name string, a, b Seconds) {
		fmt.Fprintf(out, "%10s %9s %9s %9s %8s\n", name, a, b, plusMinus(b-a), relative(a, b))
	}
	row("duration", d.A.Seconds, d.B.Seconds)
	row("on workers", d.A.Worker, d.B.Worker)
	for _, s := range d.Stages {
		row(s.Name, s.A, s.B)
	}

	fmt.Fprintf(out, "\n%10s %9s %9s %8s %13s  mnemonic\n", "workers A", "workers B", "change", "", "actions")
	for _, k := range d.Mnemonics {
		fmt.Fprintf(out, "%10s %9s %9s %8s %13s  %s\n", k.WorkerA, k.WorkerB, plusMinus(k.WorkerB-k.WorkerA), relative(k.WorkerA, k.WorkerB),
			fmt.Sprintf("%d → %d", k.ActionsA, k.ActionsB), clip(cmp.Or(k.Name, "(none)"), nameWidth))
	}

	fmt.Fprintf(out, "\nfound in both: %d the same by digest, %d by target and mnemonic only\n", d.ByDigest, d.ByName)
	writePairs(out, "slower", d.Slower)
	writePairs(out, "faster", d.Faster)
	writePairs(out, "newly cached", d.NewlyCached)
	writePairs(out, "no longer cached", d.NoLongerCached)
	writePairs(out, "with another result", d.OtherResult)
	writeOnes(out, "only in A", d.OnlyA)
	writeOnes(out, "only in B", d.OnlyB)
	fmt.Fprintln(out, "\nThese are two single runs: what differs by chance differs here too. No verdict follows from it.")
	return out.Flush()
}

func (s *DiffSide) text() string {
	builds := "1 build"
	if s.Builds != 1 {
		builds = fmt.Sprintf("%d builds", s.Builds)
	}
	sum := Summary{Actions: s.Actions, Results: s.Results}
	text := fmt.Sprintf("%s, %s, no actions", s.Name, builds)
	if s.Actions > 0 {
		text = fmt.Sprintf("%s, %s, actions %s", s.Name, builds, sum.counts())
	}
	return text
}

func writePairs(w io.Writer, what string, p Pairs) {
	if p.Count == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s: %d, %s together\n", what, p.Count, plusMinus(p.Total))
	for _, x := range p.Top {
		why := ""
		if x.Stage != "" {
			why = fmt.Sprintf("%s %s", x.Stage, plusMinus(x.StageChange))
		}
		fmt.Fprintf(w, "%10s %9s %9s  %-18s  %s\n", x.TimeA, x.TimeB, plusMinus(x.Change), why, clip(x.Name, nameWidth))
	}
	writeMore(w, p.Count-len(p.Top))
}

func writeOnes(w io.Writer, what string, o Ones) {
	if o.Count == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s: %d, %s together\n", what, o.Count, o.Total)
	for _, x := range o.Top {
		fmt.Fprintf(w, "%10s  %s, %s\n", x.Seconds, clip(x.Name, nameWidth), x.Result)
	}
	writeMore(w, o.Count-len(o.Top))
}

func writeMore(w io.Writer, n int) {
	if n > 0 {
		fmt.Fprintf(w, "%10s  and %d more\n", "", n)
	}
}

// plusMinus writes a difference with its sign.
func plusMinus(d Seconds) string {
	if d > 0 {
		return "+" + d.String()
	}
	return d.String()
}

func relative(a, b Seconds) string {
	if a <= 0 {
		return "-"
	}
	return signed(share(b-a, a))
}
