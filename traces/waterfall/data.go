package waterfall

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

// data is what the page's scripts read. Spans are numbered in the order of the
// tree, parents before children; every column has one entry for each.
//
// JSON rather than base64 of binary columns: small numbers take two or three
// bytes either way, and a page can be looked into with a text editor.
type data struct {
	Trace string `json:"trace"`
	// Start is in nanoseconds since the Unix epoch, as text: JavaScript's numbers
	// hold 53 bits.
	Start    string  `json:"start"`
	Duration int64   `json:"duration"` // ns
	Summary  summary `json:"summary"`
	Stages   []stage `json:"stages"`
	// Critical are the actions of the critical path, in order.
	Critical []int `json:"critical"`

	// Strings are all texts: names, services and values of attributes.
	Strings []string `json:"strings"`
	// Keys are the keys of attributes.
	Keys []key `json:"keys"`
	// Sets are lists of attributes: key, value, key, value, by their places in
	// Keys and Strings. Spans with equal attributes share one.
	Sets [][]int `json:"sets"`

	Depth   []int `json:"depth"`   // in the tree; 0 for a root
	Name    []int `json:"name"`    // in Strings
	Service []int `json:"service"` // in Strings
	Set     []int `json:"set"`     // in Sets
	// From is the start of a span after its parent's, or after the trace's if it
	// has none, in ns; Took its duration, which is negative if it ends before it
	// starts.
	From []int64 `json:"from"`
	Took []int64 `json:"took"`
	// IDs are all span ids one after the other, 16 hex digits each.
	IDs string `json:"ids"`

	// Failed are the spans with an error, and the actions whose command exited
	// with another code than 0.
	Failed []int `json:"failed"`
	// Errors are the messages of spans that have one: span, place in Strings.
	Errors [][2]int `json:"errors"`
	Links  []link   `json:"links"`
	// Lost are the roots whose parent is not in the trace, or is below them.
	Lost []lost `json:"lost"`
}

// summary is the head of the page.
type summary struct {
	Invocation   string `json:"invocation"`
	Tool         string `json:"tool"`
	Spans        int    `json:"spans"`
	Actions      int    `json:"actions"`
	Cached       int    `json:"cached"`
	Deduplicated int    `json:"deduplicated"`
	Retried      int    `json:"retried"`
	Failed       int    `json:"failed"`
	// Time is what all actions together spent in each of the stages, in ns.
	Time []int64 `json:"time"`
}

// A key is the key of attributes of one type.
type key struct {
	Key    string `json:"key"`
	Number bool   `json:"number,omitempty"`
	Unit   string `json:"unit,omitempty"` // UCUM, if semconv declares it
}

// A link points from a span to another.
type link struct {
	Span  int    `json:"span"`
	To    string `json:"to"`              // span id
	Trace string `json:"trace,omitempty"` // if it is another one
	Kind  string `json:"kind"`
}

// lost is a root that names a parent.
type lost struct {
	Span   int    `json:"span"`
	Parent string `json:"parent"` // span id
	Cycle  bool   `json:"cycle,omitempty"`
}

// A stage is what the page has a colour for.
type stage struct {
	Name  string   `json:"name"`
	Help  string   `json:"help"`
	Spans []string `json:"spans"` // names of spans
}

// stages are the parts of an action's time, coarser than those of analysis. What
// no span accounts for is the last one's.
var stages = []stage{
	{"cache", "look-up in the action cache, reading the action", []string{semconv.SpanCacheCheck, semconv.SpanLoad}},
	{"queue", "waiting for a worker", []string{semconv.SpanQueued}},
	{"dispatch", "from the offer to a worker to the worker's start", []string{semconv.SpanDispatch}},
	{"fetch", "inputs are brought to the worker", []string{semconv.SpanInputFetch}},
	{"execute", "the command runs", []string{semconv.SpanExecute}},
	{"upload", "outputs are stored", []string{semconv.SpanOutputUpload}},
	{"report", "from the worker's end to the client", []string{semconv.SpanReport, semconv.SpanPublish}},
	{"runner", "the rest of the time on a worker: the runner's start and end, preparation", []string{
		semconv.SpanWorker, semconv.SpanRunnerSpawn, semconv.SpanSetup, semconv.SpanTeardown, semconv.SpanRunnerExit,
	}},
	{"joined", "waiting for the same action, asked for by another", []string{semconv.SpanJoined}},
	{"other", "nothing accounts for it", []string{}},
}

// stageOf has the place in stages of each stage of analysis.
var stageOf = func() (places [analysis.Unaccounted + 1]int) {
	of := map[string]int{analysis.OnWorker.String(): runnerStage, analysis.Unaccounted.String(): len(stages) - 1}
	for i := range stages {
		for _, name := range stages[i].Spans {
			of[name] = i
		}
	}
	for s := range places {
		place, ok := of[analysis.Stage(s).String()]
		if !ok {
			panic("the page has no stage for " + analysis.Stage(s).String())
		}
		places[s] = place
	}
	return places
}()

const runnerStage = 7

// units are the units of declared attributes.
var units = func() map[string]string {
	of := map[string]string{}
	for _, a := range semconv.Attributes() {
		of[a.Key] = a.Unit
	}
	return of
}()

