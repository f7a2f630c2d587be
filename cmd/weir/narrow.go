package main

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// screenWidth is how wide what people read is at most: that of a terminal unless somebody made
// it wider, and of two of them beside each other on a large screen.
const screenWidth = 80

// narrow is a writer that breaks longer lines between words, and begins what is left of them
// with two spaces. Write whole lines; only whole ones are passed on.
type narrow struct {
	out  io.Writer
	line []byte
}

// onScreen returns a writer for a format: text is folded, what programs read isn't.
func onScreen(out io.Writer, format string) io.Writer {
	if format != "text" {
		return out
	}
	return &narrow{out: out}
}

func (s *narrow) Write(p []byte) (int, error) {
	s.line = append(s.line, p...)
	end := bytes.LastIndexByte(s.line, '\n')
	if end < 0 {
		return len(p), nil
	}
	var folded strings.Builder
	for line := range strings.SplitSeq(string(s.line[:end]), "\n") {
		fold(&folded, line)
	}
	s.line = append(s.line[:0], s.line[end+1:]...)
	_, err := io.WriteString(s.out, folded.String())
	return len(p), err
}

func fold(to *strings.Builder, line string) {
	for indent := ""; ; indent = "  " {
		if utf8.RuneCountInString(indent+line) <= screenWidth {
			to.WriteString(indent + line + "\n")
			return
		}
		at := lastSpace(line, screenWidth-len(indent))
		if at < 0 {
			at = strings.IndexByte(strings.TrimLeft(line, " "), ' ') // a word that is too long stands alone
			if at >= 0 {
				at += len(line) - len(strings.TrimLeft(line, " "))
			}
		}
		if at < 0 {
			to.WriteString(indent + line + "\n")
			return
		}
		to.WriteString(indent + strings.TrimRight(line[:at], " ") + "\n")
		line = line[at+1:]
	}
}

// lastSpace is where the last space is behind a word, within so many characters and one.
func lastSpace(line string, width int) int {
	at, n, word := -1, 0, false
	for i, c := range line {
		if n > width {
			break
		}
		if c == ' ' && word {
			at = i
		}
		word = word || c != ' '
		n++
	}
	return at
}

// A grid is a table of cells that end with tabs, as for text/tabwriter, with all of them to the
// right. It is as wide as a screen at most: if it would be wider, columns stand closer, then the
// first is cut, and what still doesn't fit comes below, beside the first column again.
type grid struct {
	out  io.Writer
	text bytes.Buffer
}

func newGrid(out io.Writer) *grid { return &grid{out: out} }

func (g *grid) Write(p []byte) (int, error) { return g.text.Write(p) }

// maxFirst is what is left of a first column that has to be cut.
const maxFirst = 28

// Flush prints the table.
func (g *grid) Flush() error {
	var rows [][]string
	var widths []int
	for line := range strings.SplitSeq(strings.TrimSuffix(g.text.String(), "\n"), "\n") {
		cells := strings.Split(line, "\t")
		cells = cells[:len(cells)-1]
		rows = append(rows, cells)
		for len(widths) < len(cells) {
			widths = append(widths, 0)
		}
		for i, c := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	if len(widths) == 0 {
		return nil
	}
	total := func(gap int) int {
		n := 0
		for _, w := range widths {
			n += w + gap
		}
		return n
	}
	gap := 2
	if total(gap) > screenWidth {
		gap = 1
	}
	if total(gap) > screenWidth && widths[0] > maxFirst {
		widths[0] = max(maxFirst, widths[0]-(total(gap)-screenWidth))
	}
	var text strings.Builder
	for from := 1; from == 1 || from < len(widths); {
		to, wide := from, widths[0]+gap
		for to < len(widths) && (to == from || wide+gap+widths[to] <= screenWidth) {
			wide += gap + widths[to]
			to++
		}
		if from > 1 {
			text.WriteString("\n")
		}
		for _, cells := range rows {
			if len(cells) == 0 {
				if from == 1 {
					text.WriteString("\n")
				}
				continue
			}
			var line strings.Builder
			for i, c := range cells {
				if i == 0 || i >= from && i < to {
					c = shorten(c, widths[i])
					line.WriteString(strings.Repeat(" ", gap+widths[i]-utf8.RuneCountInString(c)) + c)
				}
			}
			text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		}
		from = to
	}
	g.text.Reset()
	_, err := io.WriteString(g.out, text.String())
	return err
}

// shorten takes the middle out of a text.
func shorten(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:(width-1)/2]) + "…" + string(r[len(r)-width/2:])
	}
	return text
}
