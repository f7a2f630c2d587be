package telemetry

import "github.com/weir-build/weir/traces/tracecontext"

// Samples is what each role asks.
func Samples(s Sampling, id tracecontext.TraceID) bool { return s.samples(id) }

// Limits of a Sampler.
const (
	MaxHeldOfBuild = maxHeldOfBuild
	LastChunk      = lastChunk
	MaxUndecided   = maxUndecided
	HeldSilence    = heldSilence
)
