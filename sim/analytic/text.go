package analytic

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"

	"github.com/weir-build/weir/reports/result"
)

// Write prints the forecast with what a run came to beside it.
func (f *Forecast) Write(w io.Writer, r *result.Result) error {
	slots := "slots"
	if f.Slots == 1 {
		slots = "slot"
	}
	fmt.Fprintf(w, "theory: %s, by %s: a load of %.4g on %d %s (ρ = %.3g)\n", f.Model, f.By, f.Load, f.Slots, slots, f.Load/float64(f.Slots))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "  \ttheory\t\tsimulated\toff by\n")
	for i := range f.Values {
		v := &f.Values[i]
		simulated, apart := "-", "-"
		if got, ok := v.Of(r); ok {
			switch simulated = v.text(got); {
			case v.Kind == UpperBound && v.Holds(got, 0):
				apart = "holds"
			case v.Is > 0:
				apart = fmt.Sprintf("%+.1f%%", 100*(got/v.Is-1))
			}
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\n", v.Name, v.text(v.Is), v.Kind, simulated, apart)
	}
	return table.Flush()
}

func (v *Value) text(x float64) string {
	if v.Share {
		return fmt.Sprintf("%.3g%%", 100*x)
	}
	return result.Round(time.Duration(math.Round(x * 1e9))).String()
}
