package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/proto/admin"
)

// screen is how much room there is; 0 is as much as it takes.
type screen struct{ width, height int }

// section is a table of what top shows.
type section struct {
	title string
	count int // of all there are, listed or not
	head  []string
	rows  [][]string
	right []bool // columns that are numbers
}

// writeTop writes a state as text that fits a screen.
func writeTop(w io.Writer, title string, s *admin.State, size screen) error {
	at := s.Time.AsTime()
	lines := []string{
		fmt.Sprintf("weir top  %s  instance %q  policy %s  %s", title, s.InstanceName, s.Policy, at.Local().Format(time.TimeOnly)),
		fmt.Sprintf("%d of %d slots taken  %d queued  %d pausing  %d executing  %d workers  %d builds",
			s.Busy, s.Slots, s.Queued, s.Resting, s.Executing, s.WorkerCount, s.InvocationCount),
	}
	for _, d := range s.Drains {
		which := "worker " + d.Worker
		if d.Property != nil {
			which = "workers with " + d.Property.Key + "=" + d.Property.Value
		}
		lines = append(lines, fmt.Sprintf("drained: %s, since %s", which, ago(at, d.Since)))
	}
	if size.height > 0 {
		lines = lines[:min(len(lines), max(2, size.height/4))]
	}
	sections := []section{queueSection(s, at), buildSection(s, at), waitSection(s, at), workerSection(s, at)}
	room := rooms(sections, size.height-len(lines))
	for i, section := range sections {
		if size.height > 0 && room[i] == 0 && len(section.rows) > 0 {
			continue
		}
		lines = append(lines, "")
		lines = append(lines, section.lines(room[i], size.width)...)
	}
	if size.height > 0 {
		lines = lines[:min(len(lines), size.height)]
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, clipTo(printable(line), size.width)); err != nil {
			return err
		}
	}
	return nil
}

// headLines is what a section takes without its rows: a blank line and its head.
const headLines = 2

// rooms shares the rows of a screen among sections: an equal share to each, and what
// one doesn't need to the others. All get all they need if there is no bound.
func rooms(sections []section, height int) []int {
	room := make([]int, len(sections))
	left := height - headLines*len(sections)
	for i, s := range sections {
		if height <= 0 {
			room[i] = len(s.rows)
		}
	}
	if height <= 0 {
		return room
	}
	for left > 0 {
		var wanting []int
		for i, s := range sections {
			if room[i] < len(s.rows) {
				wanting = append(wanting, i)
			}
		}
		if len(wanting) == 0 {
			break
		}
		each := max(1, left/len(wanting))
		for _, i := range wanting {
			more := min(each, len(sections[i].rows)-room[i], left)
			room[i] += more
			left -= more
		}
	}
	return room
}

// lines is a section with so many of its rows.
func (s *section) lines(rows, width int) []string {
	shown := s.rows[:min(rows, len(s.rows))]
	widths := make([]int, len(s.head))
	head := append([]string(nil), s.head...)
	head[0] = fmt.Sprintf("%s (%d)", s.title, s.count)
	for _, row := range append([][]string{head}, shown...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	// The first column gives way where all don't fit.
	if width > 0 {
		total := 2 * (len(widths) - 1)
		for _, w := range widths {
			total += w
		}
		widths[0] = max(min(widths[0], 16), widths[0]-max(0, total-width))
	}
	var lines []string
	for _, row := range append([][]string{head}, shown...) {
		var b strings.Builder
		for i, cell := range row {
			cell = clipTo(printable(cell), widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				b.WriteString("  ")
			}
			if s.right[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}

// clipTo shortens a text to so many characters; 0 leaves it whole.
func clipTo(text string, width int) string {
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

func queueSection(s *admin.State, at time.Time) section {
	t := section{title: "QUEUES", count: int(s.QueueCount), head: []string{"", "queued", "pausing", "executing", "taken", "slots", "workers", "oldest"},
		right: []bool{false, true, true, true, true, true, true, true}}
	for _, q := range s.Queues {
		c := q.Capacity
		workers := fmt.Sprint(c.Workers)
		if c.Drained > 0 {
			workers = fmt.Sprintf("%d, %d drained", c.Workers, c.Drained)
		}
		t.rows = append(t.rows, []string{cmp.Or(q.Platform, "(no properties)"), fmt.Sprint(c.Queued), fmt.Sprint(c.Resting), fmt.Sprint(c.Executing),
			fmt.Sprint(c.Busy), fmt.Sprint(c.Slots), workers, ago(at, q.Oldest)})
	}
	return t
}

func buildSection(s *admin.State, at time.Time) section {
	t := section{title: "BUILDS", count: int(s.InvocationCount), head: []string{"", "queued", "executing", "oldest", "tool", "pipeline"},
		right: []bool{false, true, true, true, false, false}}
	for _, i := range s.Invocations {
		t.rows = append(t.rows, []string{cmp.Or(i.Id, "(none)"), fmt.Sprint(i.Queued), fmt.Sprint(i.Executing), ago(at, i.Oldest), i.Tool, i.Correlated})
	}
	return t
}

func waitSection(s *admin.State, at time.Time) section {
	t := section{title: "OLDEST WAITS", count: int(s.Queued + s.Resting), head: []string{"", "waits", "reason", "operation", "platform"},
		right: []bool{false, true, false, false, false}}
	for _, w := range s.Waits {
		t.rows = append(t.rows, []string{cmp.Or(w.About, "(no target)"), ago(at, w.Since), w.Reason, path.Base(w.Operation), w.Platform})
	}
	return t
}

func workerSection(s *admin.State, at time.Time) section {
	t := section{title: "WORKERS", count: int(s.WorkerCount), head: []string{"", "state", "taken", "slots", "connected", "runs", "properties"},
		right: []bool{false, false, true, true, true, false, false}}
	for _, w := range s.Workers {
		state := w.Status
		if w.Drained {
			state = "drained"
		}
		runs := ""
		if len(w.Leases) > 0 {
			oldest := w.Leases[0]
			runs = strings.TrimSpace(ago(at, oldest.Since) + " " + oldest.About)
		}
		t.rows = append(t.rows, []string{w.Name, state, fmt.Sprint(w.Busy), fmt.Sprint(w.Slots), ago(at, w.Connected), runs, w.Properties})
	}
	return t
}

// ago is how long ago something was, short; "-" if it never was.
func ago(at time.Time, since *timestamppb.Timestamp) string {
	if since == nil {
		return "-"
	}
	switch d := max(0, at.Sub(since.AsTime())); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
