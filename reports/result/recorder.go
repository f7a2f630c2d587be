package result

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Bounds of what a result holds, whatever happens in a run.
const (
	// MaxKeys is how many keys of calls, and of actions, are told apart. A run with
	// all methods, six size classes and a dozen statuses has some hundreds. What comes
	// beyond is counted under the key "other".
	MaxKeys = 2000
	// MaxErrors is how many kinds of errors are told apart; beyond, they are "other".
	MaxErrors = 200
	// MaxSlow is how many of the slowest are kept of each kind.
	MaxSlow = 20
	// MaxBuilds is how many of the longest builds are kept.
	MaxBuilds = 100
	// MaxFaults is how many faults are told of, the first: the workers of a journal of weeks come
	// and go by thousands of them.
	MaxFaults = 200
	// maxIntervals is how long a timeline gets before its intervals are doubled.
	maxIntervals = 600
	// maxWidth is how long an interval gets: 600 of them are three centuries.
	maxWidth = 1 << 24 * time.Second
	// maxText bounds messages.
	maxText = 500
)

const other = "other"

// Call is an RPC that has ended. Times of day are the generator's.
type Call struct {
	CallKey
	Intended, Sent, End      time.Time
	Failed                   bool // the status isn't one that the caller counts on
	Blobs                    int
	BytesSent, BytesReceived int64
	Message                  string // of a failure
	TraceID                  string // empty unless it is recorded
}

// Action is an action that has ended.
type Action struct {
	ActionKey
	Name string // for people: its target
	// Named makes the name where there is none, if it is needed: of one in thousands.
	Named                             func() string
	Intended, Sent, End               time.Time
	Queue, Fetch, Run, Upload         time.Duration
	Worker, TraceID, Message, GRPCode string
}

// Recorder makes a Result of what it is told. Zero is not ready: NewRecorder.
type Recorder struct {
	result   Result
	calls    map[CallKey]*Calls
	actions  map[ActionKey]*actionSeries
	errors   map[errorKey]*Error
	slow     map[string]*slowest
	streams  map[string]*StreamBuilds
	broken   map[string]*Violation
	timeline timeline
	skip     time.Time // what was intended before isn't recorded
}

type errorKey struct{ method, status, reason, message string }

// NewRecorder returns a recorder of a run.
func NewRecorder(run Run) *Recorder {
	return &Recorder{
		result:   Result{Schema: Schema, Run: run},
		calls:    make(map[CallKey]*Calls),
		actions:  make(map[ActionKey]*actionSeries),
		errors:   make(map[errorKey]*Error),
		slow:     make(map[string]*slowest),
		streams:  make(map[string]*StreamBuilds),
		broken:   make(map[string]*Violation),
		timeline: timeline{width: time.Second},
	}
}

// bounded returns the entry of a key, and the key it is under: the rest's, if there are
// MaxKeys already.
func bounded[K comparable, V any](m map[K]*V, key, rest K) (*V, K) {
	if v := m[key]; v != nil {
		return v, key
	}
	if len(m) >= MaxKeys {
		key = rest
	}
	return entry(m, key), key
}

// Call adds an RPC.
func (r *Recorder) Call(c *Call) {
	s, key := bounded(r.calls, c.CallKey, CallKey{Method: other, Status: c.Status, Phase: c.Phase})
	s.CallKey = key
	response, service := c.End.Sub(c.Intended), c.End.Sub(c.Sent)
	s.Count++
	s.Blobs += int64(c.Blobs)
	s.BytesSent += c.BytesSent
	s.BytesReceived += c.BytesReceived
	s.Response.Record(response)
	s.Service.Record(service)
	s.Delay.Record(c.Sent.Sub(c.Intended))
	if c.Failed {
		s.Failed++
		r.failed(c.Method, c.Status, c.Message, c.TraceID, c.End)
	}
	if c.Phase != "" {
		return
	}
	r.timeline.call(c, response)
	r.consider(c.Method, response, func() Slow {
		return Slow{Kind: c.Method, Status: c.Status, Start: c.Sent, Response: response, Service: service, TraceID: c.TraceID}
	})
}

