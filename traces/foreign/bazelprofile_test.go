package foreign_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/foreign"
	"github.com/weir-build/weir/traces/semconv"
)

// head is the beginning of a profile of Bazel 4.2.3, whose build began at epoch.
const head = `{"otherData":{"build_id":"` + invocation + `","output_base":"/o","date":"Sat Nov 21 19:00:00 UTC 2026"},"traceEvents":[`

// x is an event from one millisecond to another.
func x(category, name string, start, end int, more ...string) string {
	return fmt.Sprintf(`{"cat":%q,"name":%q,"ph":"X","ts":%d,"dur":%d,"pid":1,"tid":7%s}`, category, name, start*1000, (end-start)*1000, strings.Join(more, ""))
}

func profileOf(events ...string) []byte { return []byte(head + strings.Join(events, ",\n") + "]}") }

func readTheProfile(t testing.TB, data []byte) imported {
	t.Helper()
	return read(t, bytes.NewReader(data), "bazel-profile").check(t)
}

// The events of an action that ran remotely, as later versions than 4.2.3 write them: a
// stage's are made of the metadata when the call is over.
var (
	check    = x("remote action cache check", "check cache hit", 101, 110)
	inputs   = x("Remote execution upload time", "upload missing inputs", 110, 115)
	call     = x("remote action execution", "execute remotely", 115, 180)
	queue    = x("Remote execution queuing time", "queue", 120, 130)
	setup    = x("Remote execution setup", "pre-fetch", 130, 131)
	fetch    = x("Remote execution file fetching", "fetch", 131, 140)
	prepare  = x("Remote execution setup", "pre-execute", 140, 142)
	run      = x("Remote execution process wall time", "execute", 142, 160)
	upload   = x("Remote execution upload time", "upload", 161, 170)
	download = x("remote output download", "download outputs", 181, 195)
	done     = x("action processing", "Compiling a.c", 100, 200, `,"out":"bin/a.o","args":{"target":"//:a","mnemonic":"CppCompile"}`)
)

