package render

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/reports/result"
)

// Bounds of tables. A page of them is read from the top, and has to stay below MaxPage.
const (
	maxRows    = 60
	maxDetails = 100 // of a table that is opened on demand
	maxBuilds  = 25
	maxSlowest = 40
	// slowestOfKind keeps one slow method from being the whole list.
	slowestOfKind = 5
	// maxName and maxMessage are bytes of a text in a table.
	maxName    = 80
	maxMessage = 300
)

// A table is the same on the page and in Markdown.
type table struct {
	Columns []column
	Rows    []row
	Left    string // that rows were left out
}

type column struct {
	Name   string
	Help   string // what a reader may not know
	Number bool
}

type row struct {
	Cells []cell
	Class string
}

type cell struct {
	Text  string
	Class string // good, bad or id; empty for none of these
	Link  string
}

// texts makes a row of texts.
func texts(all ...string) row {
	var r row
	for _, text := range all {
		r.Cells = append(r.Cells, cell{Text: text})
	}
	return r
}

// name is a text from outside that names something.
func name(text string) string { return cut(text, maxName) }

func objectives(r *result.Result) *table {
	t := &table{Columns: []column{{Name: "objective"}, {Name: "got"}, {Name: "met"}}}
	list, left := head(r.Verdict.Objectives, maxRows)
	t.Left = leftOut(left)
	for _, o := range list {
		met := cell{"yes", "good", ""}
		if !o.Met {
			met = cell{"no", "bad", ""}
		}
		got := o.Text
		if o.Problem != "" {
			got = o.Problem
		}
		t.Rows = append(t.Rows, row{Cells: []cell{{Text: cut(o.Expr, maxMessage)}, {Text: cut(got, maxMessage)}, met}})
	}
	return t
}

var quantileColumns = []column{
	{"p50", "half of all response times are at most this", true},
	{"p90", "nine of ten response times are at most this", true},
	{"p99", "99 of 100 response times are at most this", true},
	{"p99.9", "999 of 1000 response times are at most this", true},
	{"max", "the longest response time", true},
}

func quantiles(s *result.Sketch) []string {
	return []string{quantile(s, 0.5), quantile(s, 0.9), quantile(s, 0.99), quantile(s, 0.999), longest(s)}
}

var stageColumns = []column{
	{"queue", "mean: waiting for a worker", true},
	{"fetch", "mean: inputs are brought to the worker", true},
	{"run", "mean: the command runs", true},
	{"upload", "mean: outputs are stored", true},
	{"overhead", "mean: the rest of the service time; the client's calls, uploads and downloads", true},
}

// actions has a row for each class and outcome of a phase, and one for all.
func actions(r *result.Result, prepare bool) *table {
	t := &table{Columns: slices.Concat([]column{
		{Name: "class"}, {Name: "outcome"}, {"count", "", true}, {"rate", "for each second of the run", true},
	}, quantileColumns, stageColumns)}
	if prepare {
		t.Columns[3].Help = "not known of the preparation"
	}
	seconds := r.Run.End.Sub(r.Run.Start).Seconds()
	if prepare {
		seconds = 0 // the run's length isn't that of its preparation
	}
	add := func(class, outcome string, a *result.Actions) *row {
		one := texts(slices.Concat([]string{name(class), name(outcome), count(a.Count), rate(a.Count, seconds)},
			quantiles(&a.Response), []string{mean(&a.Queue), mean(&a.Fetch), mean(&a.Run), mean(&a.Upload), mean(&a.Overhead)})...)
		if outcome == result.ActionError || outcome == result.ActionFailed {
			one.Cells[1].Class = "bad"
		}
		t.Rows = append(t.Rows, one)
		return &t.Rows[len(t.Rows)-1]
	}
	keys := r.Grouped(prepare, result.ByOutcome)
	shown, left := head(keys, maxRows)
	t.Left = leftOut(left)
	for i := range shown {
		add(shown[i].Class, shown[i].Outcome, &shown[i])
	}
	if len(keys) > 1 {
		all := allActions(r, prepare)
		add("all", "", all).Class = "sum"
	}
	return t
}

