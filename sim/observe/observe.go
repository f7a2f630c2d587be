// Package observe writes down what happens in a simulation, in the forms in which a live
// run's record is read: the spans of builds (OTLP), series of metrics (OpenMetrics), and
// what each slot of each worker did (Chrome's trace events, for ui.perfetto.dev).
//
//	spans := observe.NewSpans(file, observe.SpanConfig{Scenario: s, Base: base, Run: "r1"})
//	outcome, err := model.Run(model.Config{Scenario: s, Observers: []model.Observer{spans}, Explain: true})
//	err = spans.Close()
//
// Observers are told between events and change nothing of a run. What they write is a
// function of the run: equal runs leave equal files. They hold what is under way, and
// samples of a bounded number; the rest is written as it comes. Errors of writing are told
// by Close. None is safe for concurrent use.
package observe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

// deaf is an observer to which nothing matters: others are deaf to what they leave out.
type deaf struct{}

func (deaf) Action(*model.Action)        {}
func (deaf) Attempt(*model.Attempt)      {}
func (deaf) Build(*model.Build)          {}
func (deaf) Dropped(des.Time)            {}
func (deaf) Level(des.Time, model.Level) {}

// WorkerName is how a worker is called, by its number among all that ever were.
func WorkerName(number int) string { return fmt.Sprintf("worker-%d", number) }

// platformText is a platform as production's metrics and spans have it.
func platformText(properties map[string]string) string {
	words := make([]string, 0, len(properties))
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		words = append(words, key+"="+properties[key])
	}
	return strings.Join(words, ",")
}

// className names an action's class.
func className(s *scenario.Scenario, stream, class int) string {
	return s.Demand[stream].Classes[class].Name
}

// isAsker tells whether the work was done for this action, and not for one before it.
func isAsker(a *model.Action) bool {
	return a.Asker == model.Asker{Stream: a.Stream, Build: a.Build, Index: a.Index}
}
