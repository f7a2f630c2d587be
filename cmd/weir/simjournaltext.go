package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/tape"
	"github.com/weir-build/weir/system/queue"
)

func fleetText(c *scenario.Cluster, changes int) string {
	var words []string
	for _, w := range c.Workers {
		words = append(words, fmt.Sprintf("%d×%d slots", w.Count, w.Slots))
	}
	text := strings.Join(words, " + ")
	if changes > 0 {
		text += fmt.Sprintf(", changed %d times", changes)
	}
	return text
}

// notes are what one has to know to read the numbers.
func (r *replay) notes(of *tape.Tape, j *journalFlags) []string {
	c := &of.Counts
	notes := []string{"a journal has no actions whose result was in the cache: the builds are what of them was executed"}
	add := func(is bool, format string, args ...any) {
		if is {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	for _, t := range r.Journal.Torn {
		notes = append(notes, t.String())
	}
	add(of.Core != queue.Version, "it was written by core %d of the scheduler, and is simulated by core %d", of.Core, queue.Version)
	if j.arrivals == string(tape.Open) {
		waited := 0
		for _, d := range r.recorded.Queue {
			if d > 0 {
				waited++
			}
		}
		add(true, "open arrivals: actions come when they came, which is right only if those before didn't wait for workers; of %d, %d did", c.Actions-c.Merged, waited)
	} else {
		notes = append(notes, "what actions waited for is inferred from times, and a build has as many under way as it had at most")
	}
	add(c.Merged > 0, "%d actions were merged with others: they ask, and are executed if they come first", c.Merged)
	add(c.Stopped+c.Running > 0, "%d actions were stopped while they ran, %d ran when the journal ended: they take as long as they had, which is too short", c.Stopped, c.Running)
	add(c.TimedOut > 0, "%d ran into their timeout, and do again", c.TimedOut)
	add(c.StoppedWaiting+c.Waiting+c.GivenUp > 0, "left out, since no worker ever had them: %d that were stopped while they waited, %d that waited when the journal ended, %d that the scheduler gave up",
		c.StoppedWaiting, c.Waiting, c.GivenUp)
	add(c.Lost > 0, "%d attempts were lost, with %v of work: that is not part of how long their actions take", c.Lost, result.Round(c.LostTime))
	add(c.Before > 0, "%d actions joined tasks of which the journal doesn't tell", c.Before)
	add(c.Alone > 0, "%d actions are of no invocation: each is a build of its own", c.Alone)
	add(of.Fleet.Changes > 0 && j.fleet == fleetPeak, "workers came or went %d times: the most that were there at once are simulated; --fleet recorded has them come and go", of.Fleet.Changes)
	return notes
}

func (r *replay) print(out io.Writer) error {
	last, was := r.Own, fmt.Sprintf("recorded were %s and %s", r.Errors.Queue.Recorded.mean(), r.Errors.Queue.Recorded.p95())
	if r.Changed != nil {
		last, was = r.Changed, fmt.Sprintf("under %s on %s, as it was: %s and %s", r.Own.Policy, r.Own.Fleet, r.Own.Queue.mean(), r.Own.Queue.p95())
	}
	fmt.Fprintf(out, "under %s on %s, actions wait %s on average and %s at p95; %s\n", last.Policy, last.Fleet, last.Queue.mean(), last.Queue.p95(), was)
	if r.Change != nil {
		fmt.Fprintf(out, "the same actions wait %s\n", r.Change.Queue.text())
		fmt.Fprintf(out, "the same builds take %s\n", r.Change.Makespan.text())
	}
	fmt.Fprintln(out)
	w := newGrid(out)
	errorHead(w, r.Changed != nil)
	var queued, took *spreadJSON
	if r.Changed != nil {
		queued, took = &r.Changed.Queue, &r.Changed.Makespan
	}
	errorRows(w, "queue", &r.Errors.Queue, queued)
	errorRows(w, "makespan", &r.Errors.Makespan, took)
	if err := w.Flush(); err != nil {
		return err
	}
	c := &r.Journal.Counts
	fmt.Fprintf(out, "\n%s: %d actions of %d builds, %d executions, from %s; %s on %s\n", r.Journal.Path, c.Actions, c.Builds, c.Executed,
		r.Journal.From.Format(time.RFC3339), r.Journal.Policy, r.Journal.Fleet)
	for _, note := range r.Notes {
		fmt.Fprintf(out, "· %s\n", note)
	}
	took1 := r.Own.Seconds
	if r.Changed != nil {
		took1 += r.Changed.Seconds
	}
	_, err := fmt.Fprintf(out, "%s: %d records read in %s, simulated in %s, slots %.1f%% busy, fingerprint %s\n", r.Folder, c.Records,
		secondsText(r.Journal.ReadSeconds), secondsText(took1), last.Busy*100, last.Fingerprint)
	return err
}

// text says how much longer, or less long.
func (p *pairedJSON) text() string {
	if p.Builds == 0 {
		return "as before: none can be compared"
	}
	word := "longer"
	if p.Mean < 0 {
		word = "less"
	}
	text := fmt.Sprintf("%s %s", secondsText(math.Abs(p.Mean)), word)
	if p.Half > 0 {
		text += fmt.Sprintf(" ± %s (95%%, over builds, paired)", secondsText(p.Half))
	}
	return text + fmt.Sprintf("; %d builds less, %d longer, of %d", p.Less, p.More, p.Builds)
}