func TestActionOfAProfile(t *testing.T) {
	got := readTheProfile(t, profileOf(check, inputs, call, queue, setup, fetch, prepare, run, upload, download, done))
	tree := got.tree(t, invocation)
	action := tree.Actions()[0].Span
	for key, want := range map[string]string{
		semconv.AttrTargetID: "//:a", semconv.AttrActionMnemonic: "CppCompile", semconv.AttrActionDescription: "Compiling a.c",
		semconv.AttrOutputPrimary: "bin/a.o", semconv.AttrInvocationID: invocation, semconv.AttrCacheResult: "",
	} {
		if got := action.Attr(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	want := []string{"queued 120ms 10ms", "worker 130ms 40ms", "input_fetch 131ms 9ms", "execute 142ms 18ms", "output_upload 161ms 9ms"}
	lines := outline(tree)
	if diff := cmp.Diff(want, stagesOf(lines)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, want := range []string{"invocation 100ms 100ms", " action 100ms 100ms", "  cache_check 101ms 9ms", "  Execute 115ms 65ms"} {
		if !strings.Contains(strings.Join(lines, "\n")+"\n", want+"\n") {
			t.Errorf("the tree lacks %q:\n%s", want, strings.Join(lines, "\n"))
		}
	}
	wantCounts(t, "left out", got.report.LeftOut, map[string]int{
		`events of the category "Remote execution upload time"`: 1, `events of the category "Remote execution setup"`: 1,
	})
}

func TestProfilesOfOtherShapes(t *testing.T) {
	const earlier = "events of an action's earlier spawns"
	const outside = "remote events outside of an action"
	for name, c := range map[string]struct {
		events        []string
		actions, hits int
		stages        []string
		left, changed map[string]int
	}{
		"hit":       {events: []string{check, x("remote output download", "download outputs", 110, 120), done}, actions: 1, hits: 1},
		"local":     {events: []string{x("local action execution", "subprocess.run", 110, 190), done}, actions: 1, left: map[string]int{`events of the category "local action execution"`: 1}},
		"no action": {events: []string{check, call}, left: map[string]int{outside: 2}},
		"outside":   {events: []string{x("remote action execution", "execute remotely", 10, 20), done}, actions: 1, left: map[string]int{outside: 1}},
		"retried":   {events: []string{check, call, call, done}, actions: 1, left: map[string]int{earlier: 1}},
		"two spawns": {events: []string{check, call, x("remote action cache check", "check cache hit", 181, 182), x("remote action execution", "execute remotely", 183, 190), done},
			actions: 1, left: map[string]int{earlier: 2}},
		"queue only": {events: []string{call, queue, done}, actions: 1, stages: []string{"queued 120ms 10ms", "worker 130ms 0s"}},
		"skewed": {events: []string{call, x("Remote execution queuing time", "queue", 1000, 1010), x("Remote execution process wall time", "execute", 1010, 1030), done}, actions: 1,
			stages:  []string{"queued 150ms 10ms", "worker 160ms 20ms", "execute 160ms 20ms"},
			changed: map[string]int{"actions whose worker's clock contradicts the client's: moved into their call": 1}},
		"overlap": {events: []string{x("remote action cache check", "check cache hit", 101, 125), queue, run, done}, actions: 1,
			stages:  []string{"queued 125ms 10ms", "worker 135ms 30ms", "execute 147ms 18ms"},
			changed: map[string]int{"actions whose worker's clock contradicts the client's: moved into their call": 1}},
		"merged": {events: []string{x("Unknown event", "merged 14 events", 1, 2), done}, actions: 1,
			left: map[string]int{"events that stand for several, some of which may be actions: record with --noslim_profile": 1}},
		"no times": {events: []string{`{"ph":"X","cat":"action processing","dur":1}`, `{"ph":"X","cat":"action processing","ts":1e300,"dur":1}`,
			`{"ph":"X","cat":"action processing","ts":1,"dur":-1}`, `{"ph":"X","cat":"action processing","ts":-9223372036854775808,"dur":1}`, done}, actions: 1,
			left: map[string]int{"events whose times are none": 4}},
		"other kinds": {events: []string{`{"ph":7}`, `[]`, `"x"`, `{"ph":"X","tid":1e30}`, `{"ph":"X","ts":"now","dur":1}`, done}, actions: 1,
			left: map[string]int{"events with fields of another kind": 4, "events whose times are none": 1}},
		"more categories": {events: []string{x("action processing,CppCompile", "Compiling a.c", 1, 2)}, actions: 1},
		"fractions":       {events: []string{`{"ph":"X","cat":"action processing","ts":100000.5,"dur":0.25}`}, actions: 1},
		"marks": {events: []string{`{"ph":"i","ts":1}`, `{"ph":"C","args":{"cpu":"1.0"}}`, done}, actions: 1,
			left: map[string]int{"events that have no duration: names of threads, marks and counters": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			got := readTheProfile(t, profileOf(c.events...))
			if got.err != nil || got.report.Actions != c.actions || got.report.CacheHits != c.hits {
				t.Fatalf("got %+v, %v, want %d actions and %d hits", got.report, got.err, c.actions, c.hits)
			}
			if diff := cmp.Diff(c.stages, stagesOf(outline(got.tree(t, invocation)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			wantCounts(t, "left out", got.report.LeftOut, c.left)
			wantCounts(t, "changed", got.report.Changed, c.changed)
		})
	}
}

func TestWhenAProfileBegan(t *testing.T) {
	for _, c := range []struct {
		told    string
		want    time.Time
		changed int
	}{
		{`"date":"Sat Nov 21 19:00:00 UTC 2026"`, epoch, 0},
		{`"date":"Sat Nov 21 19:00:00 GMT 2026"`, epoch, 0},
		{`"date":"Sat Nov 21 21:00:00 GMT+02:00 2026"`, epoch, 0},
		{`"date":"Sat Nov 21 19:00:00 CET 2026"`, epoch, 1}, // an hour late, and it is said
		{`"date":"2026-11-21T19:00:00.25Z","profile_start_ts":1795287600000`, epoch.Add(250 * time.Millisecond), 0},
		{`"profile_start_ts":1795287600125,"date":"whenever"`, epoch.Add(125 * time.Millisecond), 0},
	} {
		got := readTheProfile(t, []byte(`{"otherData":{"build_id":"`+invocation+`",`+c.told+`},"traceEvents":[`+done+`]}`))
		if got.err != nil {
			t.Errorf("%s: %v", c.told, got.err)
			continue
		}
		if start := got.tree(t, invocation).Start; !start.Equal(c.want.Add(100 * time.Millisecond)) {
			t.Errorf("%s: the action is from %v, want %v", c.told, start, c.want.Add(100*time.Millisecond))
		}
		if len(got.report.Changed) != c.changed {
			t.Errorf("%s: changed %v, want %d", c.told, got.report.Changed, c.changed)
		}
	}
}

func TestDamagedProfiles(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	for name, c := range map[string]struct {
		data, want string
		spans      int
	}{
		"nothing":        {"", "the file ends within it", 0},
		"list":           {"[]", "it begins with [, want an object", 0},
		"cut":            {string(profileOf(done))[:len(head)+len(done)+1], "entry 2 at byte", 2},
		"cut in event":   {head + done[:40], "entry 1 at byte", 0},
		"NaN":            {string(profileOf(done, `{"ph":"X","ts":NaN}`)), "entry 2 at byte", 2},
		"long event":     {string(profileOf(done, `{"name":"`+long+`"}`)), "entry 2 at byte", 2},
		"too large":      {string(profileOf(done, `{"name":"`+long+`"}`)), "it is larger than an entry may be: the limit is 1048576 bytes", 2},
		"long rest":      {`{"rest":"` + long + `"}`, "it is larger than an entry may be", 0},
		"deep":           {string(profileOf(done, strings.Repeat("[", 20000))), "exceeded max depth", 2},
		"no build":       {`{"otherData":{"date":"x"},"traceEvents":[]}`, "otherData has no build_id", 0},
		"no date":        {`{"otherData":{"build_id":"x"},"traceEvents":[]}`, `otherData has date "", which doesn't tell when the build began`, 0},
		"before 1970":    {`{"otherData":{"build_id":"x","profile_start_ts":-5},"traceEvents":[]}`, "which no span can tell", 0},
		"other data":     {`{"otherData":7}`, "otherData is not as expected", 0},
		"events first":   {`{"traceEvents":[]}`, "traceEvents come before otherData", 0},
		"no events":      {`{"displayTimeUnit":"ms"}`, "it has no traceEvents", 0},
		"events, a map":  {`{"otherData":{"build_id":"x","profile_start_ts":5},"traceEvents":{}}`, "traceEvents begin with {, want a list", 0},
		"two":            {string(profileOf(done)) + string(profileOf(done)), "something follows the profile", 2},
		"two other data": {strings.TrimSuffix(string(profileOf(done)), "}") + `,"otherData":{"build_id":"y","profile_start_ts":5}}`, "a second otherData", 2},
	} {
		got := readTheProfile(t, []byte(c.data))
		var damaged *foreign.InputError
		if !errors.As(got.err, &damaged) || !strings.Contains(got.err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, got.err, c.want)
		}
		if got.report.Spans != c.spans {
			t.Errorf("%s: %d spans, want %d: what is before the damage", name, got.report.Spans, c.spans)
		}
	}
}

// A report stays readable, whatever the record says.
func TestReasonsAreBounded(t *testing.T) {
	var events []string
	for i := range 500 {
		events = append(events, x(fmt.Sprintf("category %d", i), "", 1, 2))
	}
	got := readTheProfile(t, profileOf(events...))
	total := 0
	for _, c := range got.report.LeftOut {
		total += c.N
	}
	if n := len(got.report.LeftOut); n != 101 || total != 500 {
		t.Errorf("%d reasons for %d events, want 101 for 500", n, total)
	}
}

// FuzzProfile checks that whatever a profile holds, what comes of it keeps to the
// rules of traces, and the same profile gives the same spans.
func FuzzProfile(f *testing.F) {
	f.Add(profileOf(check, inputs, call, queue, setup, fetch, prepare, run, upload, download, done))
	f.Add(profileOf(check, download, done, check, call, done))
	f.Add(profileOf(queue, fetch, x("action processing", "", 150, 155)))
	f.Add(profileOf(`{"ph":"X","ts":NaN}`))
	f.Add(profileOf(`{"ph":"X","cat":"action processing","ts":1e17,"dur":1e17}`))
	f.Add([]byte(head))
	f.Add([]byte(`{"otherData":{"build_id":"x","profile_start_ts":9223372036854775807},"traceEvents":[{"ph":"X"}]}`))
	f.Add([]byte(`{"otherData":{"build_id":"x","date":"Sat Nov 21 19:00:00 XYZ 2026"},"traceEvents":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := readTheProfile(t, data)
		var damaged *foreign.InputError
		if got.err != nil && (!errors.As(got.err, &damaged) || damaged.Offset > int64(len(data))) {
			t.Errorf("got %v for %d bytes", got.err, len(data))
		}
		if again := readTheProfile(t, data); !proto.Equal(got.spans, again.spans) {
			t.Error("two imports differ")
		}
	})
}
