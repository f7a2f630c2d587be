package execution

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/traces/build"
)

// queuedBecause says why a task waits right now (one of semconv's Reason… values);
// "" if it doesn't. It costs a look at each level of the policy. The lock is held.
func (s *Server) queuedBecause(t *task) string {
	hold := s.shell.queue.Held(t.id)
	if p := t.platform; hold > queue.HeldNoWorker && p.drained == p.workers {
		hold = queue.HeldDrained
	}
	return hold.String()
}

// Explain says why an operation waits, or what became of it.
func (s *Server) Explain(_ context.Context, request *admin.ExplainRequest) (*admin.Explanation, error) {
	op, err := s.find(request.Name)
	if err != nil {
		return nil, err
	}
	var why wait
	s.shell.mu.Lock()
	now := time.Now()
	response := op.response // once it is there, the rest is another's to forget
	early := response == nil && op.task == nil
	if response == nil && !early {
		why = s.explain(op)
	}
	s.shell.mu.Unlock()
	switch {
	case response != nil:
		return &admin.Explanation{Name: op.name, State: stateDone, Text: endText(response)}, nil
	case early:
		return &admin.Explanation{Name: op.name, State: stateEarly,
			Text: "It has no work yet: the action cache is asked for a result, or the action is read."}, nil
	}
	e := why.message(now)
	e.Name = op.name
	return e, nil
}

// What an operation is up to, as Explanation.state.
const (
	stateEarly     = "cache_check"
	stateQueued    = "queued"
	stateExecuting = "executing"
	stateDone      = "done"
)

// endText says how an operation ended, from its response on the wire.
func endText(packed []byte) string {
	response := new(repb.ExecuteResponse)
	if err := proto.Unmarshal(packed, response); err != nil {
		return "It is done; its response can't be decoded: " + err.Error() + "."
	}
	switch code := codes.Code(response.Status.GetCode()); {
	case code != codes.OK:
		return fmt.Sprintf("It ended with %v: %s.", code, response.Status.GetMessage())
	case response.CachedResult:
		return "It is done: the action cache had its result."
	default:
		return fmt.Sprintf("It is done: the command exited with %d.", response.Result.GetExitCode())
	}
}

// wait is what is known of why a task waits, taken down under the lock so that it
// can be told without.
type wait struct {
	queue    queue.Explanation
	reason   string
	platform *platform
	sessions []*session // of the instance; only what never changes of them is read
	leaving  int
	joined   *operation // that leads the work, if it is another
	names    []string   // of the branches
	attempts []build.Attempt
	giveUp   time.Duration // how long it may wait for a first worker; 0 is for ever
	rests    time.Time     // the end of its back-off
	size     string        // why it has its class of workers
	moved    bool          // there from a smaller one
}

// explain takes down why the task of an operation waits; the lock is held.
func (s *Server) explain(op *operation) wait {
	t := op.task
	w := wait{platform: t.platform, attempts: slices.Clone(t.attempts), giveUp: max(0, s.config.Queue.NoWorkerTimeout)}
	if t.leader != op {
		w.joined = t.leader
	}
	w.moved = t.outgrew != ""
	w.size = s.sizes.text(t)
	w.queue, _ = s.shell.queue.Explain(t.id)
	w.reason = w.queue.Hold.String()
	if w.queue.Hold == queue.HeldBackOff {
		w.rests = s.shell.epoch.Add(time.Duration(w.queue.RestsUntil))
	}
	for _, b := range w.queue.Branches {
		w.names = append(w.names, branchName(b.By, t.leader))
	}
	for _, session := range s.shell.sessions {
		if session.instance != t.instance {
			continue
		}
		if w.queue.Hold == queue.HeldNoWorker {
			w.sessions = append(w.sessions, session)
		}
		if !session.drained && !accepting(session.status) && slices.Contains(session.serves, t.platform) {
			w.leaving++
		}
	}
	return w
}

// branchName is the name of the group that an operation belongs to.
func branchName(by string, op *operation) string {
	switch by {
	case "tenant":
		return op.tenant
	case "correlated":
		return op.client.request().GetCorrelatedInvocationsId()
	case "invocation":
		return op.client.invocation()
	case "priority":
		return strconv.Itoa(int(op.priority))
	}
	return ""
}