// faults has a row for what followed each fault of a simulation.
func faults(r *result.Result) *table {
	t := &table{Columns: []column{
		{"fault", "with its time since the run's start; the row is what followed until the next one, or the end", false},
		{"attempts lost", "that came to nothing", true}, {"work lost", "slot time of those", true}, {"retried", "actions that ended well after such an attempt", true},
		{"errors", "actions without a result", true}, {"queue before", "mean of how many waited, since the fault before or the start; what was before that fault if it wasn't over yet", true}, {"queue, most", "how many waited", true},
		{"most after", "since the fault", true}, {"back after", "since the fault: no more waited than before; with > that wasn't so by the next fault, or the end", true},
	}}
	list, left := head(r.Faults, maxRows)
	t.Left = leftOut(left)
	for i := range list {
		f := &list[i]
		back := "> " + duration(f.Until-f.At)
		if f.Recovered != nil {
			back = duration(*f.Recovered)
		}
		t.Rows = append(t.Rows, texts(name(f.Fault), count(f.Lost), duration(f.LostWork), count(f.Retried), count(f.Errors), number(f.QueueBefore), count(f.QueuePeak), duration(f.PeakAfter), back))
	}
	return t
}

// streams has a row for each stream of the scenario; none if there aren't several.
func streams(r *result.Result) *table {
	t := &table{Columns: slices.Concat([]column{
		{"stream", "the demand of the scenario whose builds asked", false}, {"builds", "that ended", true},
		{"slowdown p50", "of its builds: makespan ÷ ideal", true}, {"slowdown p95", "of its builds: makespan ÷ ideal", true},
	}, groupColumns)}
	if r.Fairness != nil {
		t.Columns = append(t.Columns, column{"of an even share", "what it had of the workers while it waited beside other streams, ÷ an even share of what those that waited had", true})
	}
	shown, all := t.groups(r, result.ByStream)
	for i := range shown {
		a := &shown[i]
		counts, half, most := r.Builds.Of(a.Stream), none, none
		if s := &counts.Slowdown; s.Count() > 0 {
			half, most = ratio(s.Quantile(0.5)), ratio(s.Quantile(0.95))
		}
		one := slices.Concat([]string{name(a.Stream), count(counts.Count), half, most}, group(a, all))
		if r.Fairness != nil {
			even := none
			if s := r.Fairness.Of(a.Stream); s != nil {
				one[len(one)-1] = percent(s.Share)
				if s.Contended > 0 {
					even = number(s.OfEven) + "×"
				}
			}
			one = append(one, even)
		}
		t.Rows = append(t.Rows, texts(one...))
	}
	return t
}

// platforms has a row for what actions ask of a worker; none if all ask the same.
func platforms(r *result.Result) *table {
	t := &table{Columns: slices.Concat([]column{{"platform", "what actions ask of a worker", false}}, groupColumns)}
	shown, all := t.groups(r, result.ByPlatform)
	for i := range shown {
		t.Rows = append(t.Rows, texts(append([]string{name(cmp.Or(shown[i].Platform, "any"))}, group(&shown[i], all)...)...))
	}
	return t
}

// groups are the actions that the table has rows for, none if they aren't of several groups, and
// the time on workers of all groups, those that are left out too.
func (t *table) groups(r *result.Result, by func(result.ActionKey) result.ActionKey) (shown []result.Actions, all time.Duration) {
	rows := r.Grouped(false, by)
	if len(rows) < 2 {
		return nil, 0
	}
	for i := range rows {
		all += rows[i].Work()
	}
	shown, left := head(rows, maxRows)
	t.Left = leftOut(left)
	return shown, all
}

var groupColumns = []column{
	{"actions", "", true}, {"queue p50", "waiting for a worker", true}, {"queue p95", "waiting for a worker", true}, {"queue p99", "waiting for a worker", true},
	{"run p50", "the command runs", true}, {"stretch", "time from the queue to the upload ÷ time on workers, over all that ran", true}, {"worker time", "share of the time that workers gave to all", true},
}

