package analysis

import "github.com/weir-build/weir/traces/semconv"

// A PathJSON is a critical path, with what other numbers of slots would have come
// to, in JSON. Durations are seconds.
type PathJSON struct {
	Trace      string    `json:"trace"`
	Seconds    Seconds   `json:"seconds"`
	QueueShare float64   `json:"queue_share"` // of the build, from 0 to 1
	Hops       []HopJSON `json:"hops"`
	Tail       Seconds   `json:"tail_seconds"` // after the last hop
	// Inferred is always true: which action waited for which follows from times.
	Inferred bool `json:"inferred"`
	// WhatIf is null if no action was on a worker.
	WhatIf *WhatIf `json:"what_if"`
}

// A HopJSON is one action of the path.
type HopJSON struct {
	Action string  `json:"action"` // the id of its span
	Digest string  `json:"digest"`
	Gap    Seconds `json:"gap_seconds"` // before it, since the last hop's end
	Stages Split   `json:"stage_seconds"`
	Other  Seconds `json:"other_seconds"` // in no stage
}

// JSONPath returns the two as JSON has them.
func JSONPath(p Path, x *WhatIf) PathJSON {
	j := PathJSON{
		Trace: p.Trace.String(), Seconds: Seconds(p.Total()), QueueShare: p.QueueShare(),
		Hops: make([]HopJSON, len(p.Hops)), Tail: Seconds(p.Tail), Inferred: true, WhatIf: x,
	}
	for i := range p.Hops {
		h := &p.Hops[i]
		j.Hops[i] = HopJSON{h.Action.Span.ID.String(), h.Action.Span.Attr(semconv.AttrActionDigest), Seconds(h.Gap), h.Split, Seconds(h.Split.Other())}
	}
	return j
}
