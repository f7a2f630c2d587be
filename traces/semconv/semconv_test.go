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
	"go.opentelemetry.io/otel/attribute"
	otel "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"google.golang.org/grpc/codes"

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
	for _, a := range allAttributes() {
		if attributes[a.Key] {
			t.Errorf("attribute %s has two rows", a.Key)
		}
		attributes[a.Key] = true
	}
	kinds := make(map[string]bool)
	for _, l := range semconv.Links() {
		if kinds[l.Kind] || !spans[l.From] || !spans[l.To] {
			t.Errorf("link %s has two rows, or no span at an end: from %s to %s", l.Kind, l.From, l.To)
		}
		kinds[l.Kind] = true
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
				t.Errorf("%s = %q has no row in Attributes or ResourceAttributes", name, value)
			}
		case strings.HasPrefix(name, "Link"):
			counts["Link"]++
			if !kinds[value] {
				t.Errorf("%s = %q has no row in Links", name, value)
			}
		}
	}
	// No row without a constant, no two constants of one value.
	if counts["Span"] != len(spans) || counts["Attr"] != len(attributes) || counts["Link"] != len(kinds) || len(counts) != 3 {
		t.Errorf("%v constants for %d spans, %d attributes and %d links", counts, len(spans), len(attributes), len(kinds))
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
		if !key.MatchString(s.Name) || s.Emitter == "" || !stabilities[s.Stability] || s.Source == "" || !sentence(s.Help) {
			t.Errorf("span %+v is incomplete", s)
		}
	}
	for _, a := range allAttributes() {
		if !key.MatchString(a.Key) || !strings.Contains(a.Key, ".") || !sentence(a.Help) {
			t.Errorf("attribute %+v is incomplete", a)
		}
		if err := checkAttribute(a, known); err != nil {
			t.Errorf("attribute %s: %v", a.Key, err)
		}
	}
	for _, a := range semconv.ResourceAttributes() {
		if len(a.On) != 0 {
			t.Errorf("attribute %s of resources is on %q", a.Key, a.On)
		}
	}
	for _, a := range semconv.Attributes() {
		if len(a.On) == 0 {
			t.Errorf("attribute %s is on nothing", a.Key)
		}
	}
	for _, l := range semconv.Links() {
		if !key.MatchString(l.Kind) || !stabilities[l.Stability] || l.Source == "" || !sentence(l.Help) {
			t.Errorf("link %+v is incomplete", l)
		}
	}
	for _, e := range semconv.Events() {
		if !key.MatchString(e.Name) || len(e.On) == 0 || !stabilities[e.Stability] || e.Source == "" || !sentence(e.Help) {
			t.Errorf("event %+v is incomplete", e)
		}
	}
	for _, area := range semconv.Areas() {
		if area.Name == "" || len(area.Metrics) == 0 || !stabilities[area.Stability] || area.Source == "" {
			t.Errorf("area %+v is incomplete", area)
		}
	}
}

func allAttributes() []semconv.Attribute {
	return slices.Concat(semconv.Attributes(), semconv.ResourceAttributes())
}

var stabilities = map[semconv.Stability]bool{semconv.Development: true, semconv.ReleaseCandidate: true, semconv.Stable: true}

// checkAttribute checks the parts of a declaration against each other.
func checkAttribute(a semconv.Attribute, spans map[string]bool) error {
	listed := len(a.Values) > 0 || a.Max > 0
	switch {
	case !stabilities[a.Stability] || a.Source == "":
		return fmt.Errorf("the stability is %q, the source %q", a.Stability, a.Source)
	case a.Type != semconv.Text && a.Type != semconv.Int:
		return fmt.Errorf("the type is %q", a.Type)
	case a.Type == semconv.Int && len(a.Values) > 0, a.Type == semconv.Text && (a.Max > 0 || a.Unit != ""):
		return fmt.Errorf("a %s with values %q, the largest number %d and the unit %q", a.Type, a.Values, a.Max, a.Unit)
	case !slices.Contains([]semconv.Cardinality{semconv.PerProgram, semconv.PerMethod, semconv.PerCluster, semconv.PerBuild, semconv.PerAction}, a.Cardinality):
		return fmt.Errorf("the cardinality is %q", a.Cardinality)
	case listed != (a.Cardinality == semconv.PerProgram):
		return fmt.Errorf("what is fixed, and only that, lists its values or bounds its numbers: %q, %q, %d", a.Cardinality, a.Values, a.Max)
	}
	for i, on := range a.On {
		if on == "" || slices.Contains(a.On[:i], on) || !spans[on] && on != semconv.OnRPCs && on != semconv.OnLinks {
			return fmt.Errorf("it is on %q, which is no span or is there twice", on)
		}
	}
	return checkValues(a.Values)
}

