package foreign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// bazelProfile is the JSON trace profile that a Bazel writes of each build: one
// object with otherData, which says what build it is, and traceEvents, which are
// those of Chrome's "Trace Event Format". An event has a category (in Bazel's tree
// src/main/java/…/profiler/ProfilerTask.java names them), and is written when it
// is over, so that what happened within an action stands before it, with the same
// thread's number.
//
// An action here is Bazel's: it lasts until its outputs have been fetched. The
// stages on the worker are told by later versions than 4.2.3, to the millisecond
// (RemoteSpawnRunner.profileAccounting).
func bazelProfile() Format {
	return Format{
		Name:  "bazel-profile",
		Help:  "the trace profile of a Bazel: --profile=FILE, with --experimental_profile_include_target_label --noslim_profile",
		Sniff: beginsLikeProfile,
		Read:  readProfile,
	}
}

const (
	// maxEventBytes bounds one event, and what stands beside traceEvents. Events
	// have a name and some arguments, which are paths and labels.
	maxEventBytes = 1 << 20
	// maxThreads bounds the threads with an action under way. Bazel has some
	// hundreds; threads that never end an action count too.
	maxThreads = 100_000
	// executeMethod is what "execute remotely" is a call of.
	executeMethod = "build.bazel.remote.execution.v2.Execution/Execute"
)

// The categories and names of events that are read.
const (
	profileAction   = "action processing"
	profileCheck    = "remote action cache check"
	profileRemote   = "remote action execution" // with the name:
	executeRemotely = "execute remotely"
	profileDownload = "remote output download" // with the name:
	downloadOutputs = "download outputs"

	// What metadata told. Setup is before, between and behind the others; the part
	// with this name begins with the worker.
	profileQueue   = "Remote execution queuing time"
	profileSetup   = "Remote execution setup"
	beforeFetch    = "pre-fetch"
	profileFetch   = "Remote execution file fetching"
	profileProcess = "Remote execution process wall time"
	profileUpload  = "Remote execution upload time"
	// uploadInputs is the client's own upload, which has the same category.
	uploadInputs = "upload missing inputs"
)

func beginsLikeProfile(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	return len(head) > 0 && head[0] == '{' && (bytes.Contains(head, []byte(`"traceEvents"`)) || bytes.Contains(head, []byte(`"otherData"`)))
}

// profile is a profile being read.
type profile struct {
	tally
	builds
	in     *json.Decoder
	bytes  *allowance
	of     *invocation
	start  time.Time // the time of ts 0
	spawns map[int64]*spawn
	number uint64 // of actions so far
}

// A spawn is what is known of the action that a thread is at.
type spawn struct {
	check, call, download                interval
	queue, setup, fetch, process, upload interval
}

// An interval is a build.Interval that may not have happened.
type interval = build.Interval

func readProfile(r io.Reader, emit func([]build.Span) error) (Report, error) {
	p := &profile{tally: tally{emit: emit}, bytes: &allowance{in: r, left: maxEventBytes}, spawns: make(map[int64]*spawn)}
	p.in = json.NewDecoder(p.bytes)
	p.at = Place{Entry: 1}
	err := p.object()
	for _, s := range p.spawns {
		p.leave("remote events outside of an action", s.events())
	}
	return p.Report, p.finish(&p.tally, err)
}

// An allowance passes so many bytes on, and then fails until it is renewed: a
// decoder of JSON would hold an endless value in memory.
type allowance struct {
	in   io.Reader
	left int
}

func (a *allowance) Read(b []byte) (int, error) {
	if a.left <= 0 {
		return 0, fmt.Errorf("%w: the limit is %d bytes", ErrTooLarge, maxEventBytes)
	}
	n, err := a.in.Read(b[:min(len(b), a.left)])
	a.left -= n
	return n, err
}

// token reads a token, and value a value, with a new allowance.
func (p *profile) token() (json.Token, error) {
	p.bytes.left = maxEventBytes
	token, err := p.in.Token()
	if err != nil {
		return nil, p.failed(err)
	}
	return token, nil
}

