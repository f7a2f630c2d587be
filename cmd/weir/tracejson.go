package main

import (
	"time"

	"github.com/weir-build/weir/traces/lifecycle"
)

// The JSON of the trace commands. Times are RFC 3339 with nanoseconds, durations
// are seconds.

type reportJSON struct {
	Traces     int             `json:"traces"`
	Spans      int             `json:"spans"`
	Actions    int             `json:"actions"`
	Violations []violationJSON `json:"violations"`
	Omitted    int             `json:"omitted,omitempty"` // violations that there is no room for
}

type violationJSON struct {
	Rule    string `json:"rule"`
	Trace   string `json:"trace"`
	Span    string `json:"span"`
	Name    string `json:"name"`
	Problem string `json:"problem"`
}

func jsonReport(r lifecycle.Report) reportJSON {
	j := reportJSON{Traces: r.Traces, Spans: r.Spans, Actions: r.Actions, Omitted: r.Omitted, Violations: make([]violationJSON, len(r.Violations))}
	for i, v := range r.Violations {
		j.Violations[i] = violationJSON{string(v.Rule), v.Trace.String(), v.Span.String(), v.Name, v.String()}
	}
	return j
}

type treeJSON struct {
	Trace string     `json:"trace"`
	Start time.Time  `json:"start"`
	End   time.Time  `json:"end"`
	Spans int        `json:"spans"`
	Roots []nodeJSON `json:"roots"`
}

type nodeJSON struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Service  string     `json:"service"`
	Start    time.Time  `json:"start"`
	Seconds  float64    `json:"seconds"`
	Failed   bool       `json:"failed,omitempty"`
	Children []nodeJSON `json:"children,omitempty"`
}

func jsonTree(t *lifecycle.Tree) treeJSON {
	return treeJSON{Trace: t.Trace.String(), Start: t.Start, End: t.End, Spans: t.Spans, Roots: jsonNodes(t.Roots)}
}

func jsonNodes(nodes []*lifecycle.Node) []nodeJSON {
	list := make([]nodeJSON, len(nodes))
	for i, n := range nodes {
		s := n.Span
		list[i] = nodeJSON{
			ID: s.ID.String(), Name: s.Name, Service: s.Service, Start: s.Start, Seconds: s.Duration().Seconds(),
			Failed: s.Failed, Children: jsonNodes(n.Children),
		}
	}
	return list
}
