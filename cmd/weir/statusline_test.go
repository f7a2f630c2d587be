package main

import (
	"strings"
	"testing"
)

func TestStatusLineIsGoneAtTheEnd(t *testing.T) {
	var out strings.Builder
	l := &statusLine{out: &out}
	l.show(0.5, "5 of 10 runs")
	if got := out.String(); !strings.Contains(got, strings.Repeat("█", 12)+strings.Repeat("░", 12)+" 5 of 10 runs") {
		t.Errorf("half is shown as %q", got)
	}
	l.show(0.6, "6 of 10 runs") // too soon
	if got := out.String(); strings.Contains(got, "6 of 10") {
		t.Errorf("at once there came %q", got)
	}
	l.show(1, "10 of 10 runs")
	if got := out.String(); !strings.HasSuffix(got, "\r\x1b[K") || strings.Contains(got, "10 of 10 runs,") {
		t.Errorf("all is shown as %q", got)
	}
	if newStatusLine(&out) != nil {
		t.Error("what is no terminal has a status line")
	}
}

// A line that wraps can't be overwritten: each next one would come below it.
func TestStatusLineIsNeverWiderThanTheTerminal(t *testing.T) {
	var out strings.Builder
	overwrite(&out, strings.Repeat("█", 100))
	if got, want := out.String(), "\r\x1b[K"+strings.Repeat("█", 78)+"…"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, c := range []struct {
		width int
		want  string
	}{{5, "weeks"}, {4, "wee…"}, {1, "…"}, {0, "…"}} {
		if got := clip("weeks", c.width); got != c.want {
			t.Errorf("to %d columns: %q, want %q", c.width, got, c.want)
		}
	}
}