// message is all that is known, with its sentences.
func (w *wait) message(now time.Time) *admin.Explanation {
	latest := w.attempts[len(w.attempts)-1]
	e := &admin.Explanation{
		State: stateQueued, Reason: w.reason, Platform: w.platform.text,
		Since: timestamppb.New(latest.Queued), Attempt: uint32(len(w.attempts)),
		Capacity: w.capacity(), Ahead: uint32(w.queue.Ahead), Exact: w.queue.Exact,
	}
	if w.joined != nil {
		e.Joined = w.joined.name
	}
	if w.queue.Hold == queue.NotHeld {
		e.State, e.Since, e.Worker = stateExecuting, timestamppb.New(latest.Leased), latest.Worker
	}
	if !w.rests.IsZero() {
		e.RestsUntil = timestamppb.New(w.rests)
	}
	for i, b := range w.queue.Branches {
		branch := &admin.Branch{By: b.By, Name: w.names[i], Rule: b.Rule.String(), Waiting: uint32(b.Waiting), Before: uint32(b.Before)}
		if b.Weights > 0 {
			branch.Share = float64(b.Weight) / float64(b.Weights)
		}
		e.Branches = append(e.Branches, branch)
	}
	for i, a := range w.attempts {
		if i < len(w.attempts)-1 || !a.Leased.IsZero() {
			e.Attempts = append(e.Attempts, attemptMessage(a))
		}
	}
	if w.queue.Hold == queue.HeldNoWorker {
		for _, p := range missing(w.platform.properties, w.sessions).nobodys {
			e.Missing = append(e.Missing, &admin.Property{Key: p.key, Value: p.value})
		}
	}
	e.Text = w.text(now)
	return e
}

func (w *wait) capacity() *admin.Capacity {
	q := &w.queue
	return &admin.Capacity{
		Workers: uint32(q.Workers), Drained: uint32(q.Drained), Leaving: uint32(w.leaving),
		Slots: uint32(q.Slots), Busy: uint32(q.Busy),
		Queued: uint32(q.Queued), Resting: uint32(q.Resting), Executing: uint32(q.Executing),
	}
}

func attemptMessage(a build.Attempt) *admin.Attempt {
	m := &admin.Attempt{Worker: a.Worker, Ending: a.RetryReason}
	for _, f := range []struct {
		to **timestamppb.Timestamp
		at time.Time
	}{{&m.Queued, a.Queued}, {&m.Leased, a.Leased}, {&m.Ended, a.Ended}} {
		if !f.at.IsZero() {
			*f.to = timestamppb.New(f.at)
		}
	}
	return m
}

// text says in sentences why it waits, with the numbers of now.
func (w *wait) text(now time.Time) string {
	var b strings.Builder
	if w.joined != nil {
		fmt.Fprintf(&b, "It waits for the work of an equal action that came before, %s. ", w.joined.name)
	}
	latest := w.attempts[len(w.attempts)-1]
	if w.queue.Hold == queue.NotHeld {
		if w.queue.Worker == 0 {
			return b.String() + "Its command has ended and its result is being stored."
		}
		fmt.Fprintf(&b, "Worker %s has had it for %v", latest.Worker, age(now, latest.Leased))
		if n := len(w.attempts); n > 1 {
			fmt.Fprintf(&b, ", as attempt %d", n)
		}
		b.WriteString(".")
		if w.moved {
			b.WriteString(w.size)
		}
	} else {
		fmt.Fprintf(&b, "It has been queued for %v: %s", age(now, latest.Queued), w.because(now))
		b.WriteString(w.size)
	}
	if n := len(w.attempts); n > 1 && w.queue.Hold != queue.HeldBackOff {
		last := w.attempts[n-2]
		fmt.Fprintf(&b, " Its attempt %d, on %s, ended: %s.", n-1, last.Worker, last.RetryReason)
	}
	return b.String()
}