// newData returns the data of a trace.
func newData(t *lifecycle.Tree) *data {
	d := &data{
		Trace: t.Trace.String(), Duration: int64(t.End.Sub(t.Start)), Stages: stages,
		Summary:  summary{Spans: t.Spans, Time: make([]int64, len(stages))},
		Critical: []int{}, Strings: []string{}, Keys: []key{}, Sets: [][]int{},
		Depth: []int{}, Name: []int{}, Service: []int{}, Set: []int{}, From: []int64{}, Took: []int64{},
		Failed: []int{}, Errors: [][2]int{}, Links: []link{}, Lost: []lost{},
	}
	if t.Spans == 0 {
		d.Start = "0"
		return d
	}
	d.Start = strconv.FormatInt(t.Start.UnixNano(), 10)
	e := encoder{data: d, strings: map[string]int{}, keys: map[key]int{}, sets: map[string]int{}, places: make(map[*lifecycle.Node]int)}
	for _, root := range t.Roots {
		e.tree(t, root)
	}
	d.IDs = e.ids.String()
	actions := analysis.Actions(t)
	for i := range actions {
		d.Summary.add(&actions[i])
	}
	path := analysis.CriticalPathOf(t, actions)
	for i := range path.Hops {
		d.Critical = append(d.Critical, e.places[path.Hops[i].Action])
	}
	return d
}

// An encoder fills the tables and columns of data.
type encoder struct {
	*data
	strings map[string]int
	keys    map[key]int
	sets    map[string]int
	// places are those of the actions.
	places map[*lifecycle.Node]int
	ids    strings.Builder
}

// tree adds a root and what is below it. It doesn't recurse: nobody bounds the
// depth of a trace.
func (e *encoder) tree(t *lifecycle.Tree, root *lifecycle.Node) {
	type entry struct {
		node   *lifecycle.Node
		depth  int
		parent int64 // its start, as the spans'
	}
	for open := []entry{{root, 0, t.Start.UnixNano()}}; len(open) > 0; {
		at := open[len(open)-1]
		open = open[:len(open)-1]
		e.span(at.node, at.depth, at.parent)
		start := at.node.Span.Start.UnixNano()
		for i := len(at.node.Children) - 1; i >= 0; i-- {
			open = append(open, entry{at.node.Children[i], at.depth + 1, start})
		}
	}
}

func (e *encoder) span(n *lifecycle.Node, depth int, parentStart int64) {
	s := n.Span
	place := len(e.Name)
	e.Depth = append(e.Depth, depth)
	e.Name = append(e.Name, e.text(s.Name))
	e.Service = append(e.Service, e.text(s.Service))
	e.Set = append(e.Set, e.set(s))
	e.From = append(e.From, s.Start.UnixNano()-parentStart)
	e.Took = append(e.Took, s.End.UnixNano()-s.Start.UnixNano())
	e.ids.WriteString(hex.EncodeToString(s.ID[:]))
	if n.Remote || n.Cycle {
		e.Lost = append(e.Lost, lost{place, s.Parent.String(), n.Cycle})
	}
	if failed(s) {
		e.Failed = append(e.Failed, place)
	}
	if s.Error != "" {
		e.Errors = append(e.Errors, [2]int{place, e.text(s.Error)})
	}
	for _, l := range s.Links {
		to := link{Span: place, To: l.To.Span.String(), Kind: l.Kind}
		if l.To.Trace != s.Trace {
			to.Trace = l.To.Trace.String()
		}
		e.Links = append(e.Links, to)
	}
	if e.Summary.Invocation == "" {
		e.Summary.Invocation = s.Attr(semconv.AttrInvocationID)
	}
	if e.Summary.Tool == "" {
		e.Summary.Tool = strings.TrimSpace(s.Attr(semconv.AttrToolName) + " " + s.Attr(semconv.AttrToolVersion))
	}
	if s.IsAction() {
		e.places[n] = place
	}
}

// failed reports whether a span failed. An action did also if its command says
// so: for the protocol such an action is a success.
func failed(s *lifecycle.Span) bool {
	return s.Failed || s.IsAction() && s.IntAttr(semconv.AttrExitCode) != 0
}

// add takes an action into the summary.
func (s *summary) add(a *analysis.Action) {
	span := a.Node.Span
	s.Actions++
	switch a.Result {
	case analysis.Hit:
		s.Cached++
	case analysis.Deduplicated:
		s.Deduplicated++
	}
	if span.IntAttr(semconv.AttrAttempt) > 1 {
		s.Retried++
	}
	if failed(span) {
		s.Failed++
	}
	for i, took := range a.Split {
		s.Time[stageOf[i]] += int64(took)
	}
}

// text returns the place of a text in Strings.
func (e *encoder) text(text string) int {
	place, ok := e.strings[text]
	if !ok {
		place = len(e.Strings)
		e.strings[text] = place
		e.Strings = append(e.Strings, text)
	}
	return place
}

// set returns the place of a span's attributes in Sets.
func (e *encoder) set(s *lifecycle.Span) int {
	set := []int{}
	var name []byte
	for _, a := range s.Attributes {
		of, value := key{a.Key, a.IsNumber, units[a.Key]}, a.Text
		if a.IsNumber {
			value = strconv.FormatInt(a.Number, 10)
		}
		place, ok := e.keys[of]
		if !ok {
			place = len(e.Keys)
			e.keys[of] = place
			e.Keys = append(e.Keys, of)
		}
		v := e.text(value)
		set = append(set, place, v)
		name = binary.AppendUvarint(binary.AppendUvarint(name, uint64(place)), uint64(v))
	}
	place, ok := e.sets[string(name)]
	if !ok {
		place = len(e.Sets)
		e.sets[string(name)] = place
		e.Sets = append(e.Sets, set)
	}
	return place
}