// value returns whether the value is of the kind that is wanted.
func (p *profile) value(into any) (bool, error) {
	p.bytes.left = maxEventBytes
	err := p.in.Decode(into)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return false, nil
	}
	if err != nil {
		return false, p.failed(err)
	}
	return true, nil
}

// object reads the whole file.
func (p *profile) object() error {
	if token, err := p.token(); err != nil {
		return err
	} else if token != json.Delim('{') {
		return p.failed(fmt.Errorf("it begins with %v, want an object", token))
	}
	for p.in.More() {
		key, err := p.token()
		if err != nil {
			return err
		}
		switch key {
		case "otherData":
			err = p.otherData()
		case "traceEvents":
			err = p.events()
		default:
			_, err = p.value(new(json.RawMessage))
		}
		if err != nil {
			return err
		}
	}
	if _, err := p.token(); err != nil { // the object's end
		return err
	}
	p.at.Offset = p.in.InputOffset()
	p.bytes.left = maxEventBytes
	switch _, err := p.in.Token(); {
	case err == io.EOF && p.of == nil:
		return p.failed(errors.New("it has no traceEvents"))
	case err == io.EOF:
		return nil
	case err != nil:
		return p.failed(err)
	}
	return p.failed(errors.New("something follows the profile"))
}

// otherData reads what build it is.
func (p *profile) otherData() error {
	var told struct {
		BuildID string          `json:"build_id"`
		Version string          `json:"bazel_version"`
		Date    string          `json:"date"`
		Start   json.RawMessage `json:"profile_start_ts"` // milliseconds, in later versions
	}
	switch ok, err := p.value(&told); {
	case err != nil:
		return err
	case !ok:
		return p.failed(errors.New("otherData is not as expected"))
	case told.BuildID == "":
		return p.failed(errors.New("otherData has no build_id, which names the build"))
	case p.of != nil:
		return p.failed(errors.New("a second otherData"))
	}
	var err error
	if p.start, err = time.Parse(time.RFC3339Nano, told.Date); err != nil {
		if at, e := strconv.ParseInt(string(told.Start), 10, 64); e == nil {
			p.start = time.UnixMilli(at)
		} else if p.start, err = p.date(told.Date); err != nil {
			return err
		}
	}
	if !usable(p.start) {
		return p.failed(fmt.Errorf("the build began at %v, which no span can tell", p.start))
	}
	p.of = p.builds.of(told.BuildID)
	p.of.tool, p.of.version = "bazel", strings.TrimPrefix(told.Version, "release ")
	return nil
}

// date reads the date of a profile as java.util.Date writes it, in seconds. Later
// versions have it in RFC 3339, with fractions. It is the time of ts 0 but for the
// start of Bazel, which some versions count before and some after it
// (bazelbuild/bazel#30595).
func (p *profile) date(text string) (time.Time, error) {
	for _, layout := range []string{time.UnixDate, "Mon Jan _2 15:04:05 GMT-07:00 2006"} {
		at, err := time.ParseInLocation(layout, text, time.UTC)
		if err != nil {
			continue
		}
		if zone, _ := at.Zone(); layout == time.UnixDate && zone != "UTC" && zone != "GMT" {
			p.change(fmt.Sprintf("dates in the time zone %s, which doesn't tell its offset: taken as UTC", zone), 1)
		}
		return at.UTC(), nil
	}
	return time.Time{}, p.failed(fmt.Errorf("otherData has date %.60q, which doesn't tell when the build began", text))
}

// An event is what is read of one of traceEvents.
type event struct {
	Category  string          `json:"cat"`
	Name      string          `json:"name"`
	Phase     string          `json:"ph"`
	Thread    int64           `json:"tid"`
	Timestamp json.RawMessage `json:"ts"`  // microseconds
	Duration  json.RawMessage `json:"dur"` // the same
	Output    string          `json:"out"` // of an action: its first
	Args      struct {
		Target   string `json:"target"`
		Mnemonic string `json:"mnemonic"` // in later versions
	} `json:"args"`
}

