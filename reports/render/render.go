// Package render turns what a run measured into a report for people: one HTML file
// that needs neither a server nor a network, and Markdown for the summary of a CI step
// or a comment on a pull request.
//
//	r, err := result.Read(file)
//	err = render.HTML(page, r, render.Options{TraceURL: "http://127.0.0.1:16686/trace/{{.TraceID}}"})
//	err = render.Markdown(summary, r, render.Options{})
//
// Words: a section is a part of a report with a heading, in an order that answers the
// first question first (did it pass, can it be trusted, how fast, where did the time
// go). A table is the same in both forms; a plot is for the page only, drawn here as
// SVG: the page has no script. Its caption says what to conclude, with the numbers of
// this run. docs/report.md tells how to read a report.
//
// Names and messages come from servers and files, who may be anybody: html/template
// escapes them on the page, whose own policy (Content-Security-Policy) runs no script
// and lets nothing be requested, and [escape] does in Markdown.
//
// Both forms are bounded, whatever the result holds: MaxPage, MaxMarkdown. What doesn't
// fit is left out and counted; results.json has it all.
//
// Reports are functions of the result: equal results give equal bytes.
package render

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"text/template"
)

// Options are what a report shows beside the result.
type Options struct {
	// TraceURL is where a trace is looked at, with {{.TraceID}} for its id, such as
	// http://127.0.0.1:16686/trace/{{.TraceID}}. It must be of http or https. Empty:
	// ids are text.
	TraceURL string
}

// traceID is what becomes part of a link; other ids are text.
var traceID = regexp.MustCompile(`^[0-9a-fA-F]{16,32}$`)

// links returns a function that has the link of a trace, "" if there is none.
func (o *Options) links() (func(id string) string, error) {
	if o.TraceURL == "" {
		return func(string) string { return "" }, nil
	}
	form, err := template.New("").Option("missingkey=error").Parse(o.TraceURL)
	if err != nil {
		return nil, fmt.Errorf("trace URL %q: %w", o.TraceURL, err)
	}
	link := func(id string) (string, error) {
		var text strings.Builder
		if err := form.Execute(&text, struct{ TraceID string }{id}); err != nil {
			return "", err
		}
		u, err := url.Parse(text.String())
		if err != nil {
			return "", err
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", errors.New("want http://… or https://…")
		}
		return u.String(), nil
	}
	if _, err := link(strings.Repeat("0", 32)); err != nil {
		return nil, fmt.Errorf("trace URL %q: %w", o.TraceURL, err)
	}
	return func(id string) string {
		if !traceID.MatchString(id) {
			return ""
		}
		text, err := link(id)
		if err != nil {
			return ""
		}
		return text
	}, nil
}
