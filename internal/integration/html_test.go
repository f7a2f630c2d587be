//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// hostileTarget would be a script, if the page took it for anything but text.
const hostileTarget = `//hostile:</script><script>window.hostile = 1</script><img src=x onerror="window.hostile = 2">`

// writeBuild writes the spans of a build with so many spans at least, on 50
// workers, and returns the file and how many actions it has. The first action is
// hostileTarget, the second failed.
func writeBuild(t *testing.T, spanCount int) (path string, actions int) {
	t.Helper()
	const workers = 50
	root := tracecontext.OfInvocation("page")
	start := time.Date(2026, 11, 21, 19, 0, 0, 123456789, time.UTC)
	var spans []build.Span
	end := start
	for ; len(spans) < spanCount; actions++ {
		from := start.Add(time.Duration(actions/workers)*time.Second + time.Duration(actions%workers)*10*time.Millisecond)
		at := func(ms int) time.Time { return from.Add(time.Duration(ms) * time.Millisecond) }
		stamp := func(ms int) *timestamppb.Timestamp { return timestamppb.New(at(ms)) }
		worker := fmt.Sprintf("worker-%d", actions%workers)
		end = at(1000)
		target := fmt.Sprintf("//package%d:target_%d_", actions%97, actions)
		result := &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{
			Worker: worker, WorkerStartTimestamp: stamp(110), WorkerCompletedTimestamp: stamp(980),
			InputFetchStartTimestamp: stamp(120), InputFetchCompletedTimestamp: stamp(200),
			ExecutionStartTimestamp: stamp(210), ExecutionCompletedTimestamp: stamp(900 - actions%300),
			OutputUploadStartTimestamp: stamp(910), OutputUploadCompletedTimestamp: stamp(970),
		}}
		switch actions {
		case 0:
			target = hostileTarget
		case 1:
			result.ExitCode = 3
		}
		spans = build.Spans(&build.Action{
			Context: root.Child(semconv.SpanAction, uint64(actions)), Parent: root.Span, Received: from, Done: end,
			CacheCheck: build.Interval{Start: from, End: at(5)},
			Attempts:   []build.Attempt{{Queued: at(10), Leased: at(100), Ended: at(990), Worker: worker, QueueReason: semconv.ReasonBusy, Counts: true}},
			Result:     result,
			Attributes: []build.Attribute{
				build.Text(semconv.AttrActionMnemonic, "CppCompile"), build.Text(semconv.AttrTargetID, target),
				build.Text(semconv.AttrActionDigest, fmt.Sprintf("%064x/142", actions)), build.Text(semconv.AttrCacheResult, semconv.CacheMiss),
			},
		}, spans)
	}
	spans = append(spans, build.Span{
		Name: semconv.SpanInvocation, ID: root, Start: start, End: end,
		Attributes: []build.Attribute{build.Text(semconv.AttrInvocationID, "page"), build.Text(semconv.AttrToolName, "bazel")},
	})
	file, err := os.Create(filepath.Join(t.TempDir(), "spans.otlp"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := otlpfile.NewWriter(file)
	for batch := range slices.Chunk(spans, 10_000) {
		record := []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: build.OTLP(batch)}}}}
		if err := w.Write(record); err != nil {
			t.Fatal(err)
		}
	}
	return file.Name(), actions
}

func TestPageOfBuild(t *testing.T) {
	for _, spans := range []int{100, 100_000} {
		t.Run(fmt.Sprintf("spans=%d", spans), func(t *testing.T) {
			b := browse(t)
			path, actions := writeBuild(t, spans)
			page := filepath.Join(t.TempDir(), "page.html")
			weir := launch(t, t.TempDir(), nil, filepath.Join(programs, "weir"), "trace", "html", path, "-o", page)
			if code := weir.wait(t, startLimit); code != 0 {
				t.Fatalf("weir trace html: exit code %d: %s", code, weir.text(t))
			}
			t.Log(weir.text(t))
			b.must("Page.navigate", map[string]any{"url": "file://" + page}, nil)
			b.until("the page is drawn", "window.weirTimings !== undefined && window.weirTimings.ready > 0")
			wantHead(t, b, actions)
			wantRows(t, b)
			wantSearch(t, b, actions)
			wantFilters(t, b)
			wantWorkers(t, b)
			t.Logf("timings, in ms: %s", b.eval("JSON.stringify(window.weirTimings)"))
			t.Logf("frames while scrolling and zooming, in ms: %s", b.eval(frames))

			if complaints := b.complaints(); len(complaints) > 0 {
				t.Errorf("the page complains: %q", complaints)
			}
			if got := b.eval("window.hostile"); got != "undefined" {
				t.Errorf("the name of a target was run as a script: %s", got)
			}
			for _, url := range b.requests() {
				if url != "file://"+page && url != "about:blank" {
					t.Errorf("the page requested %s", url)
				}
			}
		})
	}
}

// rows is the text of the rows in sight.
const rows = `[...document.querySelectorAll(".row:not([hidden])")].map((row) => row.textContent).join("\n")`

// details is the text of the pane about the chosen span.
const details = `document.getElementById("details").textContent`

func wantHead(t *testing.T, b *browser, actions int) {
	t.Helper()
	head := strings.ReplaceAll(b.eval(`document.querySelector("header").textContent`), ",", "")
	for _, want := range []string{"Build page", "toolbazel", "started2026-11-21 19:00:00 UTC", fmt.Sprintf("actions%d", actions), "failed1", "execute"} {
		if !strings.Contains(head, want) {
			t.Errorf("the head lacks %q:\n%s", want, head)
		}
	}
}

