package experiment

import (
	"errors"

	"github.com/weir-build/weir/reports/stats"
)

// OneRun returns how well one run knows the mean of a series in its steady state, by the means
// of batches of it, and how many values of its beginning are left out. More runs know it better
// for the same work, since each batch tells less than a run that has its own seed, but one is
// what there is. It fails if the run is too short to tell. Whether there is a steady state is
// for SteadyState to say.
func OneRun(series []float64) (mean Interval, cut int, err error) {
	w := stats.MSER5(series)
	if w.TooShort {
		return mean, 0, errors.New("it is too short to see where its warm-up ends")
	}
	b := stats.BatchMeans(series[w.Cut:], spans, Confidence)
	if b.Correlated {
		return mean, 0, errors.New("it is too short: parts of it still hang together")
	}
	return b.Interval, w.Cut, nil
}