func group(a *result.Actions, all time.Duration) []string {
	stretch, share := none, none
	if work := a.Work(); work > 0 {
		stretch, share = number(a.Stretch())+"×", percent(float64(work)/float64(all))
	}
	return []string{count(a.Count), quantile(&a.Queue, 0.5), quantile(&a.Queue, 0.95), quantile(&a.Queue, 0.99), quantile(&a.Run, 0.5), stretch, share}
}

// fairness says how workers were shared; "" if that isn't known.
func fairness(r *result.Result) string {
	f := r.Fairness
	switch {
	case f == nil:
		return ""
	case f.Contended == 0:
		return "Streams didn't wait for the same workers at one time, or had none of them: there was nothing to share."
	}
	return "Several streams waited for the same workers for " + duration(f.Contended) + " (in intervals of " + duration(f.Resolution) + "). Jain's index of their shares is " +
		number(f.Jain) + ": 1 if all have the same, " + number(f.Least()) + " if one has all."
}

// allActions are those of a phase as one.
func allActions(r *result.Result, prepare bool) *result.Actions {
	all := new(result.Actions)
	for i := range r.Actions {
		if (r.Actions[i].Phase != "") == prepare {
			all.Merge(&r.Actions[i])
		}
	}
	return all
}

// allCalls likewise.
func allCalls(r *result.Result, prepare bool) *result.Calls {
	all := new(result.Calls)
	for i := range r.Calls {
		if (r.Calls[i].Phase != "") == prepare {
			all.Merge(&r.Calls[i])
		}
	}
	return all
}

// calls has a row for each method, status and answer of the cache; with sizes also for
// each size class.
func calls(r *result.Result, prepare, sizes bool) *table {
	t := &table{Columns: []column{{Name: "method"}, {Name: "status"}, {Name: "cache"}}}
	if sizes {
		t.Columns = append(t.Columns, column{"size", "decade of the payload, in bytes", false})
	}
	t.Columns = slices.Concat(t.Columns, []column{{"count", "", true}, {"rate", "for each second of the run", true}}, quantileColumns, []column{
		{"failed", "the status isn't one that the caller counts on", true}, {"blobs", "", true},
		{"sent", "bytes of messages", true}, {"received", "bytes of messages", true},
	})
	seconds := r.Run.End.Sub(r.Run.Start).Seconds()
	if prepare {
		seconds = 0
	}
	limit := maxRows
	if sizes || prepare {
		limit = maxDetails
	}
	merged := make(map[result.CallKey]*result.Calls)
	var keys []result.CallKey
	for i := range r.Calls {
		c := &r.Calls[i]
		if (c.Phase != "") != prepare {
			continue
		}
		key := c.CallKey
		key.Phase = ""
		if !sizes {
			key.SizeClass = ""
		}
		if merged[key] == nil {
			merged[key] = &result.Calls{CallKey: key}
			keys = append(keys, key)
		}
		merged[key].Merge(c)
	}
	slices.SortStableFunc(keys, func(a, b result.CallKey) int {
		return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Cache, b.Cache), cmp.Compare(classRank(a.SizeClass), classRank(b.SizeClass)))
	})
	shown, left := head(keys, limit)
	t.Left = leftOut(left)
	for _, key := range shown {
		c := merged[key]
		parts := []string{name(key.Method), name(key.Status), name(key.Cache)}
		if sizes {
			parts = append(parts, name(key.SizeClass))
		}
		one := texts(slices.Concat(parts, []string{count(c.Count), rate(c.Count, seconds)}, quantiles(&c.Response),
			[]string{count(c.Failed), count(c.Blobs), size(c.BytesSent), size(c.BytesReceived)})...)
		if c.Failed > 0 {
			one.Cells[1].Class, one.Cells[len(one.Cells)-4].Class = "bad", "bad"
		}
		t.Rows = append(t.Rows, one)
	}
	return t
}

// classRank sorts size classes by size.
func classRank(class string) int {
	return slices.Index([]string{"<1k", "1k-10k", "10k-100k", "100k-1M", "1M-10M", ">=10M"}, class)
}

