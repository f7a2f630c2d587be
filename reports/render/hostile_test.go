package render_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-build/weir/reports/render"
	"github.com/weir-build/weir/reports/result"
)

// hostile is what names and messages of others may be.
const hostile = `</title></style></script><script>alert(1)</script><img src=http://hostile.example/x onerror=alert(2)>` + "<!-- --> ]]> \u202e {{.}} ${x} \" ' ` `` | [x](http://hostile.example) @everyone #1 *b* _i_ \\ \x00\n\n# heading\n| a | b |\n"

// spoil puts a text wherever a result has one.
func spoil(r *result.Result, text string) {
	r.Run.ID, r.Run.Scenario, r.Run.Target, r.Run.Origin = text, text, text, text
	r.Run.Server, r.Run.Environment, r.Run.Notes = map[string]string{text: text}, map[string]string{text: text}, []string{text, "- " + text, "1. " + text}
	r.Verdict.Reasons = append(r.Verdict.Reasons, text)
	for i := range r.Verdict.Objectives {
		o := &r.Verdict.Objectives[i]
		o.Expr, o.Text, o.Problem = text, text, text
	}
	for i := range r.Calls {
		r.Calls[i].Method, r.Calls[i].Status, r.Calls[i].SizeClass, r.Calls[i].Cache = text+fmt.Sprint(i), text, text, text
	}
	for i := range r.Actions {
		r.Actions[i].Class = text
	}
	for i := range r.Builds.Longest {
		b := &r.Builds.Longest[i]
		b.ID, b.Invocation, b.TraceID, b.Err = text, text, text, text
	}
	for i := range r.Errors {
		e := &r.Errors[i]
		e.Method, e.Status, e.Reason, e.Message, e.Example, e.TraceID = text, text, text, text, text, text
	}
	for i := range r.Slowest {
		s := &r.Slowest[i]
		s.Kind, s.Name, s.Status, s.Worker, s.TraceID = text+fmt.Sprint(i), text, text, text, text
	}
	for i := range r.Integrity {
		r.Integrity[i].Kind, r.Integrity[i].Example = text, text
	}
}

func TestHostileTextStaysText(t *testing.T) {
	r := small(t)
	harmless := html(t, r, render.Options{})
	spoil(r, "x")
	lines := strings.Count(markdown(t, r, render.Options{}), "\n|")
	spoil(r, hostile)
	page := html(t, r, render.Options{TraceURL: traceURL})
	for _, markup := range []string{"<script", "</script", "<img", "<!--", "<style", "</style", "</title>\n", "<a href=\"http"} {
		if got, want := strings.Count(page, markup), strings.Count(harmless, markup); got != want {
			t.Errorf("the page has %d times %q, want %d", got, markup, want)
		}
	}
	if !strings.Contains(page, "&lt;script&gt;alert(1)") {
		t.Error("the text is nowhere to be read")
	}

	text := markdown(t, r, render.Options{TraceURL: traceURL})
	if !strings.HasPrefix(text, render.Marker+"\n") {
		t.Errorf("got %.60q", text)
	}
	text = strings.TrimPrefix(text, render.Marker)
	for _, markup := range []string{"<", "@everyone", "http://", "\u202e", "\n# "} {
		if strings.Contains(text, markup) {
			t.Errorf("the Markdown has %q", markup)
		}
	}
	for _, special := range []string{"`", "*b", "_i", "[x", "#1", "$"} {
		if m := regexp.MustCompile(`[^\\]` + regexp.QuoteMeta(special)).FindString(text); m != "" {
			t.Errorf("the Markdown has %q unescaped: %q", special, m)
		}
	}
	// What begins a line is ours, and no cell has become two.
	if got := strings.Count(text, "\n|"); got != lines {
		t.Errorf("%d lines of tables, want %d", got, lines)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "- - ") || strings.HasPrefix(line, "- 1. ") {
			t.Errorf("a note begins another list: %.30q", line)
		}
	}
	cells := 0
	for line := range strings.SplitSeq(text, "\n") {
		n := strings.Count(strings.ReplaceAll(strings.ReplaceAll(line, `\\`, ""), `\|`, ""), "|")
		if strings.HasPrefix(line, "|") && cells != 0 && n != cells {
			t.Errorf("a line of %d cells in a table of %d: %.60q", n-1, cells-1, line)
		}
		if cells = n; !strings.HasPrefix(line, "|") {
			cells = 0
		}
	}
}

