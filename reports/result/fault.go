package result

import "fmt"

// TellFaults has the result tell what followed faults, at most MaxFaults of them.
func (r *Result) TellFaults(all []FaultEffect) {
	r.Faults = all
	if len(all) > MaxFaults {
		r.Faults = all[:MaxFaults:MaxFaults]
		r.Run.Notes = append(r.Run.Notes, fmt.Sprintf("what followed is told of the first %d faults of %d", MaxFaults, len(all)))
	}
}
