package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestLongLinesAreFolded(t *testing.T) {
	var out strings.Builder
	w := onScreen(&out, "text")
	fmt.Fprintf(w, "short\n\n  %s tail\n", strings.Repeat("word ", 16))
	fmt.Fprintf(w, "%s\nnot ", strings.Repeat("█", 80))
	fmt.Fprintf(w, "yet\n%s end\n", strings.Repeat("x", 90))
	want := "short\n\n  " + strings.TrimSpace(strings.Repeat("word ", 15)) + "\n  word  tail\n" + strings.Repeat("█", 80) + "\nnot yet\n" + strings.Repeat("x", 90) + "\n  end\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	out.Reset()
	fmt.Fprint(onScreen(&out, "json"), strings.Repeat("word ", 30)+"\n")
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("JSON is folded: %q", &out)
	}
}

func TestGridsFitOnAScreen(t *testing.T) {
	row := func(first string, cells ...string) string { return first + "\t" + strings.Join(cells, "\t") + "\t\n" }
	wide := strings.Repeat("w", 30)
	for name, test := range map[string]struct{ text, want string }{
		"narrow": {"\n" + row("a", "b", "ccc") + row("aa", "", "c"), "\n   a  b  ccc\n  aa       c\n"},
		"columns stand closer": {
			row("n", wide, wide[:16], wide[:27]) + row("n", "–", "–", "–"),
			" n " + wide + " " + wide[:16] + " " + wide[:27] + "\n n" + strings.Repeat(" ", 30) + "–" + strings.Repeat(" ", 16) + "–" + strings.Repeat(" ", 27) + "–\n",
		},
		"the first is cut": {
			row("abcdefghijklmnopqrstuvwxyz0123456789", wide, wide[:15]), "  abcdefghijklmno…uvwxyz0123456789 "[1:] + wide + " " + wide[:15] + "\n",
		},
		"what doesn't fit comes below": {
			row("first", wide, wide, wide) + row("second", "1", "2", "3"),
			"  first " + wide + " " + wide + "\n second" + strings.Repeat(" ", 30) + "1" + strings.Repeat(" ", 30) + "2\n\n  first " + wide + "\n second" + strings.Repeat(" ", 30) + "3\n",
		},
	} {
		var out strings.Builder
		g := newGrid(&out)
		fmt.Fprint(g, test.text)
		g.Flush()
		if got := out.String(); got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, test.want)
		}
	}
}
