package render_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	stdhtml "html"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/reports/render"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/traces/tracetest"
)

var update = flag.Bool("update", false, "write the golden files")

var start = time.Date(2026, 11, 21, 19, 0, 0, 400e6, time.UTC)

const traceURL = "http://127.0.0.1:16686/trace/{{.TraceID}}"

func html(t testing.TB, r *result.Result, o render.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := render.HTML(&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func markdown(t testing.TB, r *result.Result, o render.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := render.Markdown(&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// judged fills in the verdict.
func judged(t testing.TB, r *result.Result, objectives ...string) *result.Result {
	t.Helper()
	var all []result.Expr
	for _, text := range objectives {
		e, err := result.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	r.Judge(all)
	return r
}

func run() result.Run {
	return result.Run{
		ID: "2026-11-21-rush-hour", Scenario: "rush-hour", Seed: 7, Start: start, Origin: "live", Target: "grpc://weir.example:8980",
		Server:      map[string]string{"api": "2.3", "digestFunctions": "[SHA256]", "executes": "true"},
		Environment: map[string]string{"host": "bench-1", "cpus": "16", "os": "linux/amd64"},
		Notes:       []string{`preset "object-file" is assumed: nobody has published such figures`},
	}
}

// small is a run of three seconds in which everything happens once.
func small(t testing.TB) *result.Result {
	recorder := result.NewRecorder(run())
	recorder.InFlight(start, 2)
	for i, outcome := range []string{result.Executed, result.Cached, result.ActionFailed, result.ActionError} {
		intended := start.Add(time.Duration(i) * 700 * time.Millisecond)
		a := &result.Action{
			ActionKey: result.ActionKey{Class: "compile", Outcome: outcome}, Name: fmt.Sprintf("//x:%d", i), Worker: "worker-1", TraceID: strings.Repeat("0a", 16),
			Intended: intended, Sent: intended.Add(2 * time.Millisecond), End: intended.Add(300 * time.Millisecond),
			Queue: 100 * time.Millisecond, Fetch: 20 * time.Millisecond, Run: 120 * time.Millisecond, Upload: 8 * time.Millisecond,
		}
		if outcome == result.ActionError {
			a.GRPCode, a.Message = "UNAVAILABLE", "connection to worker-1 lost"
		}
		recorder.Action(a)
		c := &result.Call{
			CallKey:  result.CallKey{Method: "ActionCache/GetActionResult", Status: "NOT_FOUND", Cache: "miss"},
			Intended: intended, Sent: intended.Add(time.Millisecond), End: intended.Add(time.Duration(i+4) * time.Millisecond), BytesSent: 80, BytesReceived: 1200,
		}
		recorder.Call(c)
		c.CallKey = result.CallKey{Method: "ByteStream/Read", Status: "OK", SizeClass: result.SizeClass(int64(i) * 600)}
		recorder.Call(c)
	}
	recorder.Call(&result.Call{
		CallKey:  result.CallKey{Method: "ContentAddressableStorage/BatchUpdateBlobs", Status: "OK", Phase: "prepare"},
		Intended: start.Add(-time.Second), Sent: start.Add(-time.Second), End: start, Blobs: 12, BytesSent: 1e6,
	})
	recorder.Build(result.Build{ID: "builds/0", TraceID: strings.Repeat("0a", 16), Start: start.Add(10 * time.Millisecond), Delay: 10 * time.Millisecond, Makespan: 2400 * time.Millisecond, Ideal: time.Second, Actions: 4, CacheHits: 1, FailedCount: 2})
	recorder.Dropped(start.Add(2 * time.Second))
	recorder.Violation("corrupt_blob", "blob 9f86…/1024 has other bytes")
	recorder.SetGenerator(result.Generator{CPUs: 16, CPUMean: 0.12, CPUMax: 0.4, MachineMax: 0.5, GCPause: time.Millisecond, HeapMax: 80 << 20})
	return judged(t, recorder.Result(start.Add(3*time.Second)), "action.response.p99 < 2s", "errors < 1%", "build.slowdown.p90 < 2")
}

// rushHour is a run of five minutes: demand grows, the queue with it, a server is away
// for a while.
func rushHour(t testing.TB) *result.Result {
	recorder := result.NewRecorder(run())
	r := rand.New(rand.NewPCG(7, 7))
	classes := []string{"compile", "link", "test", "genrule"}
	ms := func(mean float64) time.Duration { return time.Duration(r.ExpFloat64() * mean * 1e6) }
	const length = 300
	for i := 0; ; i++ {
		at := time.Duration(i) * 25 * time.Millisecond
		if at >= length*time.Second {
			break
		}
		load := at.Seconds() / length
		intended := start.Add(at)
		delay := ms(0.3)
		away := at > 180*time.Second && at < 195*time.Second
		a := &result.Action{
			ActionKey: result.ActionKey{Class: classes[min(r.IntN(7), 3)], Outcome: result.Executed}, Name: fmt.Sprintf("//src/pkg_%d:lib", i%90), Worker: fmt.Sprintf("worker-%d", r.IntN(8)),
			TraceID: fmt.Sprintf("%032x", i+1), Intended: intended, Sent: intended.Add(delay),
			Queue: ms(30 + 3000*load*load), Fetch: ms(25), Run: ms(400), Upload: ms(12),
		}
		a.End = a.Sent.Add(a.Queue + a.Fetch + a.Run + a.Upload + ms(15))
		switch {
		case away && r.IntN(2) == 0:
			a.Outcome, a.GRPCode, a.Message, a.End = result.ActionError, "UNAVAILABLE", fmt.Sprintf("connection to 10.0.0.%d:8980 refused", r.IntN(200)), a.Sent.Add(ms(4))
		case r.IntN(3) == 0:
			a.Outcome, a.End = result.Cached, a.Sent.Add(2*time.Millisecond+ms(6))
		case r.IntN(300) == 0:
			a.Outcome = result.ActionFailed
		}
		recorder.Action(a)
		recorder.InFlight(intended, int64(20+200*load*load+5*r.Float64()))
		for _, method := range []string{"ActionCache/GetActionResult", "ContentAddressableStorage/FindMissingBlobs", "ByteStream/Read", "ContentAddressableStorage/BatchUpdateBlobs"} {
			c := &result.Call{CallKey: result.CallKey{Method: method, Status: "OK"}, Intended: intended, Sent: intended.Add(delay), Blobs: 3, BytesSent: 300, BytesReceived: 900, TraceID: a.TraceID}
			c.End = c.Sent.Add(time.Millisecond + ms(2+5*load))
			switch method {
			case "ActionCache/GetActionResult":
				c.Cache = "hit"
				if a.Outcome != result.Cached {
					c.Status, c.Cache = "NOT_FOUND", "miss"
				}
			case "ByteStream/Read":
				bytes := int64(r.ExpFloat64() * r.ExpFloat64() * 2e5)
				c.BytesReceived, c.SizeClass = bytes, result.SizeClass(bytes)
			}
			if away && r.IntN(3) == 0 {
				c.Status, c.Failed, c.Message, c.Cache = "UNAVAILABLE", true, fmt.Sprintf("connection to 10.0.0.%d:8980 refused", r.IntN(200)), ""
			}
			recorder.Call(c)
		}
		if away && i%9 == 0 {
			recorder.Dropped(intended)
		}
		if i%100 == 0 {
			ideal := 2*time.Second + ms(1500)
			b := result.Build{
				ID: fmt.Sprintf("developers/%d", i/100), TraceID: a.TraceID, Start: a.Sent, Delay: delay, Ideal: ideal, Makespan: time.Duration(float64(ideal) * (1.2 + 3*load*r.Float64())),
				Actions: 100, CacheHits: r.IntN(60),
			}
			if away {
				b.FailedCount, b.Delay, b.Start = 3, delay+2*time.Second, a.Sent.Add(2*time.Second)
			}
			b.Cancelled = i%1700 == 0
			recorder.Build(b)
		}
	}
	for range 3 {
		recorder.Violation("incomplete_result", "action 9f86d081…/142 names output 60303ae2…/11, which the CAS doesn't have")
	}
	recorder.SetGenerator(result.Generator{CPUs: 16, CPUMean: 0.12, CPUMax: 0.43, MachineMax: 0.5, GCPause: 400 * time.Microsecond, HeapMax: 80 << 20})
	return judged(t, recorder.Result(start.Add(length*time.Second)), "action.response.p99 < 5s", "errors < 1%", "build.slowdown.p90 < 3", "integrity == 0", "dropped == 0")
}

func TestSmallRun(t *testing.T) {
	r := small(t)
	tracetest.Golden(t, *update, "small.html", []byte(html(t, r, render.Options{TraceURL: traceURL})))
	tracetest.Golden(t, *update, "small.md", []byte(markdown(t, r, render.Options{TraceURL: traceURL})))
}

// section returns a part of a page.
func section(t *testing.T, page, id string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `<section id="`+id+`"`)
	content, _, closed := strings.Cut(rest, "</section>")
	if !ok || !closed {
		t.Fatalf("the page has no section %q", id)
	}
	return content
}

func TestRushHourIsTold(t *testing.T) {
	r := rushHour(t)
	page := html(t, r, render.Options{TraceURL: traceURL})
	for id, wants := range map[string][]string{
		"verdict":     {"<b>failed</b>", "action.response.p99 &lt; 5s", `<td class="bad">no</td>`},
		"run":         {"rush-hour", "grpc://weir.example:8980", "5m", "bench-1", "nobody has published"},
		"times":       {"genrule", "executed", "12,000", "NOT_FOUND", "miss", "UNAVAILABLE", "1M-10M"},
		"percentiles": {"Response times of actions", "Response times of calls", ">99.9<", "schedule delay"},
		"timeline":    {"Throughput", "In flight", "Errors and dropped", "66 dropped", ">4m<"},
		"stages":      {"Most of it is queue", "seconds in the stage for each second", "genrule (4,373)"},
		"builds":      {"makespan", "slowdown", "developers/83", "cancelled"},
		"errors":      {"transport", "refused", `href="http://127.0.0.1:16686/trace/0000`},
		"slowest":     {"//src/pkg_", "worker-", "ByteStream/Read"},
		"integrity":   {"incomplete_result", ">3<"},
		"generator":   {"10ms", "80 %", "schedule delay"},
	} {
		for _, want := range wants {
			if !strings.Contains(section(t, page, id), want) {
				t.Errorf("section %s lacks %q", id, want)
			}
		}
	}
	if plots, captions := strings.Count(page, "<svg"), strings.Count(page, "<figcaption>"); plots < 10 || captions != plots || strings.Contains(page, "<figcaption></figcaption>") {
		t.Errorf("%d plots, %d captions; want one for each", plots, captions)
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
		t.Error("the page has a number that is none")
	}
}

func TestEmptySectionsSaySo(t *testing.T) {
	r := judged(t, &result.Result{Schema: result.Schema})
	page := html(t, r, render.Options{})
	for id, want := range map[string]string{
		"verdict": "nothing was measured", "times": "There were no calls", "percentiles": "Nothing was measured", "timeline": "Nothing happened", "stages": "No action ran",
		"builds": "There were no builds", "errors": "There were none", "slowest": "Nothing was measured", "integrity": "Nothing was found",
	} {
		if !strings.Contains(section(t, page, id), want) {
			t.Errorf("section %s lacks %q", id, want)
		}
	}
	if text := markdown(t, r, render.Options{}); !strings.HasPrefix(text, render.Marker+"\n## a run: invalid\n") {
		t.Errorf("got %.80q", text)
	}
}

func TestPreparationStandsApart(t *testing.T) {
	page := section(t, html(t, small(t), render.Options{}), "times")
	before, after, _ := strings.Cut(page, "<summary>Preparation")
	const method = "ContentAddressableStorage/BatchUpdateBlobs"
	if strings.Contains(before, method) || !strings.Contains(after, method) {
		t.Error("the calls of the preparation aren't in their own table")
	}
	if strings.Contains(markdown(t, small(t), render.Options{}), method) {
		t.Error("calls of the preparation are in the Markdown")
	}
}

func TestSimulatedRunsHaveNoGenerator(t *testing.T) {
	r := small(t)
	r.Run.Origin = "simulated"
	page := html(t, r, render.Options{})
	if got := section(t, page, "generator"); strings.Contains(got, "<table") || !strings.Contains(got, "simulated") {
		t.Errorf("got %s", got)
	}
	if strings.Contains(markdown(t, r, render.Options{}), "### Generator") {
		t.Error("the Markdown has a generator")
	}
	if !strings.Contains(section(t, page, "timeline"), "Throughput: calls") {
		t.Error("it has calls and no plot of them")
	}
	r.Calls = nil
	for i := range r.Timeline.Intervals {
		r.Timeline.Intervals[i].Calls, r.Timeline.Intervals[i].CallsFailed = 0, 0
	}
	page = html(t, r, render.Options{})
	for of, words := range map[string][]string{"percentiles": {"service: end − sent", "The gap between the curves"}, "timeline": {"Schedule delay", "Throughput: calls", "MB/s of messages"}} {
		for _, word := range words {
			if strings.Contains(section(t, page, of), word) {
				t.Errorf("a simulation, which has no calls and no delays, has %q among its %s", word, of)
			}
		}
	}
}

// Equal results give equal bytes, and reading a result doesn't change it.
func TestReportsAreFunctionsOfTheResult(t *testing.T) {
	r := rushHour(t)
	file := func() string {
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	before := file()
	page, text := html(t, r, render.Options{}), markdown(t, r, render.Options{})
	if file() != before {
		t.Error("the result has changed")
	}
	again, err := result.Read(strings.NewReader(before))
	if err != nil {
		t.Fatal(err)
	}
	if html(t, again, render.Options{}) != page || markdown(t, again, render.Options{}) != text {
		t.Error("the reports of the same result differ")
	}
}

func TestTraceURLs(t *testing.T) {
	r := small(t)
	for text, want := range map[string]string{
		"javascript:alert(1)//{{.TraceID}}": "want http", "ftp://x/{{.TraceID}}": "want http", "/trace/{{.TraceID}}": "want http", "http://x/{{.Trace}}": "trace URL", "http://x/{{": "trace URL",
	} {
		o := render.Options{TraceURL: text}
		for _, err := range []error{render.HTML(io.Discard, r, o), render.Markdown(io.Discard, r, o)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", text, err, want)
			}
		}
	}
	const good = "https://jaeger.example/trace/{{.TraceID}}"
	for id, link := range map[string]bool{strings.Repeat("0a", 16): true, "": false, `"><b>`: false, "../../x": false, strings.Repeat("a", 33): false} {
		for i := range r.Errors {
			r.Errors[i].TraceID = id
		}
		if got := strings.Contains(section(t, html(t, r, render.Options{TraceURL: good}), "errors"), "jaeger.example"); got != link {
			t.Errorf("trace %q is a link: %v, want %v", id, got, link)
		}
	}
	if strings.Contains(html(t, small(t), render.Options{}), "<a href=\"http") {
		t.Error("there are links without a trace URL")
	}
}

// The page says what is where without a network: its policy allows its own style only.
func TestPolicyAllowsOnlyTheStyle(t *testing.T) {
	page := html(t, small(t), render.Options{})
	_, rest, _ := strings.Cut(page, `http-equiv="Content-Security-Policy" content="`)
	policy, rest, _ := strings.Cut(rest, `"`)
	_, rest, _ = strings.Cut(rest, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:;"
	if got := stdhtml.UnescapeString(policy); !strings.HasPrefix(got, want) {
		t.Errorf("the policy is %q, want %q", got, want)
	}
	if strings.Contains(page, "<script") || strings.Contains(page, " style=") {
		t.Error("the page has a script, or a style beside that of its head")
	}
}

// Pages of ours look alike: a colour has one value.
func TestColoursAreThoseOfTheWaterfall(t *testing.T) {
	colours := func(path string) map[string][]string {
		css, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string][]string) // first the light one, then the dark one
		for _, m := range regexp.MustCompile(`(--[\w-]+): ([^;]+);`).FindAllStringSubmatch(string(css), -1) {
			all[m[1]] = append(all[m[1]], m[2])
		}
		return all
	}
	theirs, same := colours("../../traces/waterfall/assets/page.css"), 0
	for name, ours := range colours("assets/page.css") {
		if want, ok := theirs[name]; ok {
			same++
			if !slices.Equal(ours, want) {
				t.Errorf("%s is %q, in traces/waterfall %q", name, ours, want)
			}
		}
	}
	if same < 15 {
		t.Errorf("only %d colours are the same", same)
	}
}

// TestWhoAskedHasATable: of several streams, on the page and in Markdown; of one there is none.
func TestWhoAskedHasATable(t *testing.T) {
	recorder := result.NewRecorder(result.Run{ID: "1", Scenario: "s", Start: start, Origin: "simulated"})
	for i, stream := range []string{"batch", "people", "people"} {
		recorder.Action(&result.Action{
			ActionKey: result.ActionKey{Class: "compile", Outcome: result.Executed, Stream: stream, Platform: []string{"size=large", "", ""}[i]},
			Intended:  start, Sent: start, End: start.Add(6 * time.Second), Queue: 4 * time.Second, Run: 2 * time.Second,
		})
		recorder.Build(result.Build{Stream: stream, Start: start, Makespan: 6 * time.Second, Ideal: 2 * time.Second})
	}
	r := recorder.Result(start.Add(time.Minute))
	r.Fairness = &result.Fairness{Resolution: 10 * time.Millisecond, Contended: 4 * time.Second, Jain: 0.9, Streams: []result.StreamShare{
		{Stream: "batch", Share: 0.25, Contended: 4 * time.Second, OfEven: 1.25}, {Stream: "people", Share: 0.75, Contended: 4 * time.Second, OfEven: 0.75},
	}}
	md := markdown(t, r, render.Options{})
	for _, want := range []string{"| batch | 1 | 3× | 3× | 1 | 4s | 4s | 4s | 2s | 3× | 25 % | 1.25× |", "| people | 2 |", "| any | 2 |", "| size=large | 1 |", "Jain's index of their shares is 0.9"} {
		if !strings.Contains(md, want) {
			t.Errorf("no %q in\n%s", want, md)
		}
	}
	if page := html(t, r, render.Options{}); !strings.Contains(page, "by who asked") || !strings.Contains(page, "size=large") {
		t.Error("the page has no tables of streams and platforms")
	}
	if one := markdown(t, small(t), render.Options{}); strings.Contains(one, "who asked") {
		t.Error("there is a table although nobody is known to have asked")
	}
}
