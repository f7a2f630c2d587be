package semconv_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/weir-build/weir/traces/semconv"
)

// declared returns the exported names of this package that begin with a prefix,
// with the string each stands for: a constant's value, or the name in a Metric.
func declared(t *testing.T) (constants, metrics map[string]string) {
	t.Helper()
	constants, metrics = make(map[string]string), make(map[string]string)
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			general, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					collect(v, general.Tok, constants, metrics)
				}
			}
		}
	}
	return constants, metrics
}

func collect(spec *ast.ValueSpec, kind token.Token, constants, metrics map[string]string) {
	for i, name := range spec.Names {
		if !name.IsExported() || i >= len(spec.Values) {
			continue
		}
		switch value := spec.Values[i].(type) {
		case *ast.BasicLit:
			if kind == token.CONST && value.Kind == token.STRING {
				constants[name.Name], _ = strconv.Unquote(value.Value)
			}
		case *ast.CompositeLit:
			if of, ok := value.Type.(*ast.Ident); ok && of.Name == "Metric" {
				metrics[name.Name], _ = strconv.Unquote(value.Elts[0].(*ast.BasicLit).Value)
			}
		}
	}
}

func TestEverySpanAndAttributeHasARow(t *testing.T) {
	constants, _ := declared(t)
	spans, attributes := make(map[string]bool), make(map[string]bool)
	for _, s := range semconv.Spans() {
		if spans[s.Name] {
			t.Errorf("span %s has two rows", s.Name)
		}
		spans[s.Name] = true
	}
	for _, a := range semconv.Attributes() {
		if attributes[a.Key] {
			t.Errorf("attribute %s has two rows", a.Key)
		}
		attributes[a.Key] = true
	}
	counts := map[string]int{}
	for name, value := range constants {
		switch {
		case strings.HasPrefix(name, "Span"):
			counts["Span"]++
			if !spans[value] {
				t.Errorf("%s = %q has no row in Spans", name, value)
			}
		case strings.HasPrefix(name, "Attr"):
			counts["Attr"]++
			if !attributes[value] {
				t.Errorf("%s = %q has no row in Attributes", name, value)
			}
		}
	}
	// No row without a constant, no two constants of one value.
	if counts["Span"] != len(spans) || counts["Attr"] != len(attributes) || len(spans) == 0 || len(attributes) == 0 {
		t.Errorf("%v constants for %d spans and %d attributes", counts, len(spans), len(attributes))
	}
}

func TestEveryMetricIsInAll(t *testing.T) {
	_, metrics := declared(t)
	var names []string
	for _, m := range semconv.All() {
		names = append(names, m.Name)
	}
	got, want := slices.Sorted(slices.Values(names)), slices.Sorted(maps.Values(metrics))
	if !slices.Equal(got, want) {
		t.Errorf("All has\n%q, declared are\n%q", got, want)
	}
	if len(slices.Compact(got)) != len(names) {
		t.Errorf("a name is declared twice: %q", got)
	}
}

