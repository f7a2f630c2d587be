package render

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"

	"github.com/weir-build/weir/reports/result"
)

// MaxPage bounds a page, in bytes: what mail servers and issue trackers take without a
// thought. The bounds of tables and plots keep to it, whatever they are filled with.
const MaxPage = 1 << 20

//go:embed assets/page.html
var pageForm string

//go:embed assets/page.css
var style string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"place": place}).Parse(pageForm))

// maxFacts is how many facts and notes are listed.
const maxFacts = 40

// page is what page.html shows.
type page struct {
	Policy string
	Style  template.CSS

	*opening
	Objectives *table

	Server, Environment []fact
	Notes               []string

	Actions, Calls, Sizes          *table
	Faults                         *table
	Streams, Platforms             *table
	Fairness                       string
	PreparedActions, PreparedCalls *table
	Percentiles                    []*plot
	Series                         []*plot
	Width                          string // of an interval
	Numbers                        *table
	Stages                         []*plot
	BuildFacts                     []fact
	Builds, Longest                *table
	Gantt                          *plot
	Errors, Slowest, Violations    *table
	Generator                      *table
	Simulated                      bool
}

// A fact is a word and what it is in this run.
type fact struct{ Name, Text string }

// HTML writes the page of a result, which is not changed. It fails if the options are
// wrong or the writer fails.
func HTML(w io.Writer, r *result.Result, o Options) error {
	link, err := o.links()
	if err != nil {
		return err
	}
	m := timeline(r)
	p := &page{
		Style:   template.CSS(style),
		Policy:  fmt.Sprintf("default-src 'none'; style-src '%s'; img-src data:; base-uri 'none'; form-action 'none'", source(style)),
		opening: newOpening(r), Objectives: objectives(r),
		Server: facts(r.Run.Server), Environment: facts(r.Run.Environment), Notes: notes(r),
		Actions: actions(r, false), Calls: calls(r, false, false),
		Streams: streams(r), Platforms: platforms(r), Fairness: fairness(r), Faults: faults(r),
		PreparedActions: actions(r, true), PreparedCalls: calls(r, true, false),
		Series: m.overview(), Width: brief(m.shorten(maxPoints).width), Numbers: numbers(m),
		BuildFacts: buildFacts(r), Builds: builds(r), Longest: longestBuilds(r, link), Gantt: gantt(r),
		Errors: failures(r, link), Slowest: slowest(r, link), Violations: violations(r),
		Generator: generator(r), Simulated: r.Run.Origin == "simulated",
	}
	if hasSizes(r) {
		p.Sizes = calls(r, false, true)
	}
	all, rpcs := allActions(r, false), allCalls(r, false)
	p.Percentiles = plots(percentiles("actions", &all.Response, &all.Service, m.simulated), percentiles("calls", &rpcs.Response, &rpcs.Service, m.simulated))
	if len(m.list) > 0 {
		p.Stages = plots(m.stagesOverTime())
	}
	p.Stages = append(p.Stages, plots(stagesByClass(r))...)
	out := bufio.NewWriter(w)
	if err := pageTemplate.Execute(out, p); err != nil {
		return err
	}
	return out.Flush()
}

// plots are those that there is something to draw in.
func plots(all ...*plot) []*plot {
	return slices.DeleteFunc(all, func(p *plot) bool { return p == nil })
}

// source names an inline style by its hash (CSP 3, "hash-source").
func source(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// opening is what a report begins with.
type opening struct {
	Title       string
	Outcome     string
	Means       string
	Reasons     []string
	Run         []fact
	Interrupted bool
}

func newOpening(r *result.Result) *opening {
	h := &opening{Title: cmp.Or(name(r.Run.Scenario), "a run"), Outcome: cmp.Or(name(r.Verdict.Outcome), "not judged"), Interrupted: r.Run.Interrupted}
	switch r.Verdict.Outcome {
	case result.Passed:
		h.Means = "All objectives are met."
		if len(r.Verdict.Objectives) == 0 {
			h.Means = "There are no objectives, and nothing was found that no correct server does."
		}
	case result.Failed:
		h.Means = "The target doesn't do what was asked of it."
	case result.Invalid:
		h.Means = "The numbers say more about the generator than about the target: nothing follows from them for the target."
	default:
		h.Means = "Nobody has held this run against objectives."
	}
	reasons, left := head(r.Verdict.Reasons, maxFacts)
	for _, reason := range reasons {
		h.Reasons = append(h.Reasons, cut(reason, maxMessage))
	}
	if left > 0 {
		h.Reasons = append(h.Reasons, leftOut(left))
	}
	add := func(name, text string) {
		if text != "" {
			h.Run = append(h.Run, fact{name, cut(text, maxMessage)})
		}
	}
	run := &r.Run
	add("scenario", run.Scenario)
	add("seed", fmt.Sprint(run.Seed))
	add("target", run.Target)
	switch run.Origin {
	case "simulated":
		add("origin", "simulated: times are those of a model")
	default:
		add("origin", run.Origin)
	}
	add("start", instant(run.Start))
	add("end", instant(run.End))
	if d := run.End.Sub(run.Start); d > 0 {
		add("duration", duration(d))
	}
	add("run", run.ID)
	if run.Shards > 0 {
		add("merged from", some(int64(run.Shards), "generator"))
	}
	return h
}

func facts(all map[string]string) []fact {
	var out []fact
	keys, left := head(slices.Sorted(maps.Keys(all)), maxFacts)
	for _, key := range keys {
		out = append(out, fact{name(key), cmp.Or(cut(all[key], maxMessage), none)})
	}
	if left > 0 {
		out = append(out, fact{"…", leftOut(left)})
	}
	return out
}

func notes(r *result.Result) []string {
	var out []string
	list, left := head(r.Run.Notes, maxFacts)
	for _, note := range list {
		out = append(out, cut(note, maxMessage))
	}
	if left > 0 {
		out = append(out, leftOut(left))
	}
	return out
}

// buildFacts are the counts of builds, none if there were none.
func buildFacts(r *result.Result) []fact {
	b := &r.Builds
	if b.Count == 0 && b.Dropped == 0 {
		return nil
	}
	return []fact{{"ended", count(b.Count)}, {"failed", count(b.Failed)}, {"cancelled", count(b.Cancelled)}, {"dropped", count(b.Dropped)}}
}
