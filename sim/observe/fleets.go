package observe

import (
	"slices"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// Fleets keeps how workers were used, to the end of the run. Zero is ready.
type Fleets struct {
	deaf
	All []model.FleetLevel // in the scenario's order
}

// Sample is of model.Sampler.
func (f *Fleets) Sample(_ des.Time, s *model.Sample) des.Time {
	f.All = slices.Clone(s.Fleets)
	return des.End
}