func checkValues(list []string) error {
	for i, value := range list {
		if value == "" || slices.Contains(list[:i], value) {
			return fmt.Errorf("the value %q is empty or there twice", value)
		}
	}
	return nil
}

func TestAttributesAreChecked(t *testing.T) {
	spans := map[string]bool{"a": true}
	good := semconv.Attribute{Key: "x.y", Type: semconv.Text, Cardinality: semconv.PerProgram, Stability: semconv.Stable, Source: "S",
		On: []string{"a", semconv.OnRPCs, semconv.OnLinks}, Help: "Help.", Values: []string{"v"}}
	if err := checkAttribute(good, spans); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*semconv.Attribute){
		"stability":              func(a *semconv.Attribute) { a.Stability = "" },
		"source":                 func(a *semconv.Attribute) { a.Source = "" },
		"type":                   func(a *semconv.Attribute) { a.Type = "float" },
		"number with values":     func(a *semconv.Attribute) { a.Type = semconv.Int },
		"text with unit":         func(a *semconv.Attribute) { a.Unit = "s" },
		"text with bound":        func(a *semconv.Attribute) { a.Max = 1 },
		"cardinality":            func(a *semconv.Attribute) { a.Cardinality = "some" },
		"fixed without values":   func(a *semconv.Attribute) { a.Values = nil },
		"values that aren't all": func(a *semconv.Attribute) { a.Cardinality = semconv.PerCluster },
		"number without bound":   func(a *semconv.Attribute) { a.Type, a.Values = semconv.Int, nil },
		"unknown span":           func(a *semconv.Attribute) { a.On = []string{"b"} },
		"span twice":             func(a *semconv.Attribute) { a.On = []string{"a", "a"} },
		"value twice":            func(a *semconv.Attribute) { a.Values = []string{"v", "v"} },
	} {
		bad := good
		change(&bad)
		if checkAttribute(bad, spans) == nil {
			t.Errorf("%s: %+v passed", what, bad)
		}
	}
}

// Labels have a declaration each, and it says what bounds them: a series for each
// build or action would be the end of a Prometheus.
func TestLabelsAreDeclaredAndBounded(t *testing.T) {
	declared := make(map[string]semconv.Label)
	for _, l := range semconv.Labels() {
		if _, twice := declared[l.Name]; twice || l.Source == "" || !sentence(l.Help) {
			t.Errorf("label %+v is incomplete or there twice", l)
		}
		declared[l.Name] = l
		switch l.Cardinality {
		case semconv.PerProgram:
			if len(l.Values) == 0 {
				t.Errorf("label %s is fixed and lists no values", l.Name)
			}
		case semconv.PerMethod, semconv.PerCluster:
			if len(l.Values) > 0 {
				t.Errorf("label %s lists values and grows with the %s", l.Name, l.Cardinality)
			}
		default:
			t.Errorf("label %s has the cardinality %q", l.Name, l.Cardinality)
		}
	}
	used := map[string]bool{semconv.Role: true, semconv.Worker: true}
	for _, m := range semconv.All() {
		for _, name := range m.Labels {
			used[name] = true
			label, ok := declared[name]
			if !ok {
				t.Errorf("%s has the label %s, which isn't declared", m.Name, name)
				continue
			}
			lists := 0
			for _, some := range label.Values {
				if some.Metrics == nil || slices.ContainsFunc(some.Metrics, func(of semconv.Metric) bool { return of.Name == m.Name }) {
					lists++
				}
				if err := checkValues(some.List); err != nil || len(some.List) == 0 {
					t.Errorf("label %s: values %q: %v", name, some.List, err)
				}
			}
			if lists != 1 && label.Cardinality == semconv.PerProgram {
				t.Errorf("label %s of %s has %d lists of values, want 1", name, m.Name, lists)
			}
		}
	}
	for name, label := range declared {
		if !used[name] {
			t.Errorf("no metric has the label %s", name)
		}
		for _, some := range label.Values {
			for _, m := range some.Metrics {
				if !slices.Contains(m.Labels, name) {
					t.Errorf("label %s lists values for %s, which hasn't got it", name, m.Name)
				}
			}
		}
	}
}

