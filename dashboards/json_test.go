package dashboards_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/dashboards"
)

// page is what the tests read of a dashboard's JSON: the document that Grafana
// gets, not the Go values it was made from.
type page struct {
	UID, Title, Description string
	Panels                  []pagePanel
	Templating              struct {
		List []struct {
			Name, Type, Label, Query string
			Datasource               *datasource
		}
	}
}

type pagePanel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct{ Expr, RefID, LegendFormat string }
}

type datasource struct{ Type, UID string }

// chosenDatasource is the data source variable, as panels refer to it.
var chosenDatasource = datasource{"prometheus", "${datasource}"}

func pages(t *testing.T) map[string]page {
	t.Helper()
	all := make(map[string]page)
	for _, d := range dashboards.All() {
		text, err := os.ReadFile(filepath.Join("json", d.File()))
		if err != nil {
			t.Fatal(err)
		}
		var p page
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatalf("%s: %v", d.File(), err)
		}
		all[d.File()] = p
	}
	return all
}

func TestCommittedJSONIsWhatTheSourceMakes(t *testing.T) {
	var want []string
	for _, d := range dashboards.All() {
		want = append(want, d.File())
		made, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		committed, err := os.ReadFile(filepath.Join("json", d.File()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(committed, made) {
			t.Errorf("json/%s is stale: run go run ./dashboards/generate and read the difference\n%s",
				d.File(), cmp.Diff(strings.Split(string(committed), "\n"), strings.Split(string(made), "\n")))
		}
	}
	entries, err := os.ReadDir("json")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files in json: got %v, want %v", got, want)
	}
}

func TestWriteMakesTheSameFilesEachTime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "if", "need", "be")
	var texts [2][]byte
	for i := range texts {
		if err := dashboards.Write(dir); err != nil {
			t.Fatal(err)
		}
		var err error
		if texts[i], err = os.ReadFile(filepath.Join(dir, "overview.json")); err != nil {
			t.Fatal(err)
		}
	}
	if len(texts[0]) == 0 || !bytes.Equal(texts[0], texts[1]) {
		t.Errorf("two writes of the same dashboards differ, or are empty (%d bytes)", len(texts[0]))
	}
}

func TestWriteSaysWhatItCouldNotWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dashboards.Write(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("write into a file: got error %v, want one that names %s", err, dir)
	}
}

func TestIDsAreUnique(t *testing.T) {
	uids := make(map[string]string)
	for file, p := range pages(t) {
		if p.UID == "" || uids[p.UID] != "" {
			t.Errorf("%s: uid %q is empty or that of %s too", file, p.UID, uids[p.UID])
		}
		uids[p.UID] = file
		ids, titles := make(map[int]string), make(map[string]bool)
		for _, panel := range p.Panels {
			if panel.ID == 0 || ids[panel.ID] != "" {
				t.Errorf("%s: %q has the id %d, which is 0 or that of %q", file, panel.Title, panel.ID, ids[panel.ID])
			}
			ids[panel.ID] = panel.Title
			if panel.Type != "row" && titles[panel.Title] {
				t.Errorf("%s: two panels are called %q", file, panel.Title)
			}
			titles[panel.Title] = true
		}
	}
}

func TestEveryPanelHasUnitDescriptionAndQuery(t *testing.T) {
	for file, p := range pages(t) {
		if p.Title == "" || p.Description == "" || len(p.Panels) == 0 {
			t.Errorf("%s lacks a title, a description or panels", file)
		}
		for _, panel := range p.Panels {
			if panel.Type == "row" {
				continue
			}
			if panel.Title == "" || panel.Description == "" || panel.FieldConfig.Defaults.Unit == "" || len(panel.Targets) == 0 {
				t.Errorf("%s: panel %d %q lacks a title, a description, a unit or a query", file, panel.ID, panel.Title)
			}
			if panel.Datasource != chosenDatasource {
				t.Errorf("%s: panel %q asks %v, not the data source chosen", file, panel.Title, panel.Datasource)
			}
			refs := make(map[string]bool)
			for _, target := range panel.Targets {
				if target.Expr == "" || target.RefID == "" || refs[target.RefID] {
					t.Errorf("%s: panel %q has a query without an expression, or without a letter of its own: %+v", file, panel.Title, target)
				}
				refs[target.RefID] = true
				if panel.Type == "timeseries" && target.LegendFormat == "" {
					t.Errorf("%s: panel %q has series without a name", file, panel.Title)
				}
			}
		}
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	type cell struct{ x, y int }
	for file, p := range pages(t) {
		taken := make(map[cell]string)
		for _, panel := range p.Panels {
			at := panel.GridPos
			if at.W == 0 || at.H == 0 || at.X+at.W > 24 {
				t.Errorf("%s: %q lies outside of the grid: %+v", file, panel.Title, at)
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other := taken[cell{x, y}]; other != "" {
						t.Fatalf("%s: %q covers %q", file, panel.Title, other)
					}
					taken[cell{x, y}] = panel.Title
				}
			}
		}
	}
}

func TestEveryVariableInUseIsDefined(t *testing.T) {
	for file, p := range pages(t) {
		defined := map[string]bool{"__rate_interval": true, "__range": true}
		for i, v := range p.Templating.List {
			if defined[v.Name] || v.Label == "" || v.Query == "" {
				t.Errorf("%s: variable %q is defined twice, or lacks a label or a query", file, v.Name)
			}
			defined[v.Name] = true
			if i == 0 && (v.Name != "datasource" || v.Type != "datasource" || v.Query != "prometheus") {
				t.Errorf("%s: the first variable is %+v, not the data source the others ask", file, v)
			}
			if i > 0 && (v.Datasource == nil || *v.Datasource != chosenDatasource) {
				t.Errorf("%s: variable %q asks %v", file, v.Name, v.Datasource)
			}
		}
		for _, panel := range p.Panels {
			for _, target := range panel.Targets {
				for _, m := range grafanaVariable.FindAllStringSubmatch(target.Expr, -1) {
					if !defined[m[1]] {
						t.Errorf("%s: panel %q uses $%s, which isn't defined", file, panel.Title, m[1])
					}
				}
			}
		}
	}
}