// Action adds an action.
func (r *Recorder) Action(a *Action) {
	if a.Intended.Before(r.skip) {
		return
	}
	s, key := bounded(r.actions, a.ActionKey, ActionKey{Class: other, Outcome: a.Outcome, Phase: a.Phase, Stream: other, Platform: other})
	s.ActionKey = key
	delay := a.Sent.Sub(a.Intended)
	response := a.End.Sub(a.Intended)
	service := response - delay
	s.Count++
	responded := binOf(response)
	s.Response.record(responded)
	if delay == 0 {
		s.Service.record(responded)
	} else {
		s.Service.Record(service)
	}
	s.Delay.Record(delay)
	if a.Outcome == Executed || a.Outcome == ActionFailed {
		s.Queue.Record(a.Queue)
		s.Fetch.Record(a.Fetch)
		s.Run.Record(a.Run)
		s.Upload.Record(a.Upload)
		s.Overhead.Record(a.overhead(service))
	}
	if a.Outcome == ActionError {
		r.failed("action "+a.Class, a.GRPCode, a.Message, a.TraceID, a.End)
	}
	if a.Phase != "" {
		return
	}
	r.timeline.action(a, responded, delay, service)
	if s.slow == nil {
		s.slow = r.slowOf("action " + a.Class)
	}
	s.slow.add(response, func() Slow {
		name := a.Name
		if name == "" && a.Named != nil {
			name = a.Named()
		}
		return Slow{
			Kind: "action " + a.Class, Name: name, Status: a.Outcome, Start: a.Sent, Response: response, Service: service,
			Queue: a.Queue, Run: a.Run, Worker: a.Worker, TraceID: a.TraceID,
		}
	})
}

// actionSeries is the actions of a key, and where the slowest of their class are.
type actionSeries struct {
	Actions
	slow *slowest
}

func (a *Action) overhead(service time.Duration) time.Duration {
	return max(0, service-a.Queue-a.Fetch-a.Run-a.Upload)
}

// Build adds a build that has ended.
func (r *Recorder) Build(b Build) {
	if b.Start.Before(r.skip) {
		return
	}
	all := &r.result.Builds
	all.add(&b)
	if b.Stream != "" {
		s, name := bounded(r.streams, b.Stream, other)
		s.Stream = name
		s.add(&b)
	}
	all.keep(b)
}

func (c *BuildCounts) add(b *Build) {
	c.Count++
	switch {
	case b.Cancelled:
		c.Cancelled++
		return
	case b.Err != "" || b.FailedCount > 0:
		c.Failed++
	}
	c.Makespan.Record(b.Makespan)
	if b.Ideal > 0 {
		c.Slowdown.Record(time.Duration(float64(b.Makespan) / float64(b.Ideal) * 1000))
	}
}

// Keeps tells whether a build that took so long would be among the longest that are kept:
// what tells others apart needn't be made.
func (r *Recorder) Keeps(makespan time.Duration) bool {
	longest := r.result.Builds.Longest
	return len(longest) < MaxBuilds || makespan >= longest[MaxBuilds-1].Makespan
}

// keep adds a build to the longest.
func (b *Builds) keep(build Build) {
	if len(b.Longest) == MaxBuilds && build.Makespan < b.Longest[MaxBuilds-1].Makespan {
		return
	}
	i, _ := slices.BinarySearchFunc(b.Longest, build, compareBuilds)
	b.Longest = slices.Insert(b.Longest, i, build)
	b.Longest = b.Longest[:min(len(b.Longest), MaxBuilds)]
}

// compareBuilds sorts the longest first; of equal ones, by what tells them apart.
func compareBuilds(a, b Build) int {
	return cmp.Or(cmp.Compare(b.Makespan, a.Makespan), a.Start.Compare(b.Start), cmp.Compare(a.ID, b.ID))
}