// What we say is OpenTelemetry's is in its conventions, and what it names is not
// ours: our names are under rbe. and weir_.
func TestNamesAreOursOrOpenTelemetrys(t *testing.T) {
	theirs := make(map[string]bool)
	for _, key := range []attribute.Key{
		otel.ProcessExitCodeKey, otel.ErrorTypeKey, otel.RPCSystemNameKey, otel.RPCMethodKey, otel.RPCMethodOriginalKey, otel.RPCResponseStatusCodeKey,
		otel.ServiceNameKey, otel.ServiceInstanceIDKey, otel.HostNameKey, otel.ProcessPIDKey,
		otel.TelemetrySDKNameKey, otel.TelemetrySDKLanguageKey, otel.TelemetrySDKVersionKey,
	} {
		theirs[string(key)] = true
	}
	for _, a := range allAttributes() {
		if (a.Source == "OpenTelemetry") != theirs[a.Key] || theirs[a.Key] == strings.HasPrefix(a.Key, "rbe.") {
			t.Errorf("attribute %s: the source is %s", a.Key, a.Source)
		}
		delete(theirs, a.Key)
	}
	if len(theirs) > 0 {
		t.Errorf("not declared: %v", theirs)
	}
	metrics := map[string]bool{
		prometheusName(rpcconv.ServerCallDuration{}): true,
		prometheusName(rpcconv.ClientCallDuration{}): true,
	}
	for _, area := range semconv.Areas() {
		for _, m := range area.Metrics {
			if (area.Source == "OpenTelemetry") != metrics[m.Name] || metrics[m.Name] == strings.HasPrefix(m.Name, "weir_") {
				t.Errorf("metric %s: the source is %s", m.Name, area.Source)
			}
		}
	}
	theirs = map[string]bool{"rpc_method": true, "rpc_response_status_code": true}
	for _, l := range semconv.Labels() {
		if (l.Source == "OpenTelemetry") != theirs[l.Name] {
			t.Errorf("label %s: the source is %s", l.Name, l.Source)
		}
	}
}

// prometheusName is the name of one of OpenTelemetry's metrics in Prometheus
// ("Prometheus and OpenMetrics Compatibility"). All of them are durations.
func prometheusName(m interface {
	Name() string
	Unit() string
}) string {
	if m.Unit() != "s" {
		panic(m.Name() + " isn't in seconds")
	}
	return strings.ReplaceAll(m.Name(), ".", "_") + "_seconds"
}

func TestCodesAreInTheOrderOfTheirNumbers(t *testing.T) {
	list := semconv.Codes()
	for number, name := range list {
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(strconv.Quote(name))); err != nil || int(code) != number {
			t.Errorf("code %d is called %s, which is %d (%v)", number, name, code, err)
		}
	}
	if len(list) != int(codes.Unauthenticated)+1 {
		t.Errorf("%d codes, want %d", len(list), codes.Unauthenticated+1)
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
	semconv.Areas()[0].Metrics[0].Name = "changed"
	semconv.Spans()[0].Name = "changed"
	semconv.Attributes()[0].Key = "changed"
	semconv.Codes()[0] = "changed"
	if semconv.All()[0].Name == "changed" || semconv.Areas()[0].Metrics[0].Name == "changed" || semconv.Spans()[0].Name == "changed" ||
		semconv.Attributes()[0].Key == "changed" || semconv.Codes()[0] == "changed" {
		t.Error("a caller changed the vocabulary")
	}
}

// sentence is generous: "gRPC" may begin one.
func sentence(s string) bool {
	return strings.HasSuffix(s, ".") && s != "." && (strings.ToUpper(s[:1]) == s[:1] || strings.HasPrefix(s, "gRPC "))
}