// hasSizes reports whether a table by size class would say more than one without.
func hasSizes(r *result.Result) bool {
	return slices.ContainsFunc(r.Calls, func(c result.Calls) bool { return c.SizeClass != "" && c.Phase == "" })
}

// builds has the distributions of all builds.
func builds(r *result.Result) *table {
	t := &table{Columns: slices.Concat([]column{{Name: "of builds"}, {"count", "", true}, {"mean", "", true}}, quantileColumns)}
	for i := range t.Columns {
		t.Columns[i].Help = "" // they speak of response times
	}
	b := &r.Builds
	if b.Makespan.Count() > 0 {
		t.Rows = append(t.Rows, texts(slices.Concat([]string{"makespan", count(b.Makespan.Count()), mean(&b.Makespan)}, quantiles(&b.Makespan))...))
	}
	if s := &b.Slowdown; s.Count() > 0 {
		t.Rows = append(t.Rows, texts("slowdown", count(s.Count()), ratio(s.Mean()), ratio(s.Quantile(0.5)), ratio(s.Quantile(0.9)),
			ratio(s.Quantile(0.99)), ratio(s.Quantile(0.999)), ratio(s.Max())))
	}
	return t
}

func longestBuilds(r *result.Result, link func(string) string) *table {
	t := &table{Columns: []column{
		{Name: "build"}, {"start", "when it should have started, since the run's start", true}, {"delay", "how much later it was started", true},
		{"makespan", "from when it should have started to its end", true}, {"ideal", "the same actions without queue and overhead", true},
		{"slowdown", "makespan ÷ ideal", true}, {"actions", "", true}, {"cache hits", "", true}, {"failed", "actions that failed", true}, {Name: "end"}, {Name: "trace"},
	}}
	list, left := head(r.Builds.Longest, maxBuilds)
	t.Left = leftOut(left)
	for i := range list {
		b := &list[i]
		slowdown, ideal := none, none
		if b.Ideal > 0 {
			slowdown, ideal = number(float64(b.Makespan)/float64(b.Ideal))+"×", duration(b.Ideal)
		}
		end := cell{Text: "succeeded"}
		switch {
		case b.Cancelled:
			end.Text = "cancelled"
		case b.Err != "":
			end = cell{cut(b.Err, maxMessage), "bad", ""}
		case b.FailedCount > 0:
			end = cell{"failed", "bad", ""}
		}
		one := texts(name(b.ID), since(r.Run.Start, b.Start.Add(-b.Delay)), duration(b.Delay), duration(b.Makespan), ideal, slowdown,
			count(int64(b.Actions)), count(int64(b.CacheHits)), count(int64(b.FailedCount)))
		one.Cells = append(one.Cells, end, trace(b.TraceID, link))
		t.Rows = append(t.Rows, one)
	}
	return t
}

func trace(id string, link func(string) string) cell {
	return cell{Text: name(id), Class: "id", Link: link(id)}
}

func failures(r *result.Result, link func(string) string) *table {
	t := &table{Columns: []column{
		{Name: "of"}, {Name: "status"}, {"reason", "what went wrong, in a word", false}, {"count", "", true},
		{"first", "since the run's start", true}, {"last", "since the run's start", true}, {"example", "the message of the first", false}, {Name: "trace"},
	}}
	list, left := head(r.Errors, maxRows)
	t.Left = leftOut(left)
	for i := range list {
		e := &list[i]
		one := texts(name(e.Method), name(e.Status), name(e.Reason), count(e.Count), since(r.Run.Start, e.First), since(r.Run.Start, e.Last),
			cut(cmp.Or(e.Example, e.Message), maxMessage))
		one.Cells = append(one.Cells, trace(e.TraceID, link))
		t.Rows = append(t.Rows, one)
	}
	return t
}

