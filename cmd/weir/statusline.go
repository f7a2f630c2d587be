package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// statusLine is a line of a terminal that says how far something is, and is gone when it
// has ended.
type statusLine struct {
	out   io.Writer
	begun time.Time
	shown time.Time
}

// statusEvery is how often it is written: more often nobody reads.
const statusEvery = 100 * time.Millisecond

// newStatusLine returns a line; nil if out is no terminal.
func newStatusLine(out io.Writer) *statusLine {
	if !terminal(out) {
		return nil
	}
	return &statusLine{out: out, begun: time.Now()}
}

// statusBar is how many characters the bar takes.
const statusBar = 24

// show says which share is done. At all of it the line is cleared; it comes again if there is
// more.
func (l *statusLine) show(share float64, text string) {
	if share >= 1 {
		overwrite(l.out, "")
		l.shown = time.Time{}
		return
	}
	if time.Since(l.shown) < statusEvery {
		return
	}
	l.shown = time.Now()
	full := int(share * statusBar)
	overwrite(l.out, fmt.Sprintf("%s%s %s, %v", strings.Repeat("█", full), strings.Repeat("░", statusBar-full), text, time.Since(l.begun).Round(time.Second)))
}

// overwrite has a line of a terminal say something else, or nothing any more. What is wider than the terminal is
// cut: a line that wraps can't be overwritten, and would fill the screen.
func overwrite(out io.Writer, line string) {
	fmt.Fprint(out, "\r\x1b[K"+clip(line, columns(out)-1))
}

// columns is how wide a terminal is; 80 if it can't say.
func columns(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && w.Col > 0 {
			return int(w.Col)
		}
	}
	return screenWidth
}

// clip cuts what is beyond a width.
func clip(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:max(0, width-1)]) + "…"
}
