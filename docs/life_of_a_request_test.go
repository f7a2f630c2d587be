package docs

import (
	"os"
	"strings"
	"testing"
)

// TestLifeOfARequestIsWhatHappens runs the action that the document tells of and
// holds its table against the trace: each row is there, under the parent it
// names and not before the rows above it, and the trace has no other spans.
func TestLifeOfARequestIsWhatHappens(t *testing.T) {
	document, err := os.ReadFile("life-of-a-request.md")
	if err != nil {
		t.Fatal(err)
	}
	table := rows(string(document))
	if got, want := len(table), strings.Count(string(document), "| `"); got != want || got == 0 {
		t.Fatalf("%d rows of the table can be read, there are %d", got, want)
	}
	c := startCluster(t)
	// The first action makes connections and asks each server what it can do,
	// once. The document is about any later one.
	c.build("first")
	before := c.mounts()
	id := c.build("second")
	mounted := c.mounts() > before
	if !mounted {
		t.Log("FUSE can't be used here: the rows of a mount are not checked")
	}
	recorded := c.end(id)
	match(t, table, recorded, mounted)
	checkNothingElse(t, table, recorded)
}

// match finds spans for each row.
func match(t *testing.T, table []row, recorded *trace, mounted bool) {
	t.Helper()
	m := matcher{spans: recorded.byStart(), last: make(map[string]*span), taken: make(map[string]bool)}
	var ordered uint64               // start of the latest row that has no letter
	lanes := make(map[string]uint64) // starts of the latest rows since then that have
	for _, r := range table {
		if r.mount && !mounted {
			continue
		}
		earliest := max(ordered, lanes[r.lane])
		if r.lane == "" {
			for _, start := range lanes {
				earliest = max(earliest, start)
			}
			clear(lanes)
		}
		first, problem := m.find(r, earliest)
		if problem != "" {
			t.Errorf("row %s: %s", r.label(), problem)
			continue
		}
		if r.lane == "" {
			ordered = first.start
		} else {
			lanes[r.lane] = first.start
		}
	}
}

// A matcher finds the spans of rows, each span once.
type matcher struct {
	spans []*span
	last  map[string]*span // of each row found, by its label
	taken map[string]bool  // by id
}

// find returns the first span of a row, or what is wrong.
func (m *matcher) find(r row, earliest uint64) (first *span, problem string) {
	parent := ""
	if r.under != "–" {
		if m.last[r.under] == nil {
			return nil, "row " + r.under + ", which it is under, isn't above it or has no span"
		}
		parent = m.last[r.under].id
	}
	for _, s := range r.shapes() {
		found := m.take(s, parent, earliest)
		if found == nil {
			return nil, "the trace lacks, in its place and time, the span " + s.String()
		}
		if first == nil {
			first = found
		}
		m.last[r.label()], parent = found, found.id
	}
	return first, ""
}

func (m *matcher) take(like shape, parent string, earliest uint64) *span {
	for _, s := range m.spans {
		if s.shape == like && s.parent == parent && s.start >= earliest && !m.taken[s.id] {
			m.taken[s.id] = true
			return s
		}
	}
	return nil
}

// checkNothingElse reports spans that no row tells of. A row may tell of several:
// how many calls fetch a tree depends on its depth.
func checkNothingElse(t *testing.T, table []row, recorded *trace) {
	t.Helper()
	type pair struct{ of, under shape }
	told, last := make(map[pair]bool), make(map[string]shape)
	for _, r := range table {
		under := last[r.under]
		for _, s := range r.shapes() {
			told[pair{s, under}] = true
			under, last[r.label()] = s, s
		}
	}
	for _, s := range recorded.byStart() {
		var under shape
		if p := recorded.spans[s.parent]; p != nil {
			under = p.shape
		}
		// Asked once by each process, and which of its runners a worker chooses is its
		// business.
		if strings.HasSuffix(s.name, "/GetCapabilities") {
			continue
		}
		if !told[pair{s.shape, under}] {
			t.Errorf("no row tells of the span %v under %v", s.shape, under)
		}
	}
}