func TestRowsAreComplete(t *testing.T) {
	key := regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$`)
	known := map[string]bool{"": true}
	for _, s := range semconv.Spans() {
		// A call is known by its method.
		if !known[s.Parent] && !strings.Contains(s.Parent, "/") {
			t.Errorf("span %s stands before its parent %s", s.Name, s.Parent)
		}
		known[s.Name] = true
		if !key.MatchString(s.Name) || s.Emitter == "" || !sentence(s.Help) {
			t.Errorf("span %+v is incomplete", s)
		}
	}
	for _, a := range semconv.Attributes() {
		if !key.MatchString(a.Key) || !strings.Contains(a.Key, ".") || !sentence(a.Help) {
			t.Errorf("attribute %+v is incomplete", a)
		}
		if !slices.Contains([]semconv.Type{semconv.Text, semconv.Int}, a.Type) ||
			!slices.Contains([]semconv.Cardinality{semconv.PerProgram, semconv.PerCluster, semconv.PerBuild, semconv.PerAction}, a.Cardinality) {
			t.Errorf("attribute %s has the type %q and the cardinality %q", a.Key, a.Type, a.Cardinality)
		}
		if a.Values != nil && a.Cardinality != semconv.PerProgram {
			t.Errorf("attribute %s has values and the cardinality %s", a.Key, a.Cardinality)
		}
	}
}

// Names are as Prometheus has them: lower case, the base unit, `_total` on
// counters and on nothing else.
func TestMetricNamesTellUnitAndKind(t *testing.T) {
	for _, m := range semconv.All() {
		if err := checkMetric(m); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
	broken := semconv.Metric{Name: "weir_x_seconds_total", Kind: semconv.Counter, Unit: "s", Help: "Fine."}
	if err := checkMetric(broken); err != nil {
		t.Errorf("%+v: %v", broken, err)
	}
	for _, m := range []semconv.Metric{
		{Name: "weir_x", Kind: semconv.Counter, Unit: "{x}", Help: "No total."},
		{Name: "weir_x_total", Kind: semconv.Gauge, Unit: "{x}", Help: "Total."},
		{Name: "weir_x", Kind: semconv.Gauge, Unit: "s", Help: "No unit."},
		{Name: "weir_x_total", Kind: semconv.Counter, Unit: "By", Help: "No unit."},
		{Name: "weir_x_bytes", Kind: semconv.Gauge, Unit: "{x}", Help: "Another unit."},
		{Name: "weir_x_ms", Kind: semconv.Gauge, Unit: "ms", Help: "No base unit."},
		{Name: "weir_x_seconds_count", Kind: semconv.Gauge, Unit: "{x}", Help: "A histogram's suffix."},
		{Name: "Weir_x", Kind: semconv.Gauge, Unit: "{x}", Help: "Upper case."},
		{Name: "weir_x", Kind: semconv.Gauge, Unit: "{x}", Help: "no sentence"},
		{Name: "weir_x", Kind: semconv.Gauge, Unit: "{x}", Help: "Taken label.", Labels: []string{"instance"}},
		{Name: "weir_x", Kind: semconv.Gauge, Unit: "{x}", Help: "Bad label.", Labels: []string{"a-b"}},
		{Name: "weir_x", Kind: semconv.Gauge, Unit: "{x}", Help: "Two labels.", Labels: []string{"a", "a"}},
	} {
		if checkMetric(m) == nil {
			t.Errorf("%+v passed", m)
		}
	}
}

var (
	metricName = regexp.MustCompile(`^(weir|rpc)(_[a-z][a-z0-9]*)+$`)
	labelName  = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	// takenLabels are set by the scraper, by the exposition or on all metrics of a
	// role.
	takenLabels = []string{"instance", "job", "le", "quantile", semconv.Role, semconv.Worker}
	unitSuffix  = map[string]string{"s": "_seconds", "By": "_bytes"}
)

func checkMetric(m semconv.Metric) error {
	base, total := strings.CutSuffix(m.Name, "_total")
	switch {
	case !metricName.MatchString(m.Name):
		return fmt.Errorf("it is no weir_ or rpc_ name in snake case")
	case total != (m.Kind == semconv.Counter):
		return fmt.Errorf("counters, and only they, end in _total")
	case !sentence(m.Help):
		return fmt.Errorf("the help %q is no sentence", m.Help)
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count", "_info", "_created"} {
		if strings.HasSuffix(base, suffix) {
			return fmt.Errorf("%s is a suffix of Prometheus", suffix)
		}
	}
	suffix, based := unitSuffix[m.Unit]
	if !based && (!strings.HasPrefix(m.Unit, "{") || !strings.HasSuffix(m.Unit, "}")) {
		return fmt.Errorf("%q is neither a base unit nor a {thing}", m.Unit)
	}
	for _, s := range unitSuffix {
		if strings.HasSuffix(base, s) != (s == suffix) {
			return fmt.Errorf("the unit is %s", m.Unit)
		}
	}
	for i, label := range m.Labels {
		if !labelName.MatchString(label) || slices.Contains(takenLabels, label) || slices.Contains(m.Labels[:i], label) {
			return fmt.Errorf("label %q is malformed, taken or there twice", label)
		}
	}
	return nil
}

// Prometheus's own linter sees what promtool would.
func TestPromlintFindsNothing(t *testing.T) {
	var text strings.Builder
	for _, m := range semconv.All() {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %v\n", m.Name, m.Help, m.Name, m.Kind)
		if m.Kind == semconv.Histogram {
			fmt.Fprintf(&text, "%[1]s_bucket{le=\"+Inf\"} 1\n%[1]s_sum 1\n%[1]s_count 1\n", m.Name)
		} else {
			fmt.Fprintf(&text, "%s 1\n", m.Name)
		}
	}
	problems, err := promlint.New(strings.NewReader(text.String())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The longest action of the old system's histograms took 30 s; ours reach a
// working day.
func TestDurationBoundsReachHours(t *testing.T) {
	bounds := semconv.DurationBounds
	if bounds[0] != 0.0005 || bounds[len(bounds)-1] < 8*3600 || len(bounds) > 30 {
		t.Errorf("bounds %v, want at most 30 from half a millisecond to eight hours", bounds)
	}
	for i := 1; i < len(bounds); i++ {
		if bounds[i] != 2*bounds[i-1] {
			t.Errorf("bound %v follows %v, want its double", bounds[i], bounds[i-1])
		}
	}
}

func TestAllReturnsASliceOfTheCallers(t *testing.T) {
	semconv.All()[0].Name = "changed"
	semconv.Spans()[0].Name = "changed"
	semconv.Attributes()[0].Key = "changed"
	if semconv.All()[0].Name == "changed" || semconv.Spans()[0].Name == "changed" || semconv.Attributes()[0].Key == "changed" {
		t.Error("a caller changed the vocabulary")
	}
}

// sentence is generous: "gRPC" may begin one.
func sentence(s string) bool {
	return strings.HasSuffix(s, ".") && s != "." && (strings.ToUpper(s[:1]) == s[:1] || strings.HasPrefix(s, "gRPC "))
}
