// Package scenarios_test holds simulations small enough to be worked out by hand, as text:
//
//	why the table below is right, for who reads the diff
//	-- scenario.yaml --
//	a scenario file with its seed; its objectives are the assertions
//	-- expected --
//	what came of it: who ran what where and when, and the fingerprint of all decisions
//
// `go test ./sim/scenarios -update` rewrites what is expected; read the diff, and change the
// reasons with it. Objectives have to hold even then.
package scenarios_test

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
)

var update = flag.Bool("update", false, "rewrite what is expected of the scenarios; read the diff")

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("*.txt")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".txt"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.Files) != 2 || archive.Files[0].Name != "scenario.yaml" || archive.Files[1].Name != "expected" || len(bytes.TrimSpace(archive.Comment)) == 0 {
				t.Fatal("want a reason, scenario.yaml and expected")
			}
			got := simulate(t, file, archive.Files[0].Data)
			if *update {
				archive.Files[1].Data = got
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := archive.Files[1].Data; !bytes.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// simulate returns what came of a scenario, as text.
func simulate(t *testing.T, file string, text []byte) []byte {
	s, err := scenario.Parse(file, text)
	if err != nil {
		t.Fatal(err)
	}
	base := time.Unix(0, 0).UTC()
	recorder := result.NewRecorder(result.Run{Scenario: s.Name, Origin: "simulated"})
	recorder.Begin(base)
	table := &table{scenario: s}
	o, err := model.Run(model.Config{Scenario: s, Recorder: recorder, Base: base, Observers: []model.Observer{table}, Check: true})
	if err != nil {
		return fmt.Appendf(nil, "error: %v\n", err)
	}
	r := recorder.Result(base.Add(o.End))
	r.Judge(s.Objectives)
	if r.Verdict.Outcome != result.Passed {
		t.Errorf("objectives: %+v", r.Verdict)
	}
	var b bytes.Buffer
	table.write(&b)
	fmt.Fprintf(&b, "end %v, slots busy for %.1f%% of the time, %d attempts, %d lost, fingerprint %016x\n", seconds(int64(o.End)), o.Busy*100, o.Attempts, o.Lost, o.Fingerprint)
	return b.Bytes()
}

// table keeps what is told of a run.
type table struct {
	scenario *scenario.Scenario
	actions  []model.Action
	attempts []model.Attempt
	builds   []model.Build
}

func (t *table) Action(a *model.Action)      { t.actions = append(t.actions, *a) }
func (t *table) Attempt(a *model.Attempt)    { t.attempts = append(t.attempts, *a) }
func (t *table) Build(b *model.Build)        { t.builds = append(t.builds, *b) }
func (t *table) Dropped(des.Time)            {}
func (t *table) Level(des.Time, model.Level) {}

var ends = [...]string{model.Executed: "executed", model.Merged: "merged", model.Cached: "cached", model.Failed: "failed", model.Errored: "given up", model.Stopped: "stopped"}

func (t *table) write(b *bytes.Buffer) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "task\tof\tattempt\tworker.slot\tqueued\tfetches\truns\tuploads\tends\t")
	slices.SortStableFunc(t.attempts, func(x, y model.Attempt) int {
		return cmp.Or(cmp.Compare(x.Leased, y.Leased), cmp.Compare(x.Worker, y.Worker), cmp.Compare(x.Slot, y.Slot))
	})
	for _, a := range t.attempts {
		lost := ""
		if a.Lost {
			lost = "lost"
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%d.%d\t%s\t%s\t%s\t%s\t%s\t%s\n", t.number(a.Task), t.class(a.Stream, a.Class), a.Number, a.Worker, a.Slot,
			seconds(a.Queued), seconds(a.Leased), reached(a.Fetched, a.Fetched >= a.Leased), reached(a.Ran, !a.Lost || a.Ran > 0), seconds(a.End), lost)
	}
	fmt.Fprintln(w, "\t\naction\tclass\thow\tdue\tends\t")
	slices.SortStableFunc(t.actions, func(x, y model.Action) int {
		return cmp.Or(cmp.Compare(x.Stream, y.Stream), cmp.Compare(x.Build, y.Build), cmp.Compare(x.Index, y.Index))
	})
	for _, a := range t.actions {
		fmt.Fprintf(w, "%s/%d/%d\t%s\t%s\t%s\t%s\n", t.scenario.Demand[a.Stream].Name, a.Build, a.Index, t.class(a.Stream, a.Class), ends[a.Ended], seconds(a.Due), seconds(a.End))
	}
	fmt.Fprintln(w, "\t\nbuild\tbegins\tends\tcached\tfailed\t")
	for _, d := range t.builds {
		gaveUp := ""
		if d.Cancelled {
			gaveUp = "cancelled"
		}
		fmt.Fprintf(w, "%s/%d\t%s\t%s\t%d\t%d\t%s\n", t.scenario.Demand[d.Stream].Name, d.Number, seconds(d.Begun), seconds(d.End), d.CacheHits, d.Failed, gaveUp)
	}
	w.Flush()
	lines := bytes.Split(b.Bytes(), []byte("\n"))
	b.Truncate(0)
	var text []byte
	for _, l := range lines[:len(lines)-1] {
		text = append(append(text, bytes.TrimRight(l, " ")...), '\n')
	}
	b.Reset()
	b.Write(text)
	b.WriteByte('\n')
}

// number is that of a task by the order in which tasks were leased first.
func (t *table) number(task uint64) int {
	var seen []uint64
	for _, a := range t.attempts {
		if !slices.Contains(seen, a.Task) {
			seen = append(seen, a.Task)
		}
		if a.Task == task {
			break
		}
	}
	return slices.Index(seen, task) + 1
}

func (t *table) class(stream, class int) string { return t.scenario.Demand[stream].Classes[class].Name }

// reached is when an attempt came to something, if it did.
func reached(at des.Time, it bool) string {
	if !it {
		return "-"
	}
	return seconds(at)
}

// seconds rounds to milliseconds: transfers end up to some nanoseconds late.
func seconds(t des.Time) string { return fmt.Sprintf("%.3f", float64(t)/1e9) }