// slowest has the slowest operations, and of each kind no more than slowestOfKind.
func slowest(r *result.Result, link func(string) string) *table {
	t := &table{Columns: []column{
		{Name: "of"}, {Name: "name"}, {Name: "status"}, {"start", "since the run's start", true}, {"response", "what a user waited", true},
		{"service", "from when it was sent", true}, {"queue", "", true}, {"run", "", true}, {Name: "worker"}, {Name: "trace"},
	}}
	kinds := make(map[string]int)
	for i := range r.Slowest {
		s := &r.Slowest[i]
		kinds[s.Kind]++
		if len(t.Rows) == maxSlowest || kinds[s.Kind] > slowestOfKind {
			continue
		}
		queue, run := none, none
		if strings.HasPrefix(s.Kind, "action") && (s.Status == result.Executed || s.Status == result.ActionFailed) {
			queue, run = duration(s.Queue), duration(s.Run)
		}
		one := texts(name(s.Kind), name(s.Name), name(s.Status), since(r.Run.Start, s.Start), duration(s.Response), duration(s.Service), queue, run, name(s.Worker))
		one.Cells = append(one.Cells, trace(s.TraceID, link))
		t.Rows = append(t.Rows, one)
	}
	return t
}

func violations(r *result.Result) *table {
	t := &table{Columns: []column{{Name: "kind"}, {"count", "", true}, {Name: "example"}}}
	list, left := head(r.Integrity, maxRows)
	t.Left = leftOut(left)
	for _, v := range list {
		one := texts(name(v.Kind), count(v.Count), cut(v.Example, maxMessage))
		one.Class = "bad"
		t.Rows = append(t.Rows, one)
	}
	return t
}

// generator has the health of the machine that measured, next to what is asked of it.
func generator(r *result.Result) *table {
	t := &table{Columns: []column{{Name: "measure"}, {"was", "", true}, {"bound", "beyond it a run is invalid", true}, {Name: "what it means"}}}
	g := &r.Generator
	add := func(measure, was, bound, means string, beyond bool) {
		one := texts(measure, was, bound, means)
		if beyond {
			one.Cells[1].Class = "bad"
		} else if bound != none {
			one.Cells[1].Class = "good"
		}
		t.Rows = append(t.Rows, one)
	}
	add("schedule delay, p99", duration(g.DelayP99), duration(result.MaxDelay), "99 of 100 calls were sent at most this much after their time", g.DelayP99 > result.MaxDelay)
	add("schedule delay, max", duration(g.DelayMax), none, "the call that was sent latest", false)
	add("CPU, mean", percent(g.CPUMean), percent(result.MaxCPU), "share of all its CPUs that the generator used", g.CPUMean > result.MaxCPU)
	add("CPU, most in a second", percent(g.CPUMax), none, "above the bound for a moment is seen in that moment's response times only", false)
	add("machine, most in a second", percent(g.MachineMax), none, "share of all CPUs that all processes used: near 100 % others were in the way", false)
	add("garbage collection, longest stop", duration(g.GCPause), none, "all calls wait for it", false)
	add("heap, most", size(g.HeapMax), none, "memory of the generator", false)
	add("CPUs", count(int64(g.CPUs)), none, "of all generators together", false)
	shares := cell{Text: "no"}
	if g.SharesMachine {
		shares.Text = "yes"
	}
	t.Rows = append(t.Rows, row{Cells: []cell{{Text: "shares the target's machine"}, shares, {Text: none}, {Text: "if so they take each other's CPU, and absolute times are those of both together"}}})
	return t
}

// numbers is the timeline in figures, in at most maxRows rows.
func numbers(m *moments) *table {
	t := &table{Columns: []column{
		{"from", "since the run's start", true}, {"for", "", true}, {"actions", "that ended", true}, {"cached", "", true}, {"calls", "that ended", true}, {"in flight", "the most", true},
		{"p50", "response time", true}, {"p99", "response time", true}, {"failed actions", "", true}, {"failed calls", "", true}, {"dropped", "", true}, {"sent", "", true}, {"received", "", true},
	}}
	for _, i := range m.shorten(maxRows).list {
		t.Rows = append(t.Rows, texts(m.told(&i), brief(i.length), count(i.Actions), count(i.Cached), count(i.Calls), count(i.InFlight),
			quantile(&i.Response, 0.5), quantile(&i.Response, 0.99), count(i.ActionsFailed), count(i.CallsFailed), count(i.Dropped), size(i.BytesSent), size(i.BytesReceived)))
	}
	return t
}