// because goes on after a colon, and ends its sentences.
func (w *wait) because(now time.Time) string {
	q := &w.queue
	switch q.Hold {
	case queue.HeldNoWorker:
		text := missing(w.platform.properties, w.sessions).text(w.platform.instance.name) + "."
		if w.giveUp > 0 {
			text += fmt.Sprintf(" It is given up after %v without one.", w.giveUp)
		}
		return text
	case queue.HeldDrained:
		return fmt.Sprintf("%s drained. See weir drain --undo.", all(q.Workers, "that serves its platform is", "that serve its platform are"))
	case queue.HeldBackOff:
		last := w.attempts[max(0, len(w.attempts)-2)]
		return fmt.Sprintf("its attempt %d, on %s, ended: %s. It pauses for %v more before it waits for the next.",
			q.Attempt, last.Worker, last.RetryReason, max(0, w.rests.Sub(now)).Round(100*time.Millisecond))
	case queue.HeldBusy, queue.HeldArrival:
		return w.capacityText() + " " + w.placeText()
	}
	first := 0
	for first < len(q.Branches)-1 && q.Branches[first].Before == 0 {
		first++
	}
	held := q.Branches[first]
	switch q.Hold {
	case queue.HeldFair:
		return fmt.Sprintf("it is the turn of another %s: of %d that have something waiting, %s before %s, which has a share of %.0f%%. %s %s",
			groupWord(held.By), held.Waiting, count(held.Before, "comes", "come"), named(held.By, w.names[first]),
			100*float64(held.Weight)/float64(max(1, held.Weights)), w.capacityText(), w.placeText())
	case queue.HeldPriority:
		return fmt.Sprintf("something more urgent comes first. %s %s", w.capacityText(), w.placeText())
	default:
		return fmt.Sprintf("something that is expected to take less time comes first. %s %s", w.capacityText(), w.placeText())
	}
}

// capacityText says how busy the workers of the platform are.
func (w *wait) capacityText() string {
	q := &w.queue
	text := fmt.Sprintf("%d of %s of %s that %s its platform %s taken", q.Busy, count(q.Slots, "slot", "slots"),
		count(q.Workers-q.Drained, "worker", "workers"), plural(q.Workers-q.Drained, "serves", "serve"), plural(q.Busy, "is", "are"))
	var less []string
	if q.Drained > 0 {
		less = append(less, fmt.Sprintf("%d more %s drained", q.Drained, plural(q.Drained, "is", "are")))
	}
	if w.leaving > 0 {
		less = append(less, fmt.Sprintf("%d of them %s nothing by %s own word", w.leaving, plural(w.leaving, "takes", "take"), plural(w.leaving, "its", "their")))
	}
	if len(less) > 0 {
		text += " (" + strings.Join(less, ", ") + ")"
	}
	if q.Busy < q.Slots && w.leaving == 0 {
		text += "; a free one is given out when its worker asks next"
	}
	return text + "."
}

// placeText says where the task stands.
func (w *wait) placeText() string {
	q := &w.queue
	before := "none comes before it"
	if q.Ahead > 0 {
		before = count(q.Ahead, "comes before it", "come before it")
	}
	if !q.Exact {
		within := "among its equals"
		for i, b := range q.Branches {
			if isGroup(b.By) {
				within = "in " + named(b.By, w.names[i])
			}
		}
		before += " " + within
	}
	if q.Hold == queue.HeldBusy {
		before = "it comes next"
	}
	return fmt.Sprintf("Of %s of its platform %s.", count(q.Queued, "queued task", "queued tasks"), before)
}

// isGroup tells the levels of groups from those that sort the tasks of one.
func isGroup(by string) bool { return by == "tenant" || by == "correlated" || by == "invocation" }

func groupWord(by string) string {
	if by == "correlated" {
		return "pipeline"
	}
	return by
}

func named(by, name string) string {
	if name == "" {
		return "the " + groupWord(by) + " without a name"
	}
	return fmt.Sprintf("%s %q", groupWord(by), name)
}

func age(now, since time.Time) time.Duration {
	return max(0, now.Sub(since)).Round(100 * time.Millisecond)
}

