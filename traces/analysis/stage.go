package analysis

import (
	"cmp"
	"encoding/json"
	"math/bits"
	"slices"
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// A Stage is what an action was doing at some time. Those up to Publish are spans
// of its tree.
type Stage uint8

// The stages, in the order in which they follow each other.
const (
	CacheCheck Stage = iota
	Load
	Joined
	Queued
	Dispatch
	RunnerSpawn
	InputFetch
	Setup
	Execute
	Teardown
	OutputUpload
	RunnerExit
	Report
	Publish
	// OnWorker is time on a worker in none of the stages above: between them,
	// where the record has no spans for that, or the whole of an attempt that
	// ended without metadata.
	OnWorker
	// Unaccounted is the rest of the action.
	Unaccounted

	numStages = int(Unaccounted) + 1
)

var stageNames = [numStages]string{
	semconv.SpanCacheCheck, semconv.SpanLoad, semconv.SpanJoined, semconv.SpanQueued, semconv.SpanDispatch, semconv.SpanRunnerSpawn,
	semconv.SpanInputFetch, semconv.SpanSetup, semconv.SpanExecute, semconv.SpanTeardown, semconv.SpanOutputUpload,
	semconv.SpanRunnerExit, semconv.SpanReport, semconv.SpanPublish, "on worker", "unaccounted",
}

// String returns the name of the stage's spans, or words for the last two.
func (s Stage) String() string { return stageNames[s] }

// stageOf returns the stage a span is of. A worker's span is that of OnWorker.
func stageOf(s *lifecycle.Span) (Stage, bool) {
	if s.Name == semconv.SpanWorker {
		return OnWorker, true
	}
	i := slices.Index(stageNames[:OnWorker], s.Name)
	return Stage(max(i, 0)), i >= 0
}

// A Split is a time cut into stages.
type Split [numStages]time.Duration

// Total is the time that was cut.
func (s *Split) Total() time.Duration {
	var sum time.Duration
	for _, d := range s {
		sum += d
	}
	return sum
}

func (s *Split) add(t *Split) {
	for i, d := range t {
		s[i] += d
	}
}

// Other is the time that no span but the worker's own accounts for.
func (s *Split) Other() time.Duration { return s[OnWorker] + s[Unaccounted] }

// MarshalJSON writes the stages that took any time, but for Other: an object of
// seconds by the name of the span.
func (s Split) MarshalJSON() ([]byte, error) {
	byName := make(map[string]Seconds)
	for i, d := range s[:OnWorker] {
		if d != 0 {
			byName[stageNames[i]] = Seconds(d)
		}
	}
	return json.Marshal(byName)
}

// A Column is one or more stages in the tables for people: a terminal has no room
// for all of them.
type Column uint8

// The columns.
const (
	CacheColumn    Column = iota // cache_check, load
	QueuedColumn                 // queued
	DispatchColumn               // dispatch
	FetchColumn                  // input_fetch
	ExecuteColumn                // execute
	UploadColumn                 // output_upload
	ReportColumn                 // report, publish
	// RunnerColumn is the rest of the time on a worker: runner_spawn, setup,
	// teardown, runner_exit, and what has no span there.
	RunnerColumn
	// OtherColumn is what is left: the wait for another operation's work, and what
	// nothing accounts for.
	OtherColumn

	numColumns = int(OtherColumn) + 1
)

var columnNames = [numColumns]string{"cache", "queued", "dispatch", "fetch", "execute", "upload", "report", "runner", "other"}

// String returns the column's heading.
func (c Column) String() string { return columnNames[c] }

// columnOf has the column of each stage.
var columnOf = [numStages]Column{
	CacheCheck: CacheColumn, Load: CacheColumn, Joined: OtherColumn, Queued: QueuedColumn, Dispatch: DispatchColumn,
	RunnerSpawn: RunnerColumn, InputFetch: FetchColumn, Setup: RunnerColumn, Execute: ExecuteColumn, Teardown: RunnerColumn,
	OutputUpload: UploadColumn, RunnerExit: RunnerColumn, Report: ReportColumn, Publish: ReportColumn, OnWorker: RunnerColumn,
	Unaccounted: OtherColumn,
}

// columns returns the split by column.
func (s *Split) columns() (by [numColumns]time.Duration) {
	for i, d := range s {
		by[columnOf[i]] += d
	}
	return by
}

// A segment is a part of an action that one stage has to itself, as offsets from
// the action's start.
type segment struct {
	stage    Stage
	from, to time.Duration
}

// precedence says which stage a time counts as that several claim, the first
// first: work before waiting for it, and what is inside before what is around it.
var precedence = [...]Stage{
	Execute, InputFetch, OutputUpload, RunnerSpawn, Setup, Teardown, RunnerExit, OnWorker,
	Report, Publish, Dispatch, Queued, Joined, Load, CacheCheck,
}

var rankOf = func() (rank [numStages]uint8) {
	for i, s := range precedence {
		rank[s] = uint8(i)
	}
	return rank
}()

// An edge is where a claim to time begins or ends.
type edge struct {
	at    time.Duration
	claim uint8 // the lower, the stronger
	end   bool
}

// A splitter cuts actions into segments. It keeps its memory from one to the next.
type splitter struct {
	edges    []edge
	segments []segment
}

// split cuts an action, from its start to its end, so that each moment counts
// once, whatever its spans say. Where attempts overlap, one that was given up and
// brought the result after all goes before the others: that is what the action
// waited for. Adjoining segments are of different stages. They are valid until
// the next call.
func (sp *splitter) split(action *lifecycle.Node) []segment {
	sp.edges, sp.segments = sp.edges[:0], sp.segments[:0]
	length := length(action.Span)
	claim := func(s *lifecycle.Span, stage Stage, late bool) {
		from, to := max(s.Start.Sub(action.Span.Start), 0), min(s.End.Sub(action.Span.Start), length)
		if from >= to {
			return
		}
		strength := rankOf[stage]
		if !late {
			strength += uint8(numStages)
		}
		sp.edges = append(sp.edges, edge{from, strength, false}, edge{to, strength, true})
	}
	for _, c := range action.Children {
		stage, ok := stageOf(c.Span)
		if !ok {
			continue
		}
		late := stage == OnWorker && c.Span.IntAttr(semconv.AttrLate) != 0
		claim(c.Span, stage, late)
		if stage != OnWorker {
			continue
		}
		for _, below := range c.Children {
			if stage, ok := stageOf(below.Span); ok {
				claim(below.Span, stage, late)
			}
		}
	}
	slices.SortFunc(sp.edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })

	var open [2 * numStages]int // claims under way, by strength
	var any uint64              // the strengths that have one, as bits
	at, stage := time.Duration(0), Unaccounted
	for _, e := range sp.edges {
		sp.append(segment{stage, at, e.at})
		at = e.at
		if e.end {
			open[e.claim]--
		} else {
			open[e.claim]++
		}
		if any &^= 1 << e.claim; open[e.claim] > 0 {
			any |= 1 << e.claim
		}
		stage = Unaccounted
		if any != 0 {
			stage = precedence[bits.TrailingZeros64(any)%numStages]
		}
	}
	sp.append(segment{stage, at, length})
	return sp.segments
}

// append adds a segment, or lengthens the last if it is of the same stage.
func (sp *splitter) append(s segment) {
	if s.from >= s.to {
		return
	}
	if n := len(sp.segments); n > 0 && sp.segments[n-1].stage == s.stage {
		sp.segments[n-1].to = s.to
		return
	}
	sp.segments = append(sp.segments, s)
}

// end is the end of a span, or its start if it ends before it.
func end(s *lifecycle.Span) time.Time {
	if s.End.Before(s.Start) {
		return s.Start
	}
	return s.End
}

// length is the duration of a span, never negative.
func length(s *lifecycle.Span) time.Duration { return max(s.Duration(), 0) }
