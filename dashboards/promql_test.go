package dashboards_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/weir-build/weir/dashboards"
	"github.com/weir-build/weir/traces/semconv"
)

var grafanaVariable = regexp.MustCompile(`\$(\w+)`)

// suffixes are the series of a histogram, as Prometheus names them.
var suffixes = []string{"_bucket", "_sum", "_count"}

// declared returns the declaration behind the name of a series.
func declared(series string) (m semconv.Metric, suffix string, ok bool) {
	for _, m := range semconv.All() {
		if m.Kind != semconv.Histogram && series == m.Name {
			return m, "", true
		}
		if m.Kind == semconv.Histogram && slices.Contains(suffixes, strings.TrimPrefix(series, m.Name)) && strings.HasPrefix(series, m.Name) {
			return m, strings.TrimPrefix(series, m.Name), true
		}
	}
	return semconv.Metric{}, "", false
}

// read returns what a query reads: each series, with the labels that matchers
// and the aggregations around it name.
func read(t *testing.T, query string) map[string][]string {
	t.Helper()
	root, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	series := make(map[string][]string)
	parser.Inspect(root, func(node parser.Node, path []parser.Node) error {
		s, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		labels := series[s.Name]
		for _, m := range s.LabelMatchers {
			if m.Name != model.MetricNameLabel {
				labels = append(labels, m.Name)
			}
		}
		for _, around := range path {
			if a, ok := around.(*parser.AggregateExpr); ok {
				labels = append(labels, a.Grouping...)
			}
		}
		series[s.Name] = labels
		return nil
	})
	return series
}

// Not even the label instance that Prometheus adds to each series may be used
// where a metric doesn't declare it: beside metrics whose instance is that of
// REAPI it would mean something else.
func TestExpressionsReadOnlyWhatIsDeclared(t *testing.T) {
	all := dashboards.Expressions()
	if len(all) == 0 {
		t.Fatal("no expressions")
	}
	for _, e := range all {
		var names []string
		for series, labels := range read(t, e.Query("1m")) {
			m, suffix, ok := declared(series)
			if !ok {
				t.Errorf("panel %q reads %s, which nobody declares", e.Panel, series)
				continue
			}
			names = append(names, m.Name)
			for _, label := range labels {
				if label == semconv.Role || label == model.BucketLabel && suffix == "_bucket" || slices.Contains(m.Labels, label) {
					continue
				}
				t.Errorf("panel %q reads the label %s of %s, which doesn't have it", e.Panel, label, series)
			}
		}
		slices.Sort(names)
		if names = slices.Compact(names); !slices.Equal(names, e.Metrics) {
			t.Errorf("panel %q: Metrics are %v, but it reads %v", e.Panel, e.Metrics, names)
		}
	}
}

// Expressions are what is in the committed files, no fewer and no others.
func TestExpressionsAreThoseOfTheJSON(t *testing.T) {
	var got, want []string
	for _, e := range dashboards.Expressions() {
		got = append(got, e.Dashboard+" "+e.Panel+" "+e.Expr)
	}
	for _, p := range pages(t) {
		for _, panel := range p.Panels {
			for _, target := range panel.Targets {
				want = append(want, p.UID+" "+panel.Title+" "+target.Expr)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestVariablesAskForDeclaredMetricsAndLabels(t *testing.T) {
	question := regexp.MustCompile(`^label_values\(\{__name__=~"([\w|]+)"\}, (\w+)\)$`)
	for _, p := range pages(t) {
		for _, v := range p.Templating.List[1:] {
			m := question.FindStringSubmatch(v.Query)
			if m == nil || m[2] != v.Name {
				t.Errorf("variable %s asks %q, not for its own values", v.Name, v.Query)
				continue
			}
			for _, series := range strings.Split(m[1], "|") {
				if d, _, ok := declared(series); !ok || v.Name != semconv.Role && !slices.Contains(d.Labels, v.Name) {
					t.Errorf("variable %s asks for that label of %s, which isn't declared with it", v.Name, series)
				}
			}
		}
	}
}

func TestQueryFillsInEveryVariable(t *testing.T) {
	for _, e := range dashboards.Expressions() {
		if got := e.Query("1m"); strings.Contains(got, "$") {
			t.Errorf("panel %q: a variable is left in %s", e.Panel, got)
		}
	}
}

// A metric has a reason to exist: the panel that reads it.
func TestEveryMetricHasAPanel(t *testing.T) {
	// Metrics that something else reads, with what that is.
	elsewhere := map[string]string{}
	read := make(map[string]bool)
	for _, e := range dashboards.Expressions() {
		for _, name := range e.Metrics {
			read[name] = true
		}
	}
	for _, m := range semconv.All() {
		if elsewhere[m.Name] == "" && !read[m.Name] {
			t.Errorf("no panel reads %s: add one to the dashboard of its area, or say here what else reads it", m.Name)
		}
		if elsewhere[m.Name] != "" && read[m.Name] {
			t.Errorf("%s is said to be read elsewhere, but a panel reads it", m.Name)
		}
	}
}

func TestMissingNamesTheMetricsWithoutAFamily(t *testing.T) {
	expressions := []dashboards.Expression{
		{Metrics: []string{"b", "c"}},
		{Metrics: []string{"a", "c"}},
	}
	for _, test := range []struct {
		families string
		want     []string
	}{
		{"", []string{"a", "b", "c"}},
		{"c", []string{"a", "b"}},
		{"a b c d", nil},
	} {
		families := make(map[string]struct{})
		for _, name := range strings.Fields(test.families) {
			families[name] = struct{}{}
		}
		if got := dashboards.Missing(expressions, families); !slices.Equal(got, test.want) {
			t.Errorf("families %q: got %v, want %v", test.families, got, test.want)
		}
	}
}

// All that is declared is all that the dashboards need.
func TestNothingIsMissingFromTheVocabulary(t *testing.T) {
	families := make(map[string]semconv.Metric)
	for _, m := range semconv.All() {
		families[m.Name] = m
	}
	if got := dashboards.Missing(dashboards.Expressions(), families); len(got) > 0 {
		t.Errorf("got %v, want nothing missing of %v", got, slices.Sorted(maps.Keys(families)))
	}
}