// Dropped counts a build or call that was due but not begun, since the bound on how
// many may be in flight was met.
func (r *Recorder) Dropped(at time.Time) {
	if at.Before(r.skip) {
		return
	}
	r.result.Builds.Dropped++
	r.timeline.at(at).Dropped++
}

// InFlight says how many operations are under way from now on.
func (r *Recorder) InFlight(at time.Time, n int64) {
	if at.Before(r.skip) {
		r.timeline.inFlight = n
		return
	}
	interval := r.timeline.at(at)
	r.timeline.inFlight = n
	interval.InFlight = max(interval.InFlight, n)
}

// Violation counts something no correct server does.
func (r *Recorder) Violation(kind, example string) {
	v := r.broken[kind]
	if v == nil {
		v = &Violation{Kind: kind, Example: cut(example)}
		r.broken[kind] = v
	}
	v.Count++
}

// Note adds a sentence for the reader.
func (r *Recorder) Note(text string) {
	if !slices.Contains(r.result.Run.Notes, text) {
		r.result.Run.Notes = append(r.result.Run.Notes, text)
	}
}

// SetServer says what the target told of itself.
func (r *Recorder) SetServer(facts map[string]string) { r.result.Run.Server = facts }

// SetGenerator says how the generator was.
func (r *Recorder) SetGenerator(g Generator) { r.result.Generator = g }

// Begin says when the measured part begins.
func (r *Recorder) Begin(at time.Time) { r.result.Run.Start = at.UTC() }

// Skip has the measured part begin at a moment, and leaves out the actions and builds that
// were intended before: the warm-up of a simulation, in which its cluster fills.
func (r *Recorder) Skip(before time.Time) {
	r.skip = before
	r.Begin(before)
}

func (r *Recorder) failed(method, status, message, trace string, at time.Time) {
	reason, normal := Reason(status, message), normalise(message)
	key := errorKey{method, status, reason, normal}
	e := r.errors[key]
	if e == nil {
		if len(r.errors) >= MaxErrors {
			key = errorKey{method: other, status: other, reason: other}
		}
		if e = r.errors[key]; e == nil {
			e = &Error{
				Method: key.method, Status: key.status, Reason: key.reason, Message: key.message,
				First: at.UTC(), Example: cut(message), TraceID: trace,
			}
			r.errors[key] = e
		}
	}
	e.Count++
	e.Last = at.UTC()
}

func (r *Recorder) consider(kind string, response time.Duration, describe func() Slow) {
	r.slowOf(kind).add(response, describe)
}

// slowOf is where the slowest of a kind are; of kinds beyond MaxKeys nobody looks at it.
func (r *Recorder) slowOf(kind string) *slowest {
	s := r.slow[kind]
	if s == nil {
		s = new(slowest)
		if len(r.slow) < MaxKeys {
			r.slow[kind] = s
		}
	}
	return s
}

// slowest are the MaxSlow with the longest response, the longest first.
type slowest []Slow

func (s *slowest) add(response time.Duration, describe func() Slow) {
	if len(*s) == MaxSlow && response <= (*s)[MaxSlow-1].Response {
		return
	}
	one := describe()
	one.Start = one.Start.UTC()
	i, _ := slices.BinarySearchFunc(*s, one, compareSlow)
	*s = slices.Insert(*s, i, one)
	*s = (*s)[:min(len(*s), MaxSlow)]
}