// events reads traceEvents.
func (p *profile) events() error {
	if p.of == nil {
		return p.failed(errors.New("traceEvents come before otherData, which names the build"))
	}
	if token, err := p.token(); err != nil {
		return err
	} else if token != json.Delim('[') {
		return p.failed(fmt.Errorf("traceEvents begin with %v, want a list", token))
	}
	for {
		p.at = Place{Entry: p.Entries + 1, Offset: p.in.InputOffset()}
		p.bytes.left = maxEventBytes
		if !p.in.More() {
			_, err := p.token()
			return err
		}
		var e event
		ok, err := p.value(&e)
		if err != nil {
			return err
		}
		p.Entries++
		if !ok {
			p.leave("events with fields of another kind", 1)
			continue
		}
		if err := p.event(&e); err != nil {
			return err
		}
	}
}

// event takes one event in.
func (p *profile) event(e *event) error {
	if e.Phase != "X" {
		p.leave("events that have no duration: names of threads, marks and counters", 1)
		return nil
	}
	when, ok := p.when(e)
	if !ok {
		p.leave("events whose times are none", 1)
		return nil
	}
	p.of.saw(when.Start, when.End)
	// An event may have several, with commas between; Bazel's own is the first.
	category, _, _ := strings.Cut(e.Category, ",")
	if category == profileAction {
		return p.action(e, when)
	}
	of := p.spawns[e.Thread]
	if of == nil {
		of = new(spawn)
	}
	var slot *interval
	switch {
	case category == profileCheck:
		// The first thing that happens to a spawn, of which an action has one but
		// for tests.
		p.leave("events of an action's earlier spawns", of.events())
		*of = spawn{}
		slot = &of.check
	case category == profileRemote && e.Name == executeRemotely:
		slot = &of.call
	case category == profileDownload && e.Name == downloadOutputs:
		slot = &of.download
	case category == profileQueue:
		slot = &of.queue
	case category == profileSetup && e.Name == beforeFetch:
		slot = &of.setup
	case category == profileFetch:
		slot = &of.fetch
	case category == profileProcess:
		slot = &of.process
	case category == profileUpload && e.Name != uploadInputs:
		slot = &of.upload
	case strings.HasPrefix(e.Name, "merged ") && strings.HasSuffix(e.Name, " events"):
		p.leave("events that stand for several, some of which may be actions: record with --noslim_profile", 1)
		return nil
	default:
		p.leave(fmt.Sprintf("events of the category %.60q", strings.ToValidUTF8(category, "\uFFFD")), 1)
		return nil
	}
	if p.spawns[e.Thread] == nil && len(p.spawns) >= maxThreads {
		p.leave(fmt.Sprintf("remote events of more than %d threads", maxThreads), 1)
		return nil
	}
	p.spawns[e.Thread] = of
	if !slot.Start.IsZero() {
		p.leave("events of an action's earlier spawns", 1)
	}
	*slot = when
	return nil
}

// events counts what a spawn has.
func (s *spawn) events() (n int) {
	for _, i := range []interval{s.check, s.call, s.download, s.queue, s.setup, s.fetch, s.process, s.upload} {
		if !i.Start.IsZero() {
			n++
		}
	}
	return n
}

// when returns the times of an event.
func (p *profile) when(e *event) (interval, bool) {
	after, ok := microseconds(e.Timestamp)
	length, has := microseconds(e.Duration)
	if !ok || !has || length < 0 {
		return interval{}, false
	}
	start := p.start.Add(after)
	end := start.Add(length)
	return interval{Start: start, End: end}, usable(start) && usable(end)
}

// microseconds returns a number of microseconds, whole or not, as a duration.
func microseconds(n json.RawMessage) (time.Duration, bool) {
	if whole, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return time.Duration(whole) * time.Microsecond, whole > math.MinInt64/1000 && whole < math.MaxInt64/1000
	}
	f, err := strconv.ParseFloat(string(n), 64)
	return time.Duration(f * 1000), err == nil && math.Abs(f) < math.MaxInt64/1000
}

