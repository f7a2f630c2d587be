package dashboards

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-build/weir/traces/semconv"
)

// An expr is a PromQL expression, and what the panel around it has to know.
type expr struct {
	text    string
	unit    string   // UCUM as in semconv; a rate has "/s" appended, a share is "1"
	metrics []string // the metrics read, without the suffixes of histograms
	labels  []string // the labels of the result
}

// A query is an expression with a name for each of its series.
type query struct {
	expr
	legend    string
	exemplars bool
}

// legendLabel finds the labels that a legend names.
var legendLabel = regexp.MustCompile(`{{(\w+)}}`)

// as names the series of e: {{platform}} stands for the value of that label.
func (e expr) as(legend string) query {
	for _, m := range legendLabel.FindAllStringSubmatch(legend, -1) {
		if !slices.Contains(e.labels, m[1]) {
			panic(fmt.Sprintf("legend %q names the label %s, which %s doesn't have", legend, m[1], e.text))
		}
	}
	return query{expr: e, legend: legend}
}

// withExemplars shows the traces that client_golang attached to the buckets.
func (q query) withExemplars() query {
	q.exemplars = true
	return q
}

// by names the labels that stay apart when series are added up.
func by(labels ...string) []string { return labels }

// total is the sum of a gauge.
func total(m semconv.Metric, by []string, where ...matcher) expr {
	must(m, semconv.Gauge)
	return expr{aggregate("sum", m, by, selector(m, "", where)), m.Unit, []string{m.Name}, by}
}

// highest is the greatest value of a gauge.
func highest(m semconv.Metric, by []string, where ...matcher) expr {
	must(m, semconv.Gauge)
	return expr{aggregate("max", m, by, selector(m, "", where)), m.Unit, []string{m.Name}, by}
}

// age is the time since the latest of the Unix times that a gauge holds.
func age(m semconv.Metric, by []string, where ...matcher) expr {
	if m.Unit != "s" {
		panic("the age of " + m.Name + ", which isn't a time")
	}
	e := highest(m, by, where...)
	e.text = "time() - " + e.text
	return e
}

// rate is how fast a counter grows, per second.
func rate(m semconv.Metric, by []string, where ...matcher) expr {
	must(m, semconv.Counter)
	return expr{sumOfRates(m, "", by, where), m.Unit + "/s", []string{m.Name}, by}
}

// increase is how much a counter grew in the time range that is shown.
func increase(m semconv.Metric, by []string, where ...matcher) expr {
	must(m, semconv.Counter)
	return expr{aggregate("sum", m, by, "increase("+selector(m, "", where)+"["+rangeShown+"])"), m.Unit, []string{m.Name}, by}
}

// observations is how many values a histogram takes in, per second; unit says
// of what, as in UCUM: "{call}".
func observations(m semconv.Metric, unit string, by []string, where ...matcher) expr {
	must(m, semconv.Histogram)
	return expr{sumOfRates(m, "_count", by, where), unit + "/s", []string{m.Name}, by}
}

// quantile estimates a quantile, 0 < q < 1, from a histogram's classic buckets.
// Those are factors of two, so the estimate may be off by as much.
func quantile(q float64, m semconv.Metric, by []string, where ...matcher) expr {
	must(m, semconv.Histogram)
	if q <= 0 || q >= 1 {
		panic(fmt.Sprintf("quantile %g of %s: it must lie between 0 and 1", q, m.Name))
	}
	require(m, by)
	buckets := fmt.Sprintf("sum by (%s) (rate(%s[%s]))", strings.Join(append([]string{"le"}, by...), ", "), selector(m, "_bucket", where), rateInterval)
	return expr{fmt.Sprintf("histogram_quantile(%g, %s)", q, buckets), m.Unit, []string{m.Name}, by}
}

// mean is the average of the values a histogram took in.
func mean(m semconv.Metric, by []string, where ...matcher) expr {
	must(m, semconv.Histogram)
	return expr{sumOfRates(m, "_sum", by, where) + " / " + sumOfRates(m, "_count", by, where), m.Unit, []string{m.Name}, by}
}

// share is part as a share of whole: 0 when only the whole has series, nothing
// when the whole is zero. Both are added up by the same labels.
func share(part, whole expr) expr {
	if part.unit != whole.unit || !slices.Equal(part.labels, whole.labels) {
		panic(fmt.Sprintf("%s is no share of %s: units or labels differ", part.text, whole.text))
	}
	text := fmt.Sprintf("(%s or 0 * %s) / %s", part.text, whole.text, whole.text)
	metrics := append(slices.Clone(part.metrics), whole.metrics...)
	slices.Sort(metrics)
	return expr{text, "1", slices.Compact(metrics), whole.labels}
}

func sumOfRates(m semconv.Metric, suffix string, by []string, where []matcher) string {
	return aggregate("sum", m, by, "rate("+selector(m, suffix, where)+"["+rateInterval+"])")
}

func aggregate(operator string, m semconv.Metric, by []string, vector string) string {
	require(m, by)
	if len(by) == 0 {
		return operator + "(" + vector + ")"
	}
	return operator + " by (" + strings.Join(by, ", ") + ") (" + vector + ")"
}

// A matcher picks series by one label.
type matcher struct{ label, operator, value string }

func is(label, value string) matcher    { return matcher{label, "=", value} }
func isNot(label, value string) matcher { return matcher{label, "!=", value} }

func isOneOf(label string, values []string) matcher  { return matcher{label, "=~", anyOf(values)} }
func isNoneOf(label string, values []string) matcher { return matcher{label, "!~", anyOf(values)} }

// anyOf is the regular expression that matches just these values.
func anyOf(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = regexp.QuoteMeta(v)
	}
	return strings.Join(quoted, "|")
}

// chosen picks the values that the reader chose at the top of the dashboard.
func chosen(v variable) matcher { return matcher{v.label, "=~", "$" + v.label} }

// selector reads the series of m whose name ends in suffix. The variables that
// apply wherever their label occurs need not be among the matchers.
func selector(m semconv.Metric, suffix string, where []matcher) string {
	var all []matcher
	for _, v := range variables() {
		if v.everywhere && slices.Contains(m.Labels, v.label) {
			all = append(all, chosen(v))
		}
	}
	var text []string
	for _, w := range append(all, where...) {
		require(m, []string{w.label})
		text = append(text, w.label+w.operator+strconv.Quote(w.value))
	}
	if len(text) == 0 {
		return m.Name + suffix
	}
	return m.Name + suffix + "{" + strings.Join(text, ", ") + "}"
}

// must panics if m is of another kind.
func must(m semconv.Metric, want semconv.Kind) {
	if m.Kind != want {
		panic(fmt.Sprintf("%s is a %v, not a %v", m.Name, m.Kind, want))
	}
}

// require panics if m lacks one of the labels.
func require(m semconv.Metric, labels []string) {
	for _, label := range labels {
		if label != semconv.Role && !slices.Contains(m.Labels, label) {
			panic(fmt.Sprintf("%s has no label %s", m.Name, label))
		}
	}
}