// large is a result with all that a recorder keeps, and texts that grow when escaped.
func large(t testing.TB) *result.Result {
	recorder := result.NewRecorder(run())
	long := strings.Repeat(`"'<&+|`+"`", 100)
	for i := range 2 * result.MaxKeys {
		at := start.Add(time.Duration(i) * time.Second)
		word := fmt.Sprint(long, i)
		outcome := []string{result.Executed, result.ActionError}[i%2]
		recorder.Action(&result.Action{
			ActionKey: result.ActionKey{Class: word, Outcome: outcome, Phase: []string{"", "", "prepare"}[i%3]}, Name: long, Worker: long, TraceID: strings.Repeat("a", 32), Message: word, GRPCode: long,
			Intended: at, Sent: at, End: at.Add(time.Duration(i) * time.Millisecond), Queue: time.Second, Run: time.Second,
		})
		recorder.Call(&result.Call{
			CallKey:  result.CallKey{Method: word, Status: long, SizeClass: long, Cache: long, Phase: []string{"", "", "prepare"}[i%3]},
			Intended: at, Sent: at, End: at.Add(time.Duration(i) * time.Millisecond), Failed: true, Message: word, BytesSent: math.MaxInt32,
		})
		recorder.Build(result.Build{ID: word, Start: at, Delay: time.Second, Makespan: time.Duration(i) * time.Second, Ideal: time.Second, Err: long, TraceID: strings.Repeat("a", 32)})
		recorder.Violation(word, long)
		recorder.Note(word)
		recorder.InFlight(at, int64(i))
	}
	r := recorder.Result(start.Add(2 * result.MaxKeys * time.Second))
	r.Run.Server, r.Run.Environment = make(map[string]string), make(map[string]string)
	for i := range 1000 {
		r.Run.Server[fmt.Sprint(i, long)], r.Run.Environment[fmt.Sprint(i, long)] = long, long
		r.Verdict.Reasons = append(r.Verdict.Reasons, long)
		r.Verdict.Objectives = append(r.Verdict.Objectives, result.Objective{Expr: long, Text: long})
	}
	return r
}

func TestReportsAreBounded(t *testing.T) {
	o := render.Options{TraceURL: traceURL}
	r := large(t)
	page, text := html(t, r, o), markdown(t, r, o)
	t.Logf("%d bytes of HTML, %d of Markdown", len(page), len(text))
	if len(page) > render.MaxPage {
		t.Errorf("the page has %d bytes, want at most %d", len(page), render.MaxPage)
	}
	if len(text) > render.MaxMarkdown {
		t.Errorf("the Markdown has %d bytes, want at most %d", len(text), render.MaxMarkdown)
	}
	if !strings.Contains(page, "more left out here; results.json has all.") {
		t.Error("the page doesn't say that something is left out")
	}
	if !strings.HasSuffix(text, "\nThe rest is left out: see the page of this run.\n") {
		t.Errorf("the Markdown ends with %q", text[len(text)-80:])
	}
}

// FuzzReports: whatever can be read can be reported, within the bounds.
func FuzzReports(f *testing.F) {
	for _, r := range []*result.Result{small(f), {Schema: result.Schema}} {
		var file bytes.Buffer
		if err := r.Write(&file); err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes())
	}
	f.Add([]byte(`{"schema":"weir-result/v1","run":{"start":"2300-01-01T00:00:00Z"},"builds":{"count":1,"longest":[{"start":"0001-01-01T00:00:00Z","makespan":9223372036854775807,"ideal":-5,"delay":-9223372036854775808}]},
"timeline":{"width":1000000000,"intervals":[{"start":"1970-01-01T00:00:00Z","calls":-4,"inFlight":9223372036854775807,"queue":-7},{"start":"2199-01-01T00:00:00Z","calls":9223372036854775807,"run":9223372036854775807}]},
"generator":{"cpuMean":1e308,"delayP99":-9223372036854775808}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := result.Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		page, text := html(t, r, render.Options{TraceURL: traceURL}), markdown(t, r, render.Options{TraceURL: traceURL})
		if len(page) > render.MaxPage || len(text) > render.MaxMarkdown {
			t.Errorf("%d bytes of HTML, %d of Markdown", len(page), len(text))
		}
		if strings.Contains(page, `"MNaN`) || strings.Contains(page, "Inf ") {
			t.Error("the page has a path with a number that is none")
		}
	})
}

func TestWriterErrorsAreReturned(t *testing.T) {
	broken, to := io.Pipe()
	broken.Close()
	for _, err := range []error{render.HTML(to, small(t), render.Options{}), render.Markdown(to, small(t), render.Options{})} {
		if err != io.ErrClosedPipe {
			t.Errorf("got %v, want %v", err, io.ErrClosedPipe)
		}
	}
}

// A browser shows the page as it is meant, and asks nobody for anything.
func TestPageInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("needs chromium: %v", err)
	}
	// All that the browser asks for, even of this machine, goes through this proxy.
	var mu sync.Mutex
	var asked []string // guarded by mu
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Host)
		http.Error(w, "nothing is here", http.StatusNotFound)
	}))
	defer proxy.Close()
	r := rushHour(t)
	spoil(r, hostile)
	r.Slowest[0].TraceID = strings.Repeat("0a", 16)
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(html(t, r, render.Options{TraceURL: "http://traces.example/{{.TraceID}}"})), 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-breakpad", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
		"--proxy-server="+proxy.URL, "--proxy-bypass-list=<-loopback>", "--enable-logging=stderr", "--dump-dom", "file://"+path)
	var said bytes.Buffer
	command.Stderr = &said
	dom, err := command.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for element, want := range map[string]int{"<section": 11, "<script": 0, "<img": 0, "<iframe": 0, "<style": 1, `<a href="http://traces.example/0a0a`: 1} {
		if got := bytes.Count(dom, []byte(element)); got != want {
			t.Errorf("the page has %d times %s, want %d", got, element, want)
		}
	}
	if plots := bytes.Count(dom, []byte("<svg")); plots < 10 {
		t.Errorf("the page has %d plots", plots)
	}
	if strings.Contains(said.String(), "CONSOLE") {
		t.Errorf("the browser complains:\n%s", said.String())
	}
	mu.Lock()
	defer mu.Unlock()
	for _, host := range asked {
		// The browser's own errands are none of the page's.
		if strings.Contains(host, ".example") || strings.HasPrefix(host, "127.") {
			t.Errorf("the page asks %s", host)
		}
	}
}