// action makes the spans of an action and of what its thread did meanwhile.
func (p *profile) action(e *event, when interval) error {
	of := p.spawns[e.Thread]
	delete(p.spawns, e.Thread)
	if of == nil {
		of = new(spawn)
	}
	for _, i := range []*interval{&of.check, &of.call, &of.download} {
		if !i.Start.IsZero() && (i.Start.Before(when.Start) || i.End.After(when.End)) {
			p.leave("remote events outside of an action", 1)
			*i = interval{}
		}
	}
	a := &build.Action{
		Context: p.of.root.Child(semconv.SpanAction, p.number), Parent: p.of.root.Span,
		Received: when.Start, Done: when.End, CacheCheck: of.check,
		Attributes: texts(nil,
			semconv.AttrInvocationID, p.of.id, semconv.AttrActionMnemonic, e.Args.Mnemonic, semconv.AttrTargetID, e.Args.Target,
			semconv.AttrActionDescription, e.Name, semconv.AttrOutputPrimary, e.Output),
	}
	p.number++
	var offset time.Duration
	if a.Result = of.result(); a.Result != nil {
		from, to := when.Start, when.End
		if !of.call.Start.IsZero() {
			from, to = of.call.Start, of.call.End
		} else if !of.check.Start.IsZero() {
			from = of.check.End
		}
		offset = fit(a, from, to, &p.tally)
	}
	if !of.check.Start.IsZero() && of.call.Start.IsZero() && !of.download.Start.IsZero() {
		p.CacheHits++
		a.Attributes = texts(a.Attributes, semconv.AttrCacheResult, semconv.CacheHit)
	}
	if len(a.Attempts) > 0 && a.CacheCheck.End.After(a.Attempts[0].Queued) {
		p.leave("look-ups in the cache that overlap what came after", 1)
		a.CacheCheck = interval{}
	}
	p.of.saw(a.Received, a.Done)
	spans := action(a, offset)
	if !of.call.Start.IsZero() {
		spans = append(spans, p.call(a.Context, of.call))
	}
	return p.tally.spans(spans)
}

// call is the span of the Execute call of an action. How it ended isn't told.
func (p *profile) call(parent tracecontext.Context, when interval) build.Span {
	return build.Span{
		Name: executeMethod, Kind: build.Client, ID: parent.Child(executeMethod, 0), Parent: parent.Span,
		Start: when.Start, End: when.End,
		Attributes: texts(nil,
			semconv.AttrRPCSystem, semconv.RPCSystem, semconv.AttrRPCMethod, executeMethod, semconv.AttrInvocationID, p.of.id),
	}
}

// result is the metadata that the events of a spawn were made of; nil if there are
// none. When the worker began and ended is in no event, but for what it did first
// and last.
func (s *spawn) result() *repb.ActionResult {
	md := &repb.ExecutedActionMetadata{}
	var first, last time.Time
	for _, stage := range []struct {
		when       interval
		start, end **timestamppb.Timestamp
	}{
		{s.setup, nil, nil},
		{s.fetch, &md.InputFetchStartTimestamp, &md.InputFetchCompletedTimestamp},
		{s.process, &md.ExecutionStartTimestamp, &md.ExecutionCompletedTimestamp},
		{s.upload, &md.OutputUploadStartTimestamp, &md.OutputUploadCompletedTimestamp},
	} {
		if stage.when.Start.IsZero() {
			continue
		}
		if first.IsZero() {
			first = stage.when.Start
		}
		last = stage.when.End
		if stage.start != nil {
			*stage.start, *stage.end = timestamppb.New(stage.when.Start), timestamppb.New(stage.when.End)
		}
	}
	if !s.queue.Start.IsZero() {
		md.QueuedTimestamp = timestamppb.New(s.queue.Start)
		if first.IsZero() || s.queue.End.Before(first) {
			first = s.queue.End
		}
		if last.IsZero() {
			last = first
		}
	}
	if first.IsZero() {
		return nil
	}
	md.WorkerStartTimestamp, md.WorkerCompletedTimestamp = timestamppb.New(first), timestamppb.New(last)
	return &repb.ActionResult{ExecutionMetadata: md}
}
