// Package waterfall writes the trace of a build as a page: one HTML file that
// needs neither a server nor a network, for those who have no Jaeger, and to
// attach to a report.
//
//	tree := lifecycle.Build(trace)
//	err := waterfall.Write(file, tree)
//
// The page shows the tree of spans on a time axis, with the stages of an action
// on its own line while it is closed; the workers with what each of them did when;
// how many actions ran and waited over the whole build; its critical path; and all
// that is known of a span. docs/waterfall.md tells how to read it.
//
// # The file
//
// A page is assets/page.html with its style, its scripts and the data of the
// trace put in their places. The data is one JSON text, see [data]: tables of
// strings, and a column of numbers for each property of spans. It takes some 40
// bytes a span plus its attributes; those that many spans share are there once.
//
// Names and attributes come from clients, who may be anybody. The JSON has no
// character that HTML gives a meaning to, the scripts set text and never markup,
// and the page's own policy (Content-Security-Policy) runs only the scripts that
// Write put there, and lets nothing be requested.
//
// Equal trees give equal bytes.
package waterfall

import (
	"bufio"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/weir-build/weir/traces/lifecycle"
)

// MaxSpans is how many spans a page may have. Browsers open that within seconds
// (1.8 million spans are 110 MB). Beyond it, with more attributes than usual, the
// data comes near to what one string of V8 may hold, 2^29 characters.
const MaxSpans = 2_000_000

// A TooLargeError is the refusal of a trace of more than MaxSpans spans.
type TooLargeError struct {
	Trace lifecycle.TraceID
	Spans int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("trace %s has %d spans, a page shows at most %d", e.Trace, e.Spans, MaxSpans)
}

//go:embed assets
var assets embed.FS

// scripts are the page's scripts, in the order in which they need each other.
var scripts = [...]string{"trace.js", "rows.js", "lanes.js", "draw.js", "details.js", "page.js"}

// Write writes the page of a trace. It fails with a *TooLargeError if the trace
// has more than MaxSpans spans. A tree without spans makes a page that says so.
// The whole page is in memory while it is written.
func Write(w io.Writer, t *lifecycle.Tree) error {
	if t.Spans > MaxSpans {
		return &TooLargeError{t.Trace, t.Spans}
	}
	encoded, err := json.Marshal(newData(t))
	if err != nil {
		return err
	}
	style := asset("page.css")
	var script strings.Builder
	script.WriteString("\"use strict\";\n")
	for _, name := range scripts {
		script.WriteString(asset(name))
	}
	out := bufio.NewWriter(w)
	rest := asset("page.html")
	for _, part := range []struct{ place, content string }{
		{"{{policy}}", policy(style, script.String())},
		{"{{style}}", style},
		{"{{data}}", string(encoded)},
		{"{{script}}", script.String()},
	} {
		before, after, found := strings.Cut(rest, part.place)
		if !found {
			panic("page.html has no " + part.place)
		}
		out.WriteString(before)
		out.WriteString(part.content)
		rest = after
	}
	out.WriteString(rest)
	return out.Flush()
}

// policy returns the page's Content-Security-Policy: nothing is loaded, nothing
// sent, and only this style and this script count.
func policy(style, script string) string {
	return fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; img-src data:; base-uri 'none'; form-action 'none'",
		source(style), source(script))
}

// source names an inline style or script by its hash (CSP 3, "hash-source").
func source(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func asset(name string) string {
	content, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(content)
}