func wantRows(t *testing.T, b *browser) {
	t.Helper()
	got := b.eval(rows)
	for _, want := range []string{"invocation", "CppCompile " + hostileTarget, "FAILED exit 3"} {
		if !strings.Contains(got, want) {
			t.Errorf("the rows lack %q:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n < 8 || n > 60 {
		t.Errorf("%d rows have elements, want those in sight", n)
	}
}

// wantSearch finds an action far down by the keyboard alone, and opens it.
func wantSearch(t *testing.T, b *browser, actions int) {
	t.Helper()
	target := fmt.Sprintf("target_%d_", actions-1)
	b.key("/")
	b.write(target)
	b.until("the search has found the target", `document.getElementById("found").textContent === "1 found"`)
	b.key("Enter")
	b.until("the details name the target", fmt.Sprintf(`!document.getElementById("details").hidden && %s.includes(%q)`, details, target))
	b.key("Escape")
	b.until("the search has ended", `document.getElementById("found").textContent === ""`)
	b.until("the chosen action is in sight", fmt.Sprintf(`document.querySelector(".row.chosen")?.textContent.includes(%q)`, target))
	// In a small build it is open already.
	const isOpen = `document.querySelector(".row.chosen")?.getAttribute("aria-expanded") === "true"`
	if b.eval(isOpen) != "true" {
		b.key("ArrowRight")
	}
	b.until("the chosen action is open", isOpen)
	// Its stages are below it.
	b.key("ArrowDown")
	b.until("the row below is chosen", `document.querySelector(".row.chosen .label")?.textContent.startsWith("cache_check")`)
	const atCommand = `document.querySelector(".row.chosen .label")?.textContent === "execute"`
	for range 12 {
		if b.eval(atCommand) == "true" {
			break
		}
		b.key("ArrowDown")
	}
	b.until("its command is chosen", atCommand)
	// To the worker, which is closed first, and on to the action.
	b.key("ArrowLeft")
	b.key("ArrowLeft")
	b.key("ArrowLeft")
	b.until("its action is chosen", fmt.Sprintf(`document.querySelector(".row.chosen")?.textContent.includes(%q)`, target))
	got := b.eval(details)
	for _, want := range []string{
		"Stages", "Times", "Attributes", "rbe.action.digest", fmt.Sprintf("%064x/142", actions-1), "rbe.cache.result", "miss",
		"1.00 s", "1,000,000,000 ns", "3456789 UTC", "span id", "trace id", tracecontext.OfInvocation("page").Trace.String(),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the details lack %q:\n%s", want, got)
		}
	}
	b.key("Escape")
	b.until("nothing is chosen", `document.getElementById("details").hidden`)
}

func wantFilters(t *testing.T, b *browser) {
	t.Helper()
	all := b.eval(`view.rows.length`)
	b.key("c")
	b.until("only the critical path is shown", `document.getElementById("critical").getAttribute("aria-pressed") === "true" && view.rows.length < `+all)
	if got := b.eval(rows); !strings.Contains(got, "critical") {
		t.Errorf("the critical path isn't marked:\n%s", got)
	}
	b.key("c")
	b.key("f")
	b.until("only what failed is shown", `document.getElementById("failed").getAttribute("aria-pressed") === "true" && `+rows+`.includes("FAILED exit 3")`)
	if got := b.eval(rows); strings.Contains(got, hostileTarget) {
		t.Errorf("what didn't fail is shown too:\n%s", got)
	}
	b.key("f")
	b.until("all is shown again", `view.rows.length === `+all)
}

func wantWorkers(t *testing.T, b *browser) {
	t.Helper()
	b.key("w")
	b.until("the workers are shown", rows+`.includes("ran · busy")`)
	if got := b.eval(rows); !strings.Contains(got, "worker-0") || strings.Contains(got, "invocation") {
		t.Errorf("the workers' rows:\n%s", got)
	}
	// A click on the first lane, where the first action ran, chooses it.
	var left, top, width, seconds float64
	bars := b.eval(`(() => {
		const box = document.getElementById("bars").getBoundingClientRect();
		return [box.left, box.top, box.width, trace.duration / 1e9].join(" ");
	})()`)
	if _, err := fmt.Sscan(bars, &left, &top, &width, &seconds); err != nil {
		t.Fatalf("%s: %v", bars, err)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.must("Input.dispatchMouseEvent", map[string]any{
			"type": kind, "x": left + width*0.5/seconds, "y": top + 10, "button": "left", "clickCount": 1,
		}, nil)
	}
	b.until("the details show the first action", fmt.Sprintf("%s.includes(%q)", details, hostileTarget))
	b.key("w")
	b.until("the waterfall is back", rows+`.includes("invocation")`)
}

// frames scrolls and zooms, and returns the times until the frame after next was
// due, sorted.
const frames = `(async () => {
	const frame = () => new Promise((r) => requestAnimationFrame(r));
	const took = [];
	for (let k = 0; k < 20; k++) {
		const began = performance.now();
		document.getElementById("scroll").scrollTop += 999;
		document.getElementById(k % 5 ? "zoom-in" : "zoom-all").click();
		await frame();
		await frame();
		took.push(Math.round(performance.now() - began));
	}
	return took.sort((a, b) => a - b);
})()`
