package render

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/weir-build/weir/reports/result"
)

// MaxMarkdown bounds a report in Markdown, in bytes: GitHub's comments take 65,536
// characters (and the summary of a step a MiB), and whoever posts it may add some.
const MaxMarkdown = 60_000

// Marker is what a report in Markdown begins with: by it a program finds the comment
// that it wrote before, and updates that.
const Marker = "<!-- weir-report -->"

// Markdown writes the report of a result, which is not changed, for the summary of a
// CI step or a comment. It fails if the options are wrong or the writer fails.
func Markdown(w io.Writer, r *result.Result, o Options) error {
	link, err := o.links()
	if err != nil {
		return err
	}
	h := newOpening(r)
	d := new(document)
	d.line(Marker)
	d.line(fmt.Sprintf("## %s: %s", escape(h.Title), escape(h.Outcome)))
	d.line("")
	d.line(escape(h.Means))
	if h.Interrupted {
		d.line("")
		d.line("**The run was interrupted: it ended before its scenario did.**")
	}
	d.list(h.Reasons)
	d.line("")
	var run []string
	for _, f := range h.Run {
		run = append(run, f.Name+" "+escape(f.Text))
	}
	d.line(strings.Join(run, " · "))
	if t := objectives(r); len(t.Rows) > 0 {
		d.table("Objectives", t)
	}
	if t := violations(r); len(t.Rows) > 0 {
		d.table("Integrity: what no correct server does", t)
	}
	if t := actions(r, false); len(t.Rows) > 0 {
		d.table("Actions: response times, and means of the stages", t)
	}
	if t := streams(r); len(t.Rows) > 0 {
		d.table("Actions, by who asked", t)
		if text := fairness(r); text != "" {
			d.line("")
			d.line(escape(text))
		}
	}
	if t := platforms(r); len(t.Rows) > 0 {
		d.table("Actions, by what they ask of a worker", t)
	}
	if t := calls(r, false, false); len(t.Rows) > 0 {
		d.table("Calls: response times", t)
	}
	if facts := buildFacts(r); facts != nil {
		d.table("Builds", builds(r))
		var counts []string
		for _, f := range facts {
			counts = append(counts, f.Name+" "+f.Text)
		}
		d.line("")
		d.line(strings.Join(counts, " · "))
	}
	if t := faults(r); len(t.Rows) > 0 {
		d.table("Faults, and what followed each", t)
	}
	if t := failures(r, link); len(t.Rows) > 0 {
		d.table("Errors", t)
	}
	if r.Run.Origin != "simulated" {
		t := generator(r)
		t.Columns = t.Columns[:3]
		for i := range t.Rows {
			t.Rows[i].Cells = t.Rows[i].Cells[:3]
		}
		d.table("Generator", t)
	}
	if notes := notes(r); len(notes) > 0 {
		d.heading("Notes")
		d.list(notes)
	}
	return d.write(w)
}

// cutShort is the last line of a report that is too long.
const cutShort = "The rest is left out: see the page of this run."

// A document is Markdown, line by line, which ends with cutShort before it is too long.
type document struct {
	text strings.Builder
	full bool
}

func (d *document) line(text string) {
	d.full = d.full || d.text.Len()+len(text)+len("\n\n"+cutShort+"\n\n") > MaxMarkdown
	if !d.full {
		d.text.WriteString(text + "\n")
	}
}

func (d *document) heading(text string) {
	d.line("")
	d.line("### " + text)
}

func (d *document) list(items []string) {
	if len(items) == 0 {
		return
	}
	d.line("")
	for _, item := range items {
		d.line("- " + leading.ReplaceAllString(escape(item), `$1\$2`))
	}
}

func (d *document) table(title string, t *table) {
	d.heading(title)
	if len(t.Rows) > 0 {
		d.line("")
		d.line(tableLine(len(t.Columns), func(i int) string { return t.Columns[i].Name }))
		d.line(tableLine(len(t.Columns), func(i int) string {
			if t.Columns[i].Number {
				return "--:"
			}
			return "---"
		}))
		for _, r := range t.Rows {
			d.line(tableLine(len(r.Cells), func(i int) string { return r.Cells[i].markdown(r.Class) }))
		}
	}
	if t.Left != "" {
		d.line("")
		d.line(t.Left)
	}
}

func tableLine(n int, cell func(int) string) string {
	var line strings.Builder
	line.WriteString("|")
	for i := range n {
		line.WriteString(" " + cell(i) + " |")
	}
	return line.String()
}

func (c *cell) markdown(rowClass string) string {
	text := escape(c.Text)
	switch {
	case text == "":
		return ""
	case c.Link != "":
		// url.URL.String leaves these as they are.
		return "[" + text + "](<" + strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C", `\`, "%5C").Replace(c.Link) + ">)"
	case c.Class == "bad" || rowClass == "sum":
		return "**" + text + "**"
	}
	return text
}

func (d *document) write(w io.Writer) error {
	if d.full {
		d.text.WriteString("\n" + cutShort + "\n")
	}
	_, err := io.WriteString(w, d.text.String())
	return err
}

var (
	markup = strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;",
		`\`, `\\`, "`", "\\`", "|", `\|`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "~", `\~`, "#", `\#`,
		"$", `\$`, // formulas
		"@", "@\u200b", // or people are told of comments
	)
	// autolink is what GitHub makes a link of, to a place of others' choice.
	autolink = regexp.MustCompile(`(?i)\b(https?:|ftp:|www)(//|\.)`)
	// leading is what begins another block at the start of an item.
	leading = regexp.MustCompile(`^(\d*)([-+=.):])`)
)

// escape makes text of what others wrote, within a line of GitHub's Markdown.
func escape(text string) string {
	text = markup.Replace(strings.TrimSpace(cut(text, maxMessage)))
	return autolink.ReplaceAllString(text, "$1\u200b$2")
}