func compareSlow(a, b Slow) int {
	return cmp.Or(cmp.Compare(b.Response, a.Response), a.Start.Compare(b.Start), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}

// Result returns what there is so far. It shares nothing with the recorder but the
// sketches: the recorder must be told nothing more while it is read.
func (r *Recorder) Result(end time.Time) *Result {
	out := r.result
	out.Run.End = end.UTC()
	out.Builds.Longest = slices.Clone(out.Builds.Longest)
	for _, s := range r.streams {
		out.Builds.Streams = append(out.Builds.Streams, *s)
	}
	for _, c := range r.calls {
		out.Calls = append(out.Calls, *c)
	}
	for _, a := range r.actions {
		out.Actions = append(out.Actions, a.Actions)
	}
	for _, e := range r.errors {
		out.Errors = append(out.Errors, *e)
	}
	for _, s := range r.slow {
		out.Slowest = append(out.Slowest, *s...)
	}
	for _, v := range r.broken {
		out.Integrity = append(out.Integrity, *v)
	}
	out.Timeline = Timeline{Width: r.timeline.width, Intervals: slices.Clone(r.timeline.intervals)}
	out.sort()
	out.judgeGenerator()
	return &out
}

// sort puts everything into an order that doesn't depend on that of arrival. Lists of
// nothing are lists, in JSON too.
func (r *Result) sort() {
	r.Calls, r.Actions, r.Errors = orEmpty(r.Calls), orEmpty(r.Actions), orEmpty(r.Errors)
	r.Slowest, r.Integrity, r.Timeline.Intervals = orEmpty(r.Slowest), orEmpty(r.Integrity), orEmpty(r.Timeline.Intervals)
	slices.SortFunc(r.Calls, func(a, b Calls) int {
		return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Status, b.Status),
			cmp.Compare(a.SizeClass, b.SizeClass), cmp.Compare(a.Cache, b.Cache))
	})
	sortActions(r.Actions)
	slices.SortFunc(r.Builds.Streams, func(a, b StreamBuilds) int { return cmp.Compare(a.Stream, b.Stream) })
	slices.SortFunc(r.Errors, func(a, b Error) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Message, b.Message))
	})
	slices.SortFunc(r.Slowest, compareSlow)
	slices.SortFunc(r.Integrity, func(a, b Violation) int { return cmp.Compare(a.Kind, b.Kind) })
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// judgeGenerator fills in what the calls and actions say of the generator.
func (r *Result) judgeGenerator() {
	var delays Sketch
	for i := range r.Calls {
		if r.Calls[i].Phase == "" {
			delays.Merge(&r.Calls[i].Delay)
		}
	}
	r.Generator.DelayP99, r.Generator.DelayMax = delays.Quantile(0.99), delays.Max()
}

// SizeClass is the decade of a payload, as CallKey.SizeClass has it.
func SizeClass(bytes int64) string {
	switch {
	case bytes < 1000:
		return "<1k"
	case bytes < 10_000:
		return "1k-10k"
	case bytes < 100_000:
		return "10k-100k"
	case bytes < 1_000_000:
		return "100k-1M"
	case bytes < 10_000_000:
		return "1M-10M"
	}
	return ">=10M"
}

// Reason puts a failure into a class that says who should look at it.
func Reason(status, message string) string {
	switch status {
	case "UNAVAILABLE":
		return "transport"
	case "DEADLINE_EXCEEDED":
		return "deadline"
	case "RESOURCE_EXHAUSTED":
		return "exhausted"
	case "NOT_FOUND", "FAILED_PRECONDITION":
		return "missing"
	case "UNAUTHENTICATED", "PERMISSION_DENIED":
		return "refused"
	case "DATA_LOSS":
		return "corrupt"
	case "UNIMPLEMENTED", "INVALID_ARGUMENT", "OUT_OF_RANGE":
		return "protocol"
	case "CANCELLED":
		return "cancelled"
	}
	if strings.Contains(message, "RST_STREAM") || strings.Contains(message, "connection") {
		return "transport"
	}
	return other
}

// normalise takes out of a message what differs between failures of a kind: words
// with three or more digits, such as digests, sizes, ids and addresses.
func normalise(message string) string {
	words := strings.Fields(cut(message))
	for i, word := range words {
		digits := 0
		for _, c := range word {
			if c >= '0' && c <= '9' {
				digits++
			}
		}
		if digits >= 3 {
			words[i] = "…"
		}
	}
	return strings.Join(words, " ")
}

func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}
