// Package analysis draws conclusions from the traces of builds: where the time of
// a build, of an action or of a fleet of workers went, what differs between two
// runs, and what more workers would have changed. The trees it reads are those of
// lifecycle; it looks at no clock and opens nothing.
//
//	actions := analysis.Actions(tree)
//	summary := analysis.Summarize(tree, actions, analysis.ByMnemonic, 10)
//	err := analysis.WriteSummary(os.Stdout, summary, analysis.ByMnemonic)
//
// # Stages
//
// Each moment of an action counts once, as one [Stage], even where the spans of
// its attempts overlap: the stages of an action add up to its duration, those of
// a critical path to the build's. Tables for people have fewer columns than there
// are stages, see [Column].
//
// # Work and waiting
//
// The duration of an action is what its client waited; worker time is what its
// attempts cost, lost ones included, even if two ran at a time. A slot is a place
// for one action on a worker. It is held from the offer of a lease to the arrival
// of its end.
//
// # What it can't know
//
// The protocol doesn't say which action needs which. The critical path takes one
// predecessor for each action, the last that had ended when it began; the [Model]
// of other numbers of workers takes all that had. docs/analysis.md has the
// consequences.
//
// What is unknown is absent, never 0: the trace of a worker that doesn't report
// the CPU time of commands has none.
package analysis