func count(n int, one, many string) string { return fmt.Sprintf("%d %s", n, plural(n, one, many)) }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func all(n int, one, many string) string {
	if n == 1 {
		return "the only worker " + one
	}
	return fmt.Sprintf("all %d workers %s", n, many)
}

// lack is what no worker has of what a platform asks for.
type lack struct {
	workers int        // of the instance
	nobodys []property // that no worker has
	// offers has how many workers offer which values instead, by key.
	offers map[string]map[string]int
	// nearest workers, like the example, lack fewest, and none lacks less.
	nearest int
	example string
	fewest  []property
}

// lacks says what a platform asks for that no worker has. Many tasks of a platform
// fail at once for want of a worker: it is found out once for all. The lock is held.
func (s *shell) lacks(p *platform) string {
	if p.lackOf != s.roster+1 {
		var sessions []*session
		for _, session := range s.sessions {
			if session.instance == p.instance {
				sessions = append(sessions, session)
			}
		}
		p.lacks, p.lackOf = missing(p.properties, sessions).text(p.instance.name), s.roster+1
	}
	return p.lacks
}

// missing compares what is wanted with what workers offer. It takes time by both.
func missing(wanted []property, sessions []*session) lack {
	l := lack{workers: len(sessions), offers: make(map[string]map[string]int)}
	have := make([]int, len(wanted))
	fewest := len(wanted) + 1
	slices.SortFunc(sessions, byBot)
	for _, session := range sessions {
		var lacks []property
		for i, want := range wanted {
			if offers(session.offered, want) {
				have[i]++
			} else {
				lacks = append(lacks, want)
			}
		}
		switch {
		case len(lacks) < fewest:
			fewest, l.nearest, l.fewest, l.example = len(lacks), 1, lacks, session.botID
		case len(lacks) == fewest && slices.Equal(lacks, l.fewest):
			l.nearest++
		}
	}
	for i, want := range wanted {
		if have[i] > 0 {
			continue
		}
		l.nobodys = append(l.nobodys, want)
		values := make(map[string]int)
		for _, session := range sessions {
			for _, p := range session.offered {
				if p.key == want.key {
					values[p.value]++
				}
			}
		}
		l.offers[want.key] = values
	}
	return l
}

// What is told is bounded: other values of a property, and properties that nobody
// has.
const (
	maxOffers  = 3
	maxNobodys = 5
)

// text says what is missing, without the full stop.
func (l lack) text(instance string) string {
	if l.workers == 0 {
		return fmt.Sprintf("no worker is connected to instance %q", instance)
	}
	if len(l.nobodys) == 0 {
		return fmt.Sprintf("no worker has all that its platform asks for; %s nearest, like %s, and %s only %s",
			count(l.nearest, "is", "are"), l.example, plural(l.nearest, "lacks", "lack"), texts(l.fewest))
	}
	var parts []string
	for i, want := range l.nobodys {
		if i == maxNobodys {
			parts = append(parts, fmt.Sprintf("nor what %d more of its properties ask for", len(l.nobodys)-i))
			break
		}
		part := fmt.Sprintf("no worker has %s=%s", want.key, want.value)
		values := l.offers[want.key]
		if len(values) == 0 {
			parts = append(parts, part+fmt.Sprintf(" (%s no %s at all)", count(l.workers, "connected has", "connected have"), want.key))
			continue
		}
		common := slices.SortedFunc(maps.Keys(values), func(a, b string) int {
			if values[a] != values[b] {
				return values[b] - values[a]
			}
			return strings.Compare(a, b)
		})
		var others []string
		for _, value := range common[:min(len(common), maxOffers)] {
			others = append(others, fmt.Sprintf("%s %s=%s", count(values[value], "has", "have"), want.key, value))
		}
		if more := len(common) - maxOffers; more > 0 {
			others = append(others, fmt.Sprintf("%d other values", more))
		}
		parts = append(parts, part+" ("+strings.Join(others, ", ")+")")
	}
	return strings.Join(parts, "; ")
}

func texts(list []property) string {
	var words []string
	for _, p := range list {
		words = append(words, p.key+"="+p.value)
	}
	return strings.Join(words, " and ")
}
