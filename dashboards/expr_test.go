package dashboards

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-build/weir/traces/semconv"
)

var (
	testCounter   = semconv.Metric{Name: "c_total", Kind: semconv.Counter, Unit: "{call}", Labels: []string{"code"}}
	testGauge     = semconv.Metric{Name: "g", Kind: semconv.Gauge, Unit: "By", Labels: []string{"instance_name", "state"}}
	testHistogram = semconv.Metric{Name: "h_seconds", Kind: semconv.Histogram, Unit: "s", Labels: []string{"platform", "stage"}}
)

func TestExpressionText(t *testing.T) {
	for _, test := range []struct {
		got        expr
		text, unit string
	}{
		{total(testGauge, by()), `sum(g{instance_name=~"$instance_name"})`, "By"},
		{highest(testGauge, by("role", "state")), `max by (role, state) (g{instance_name=~"$instance_name"})`, "By"},
		{rate(testCounter, by("code"), isNot("code", "OK")), `sum by (code) (rate(c_total{code!="OK"}[$__rate_interval]))`, "{call}/s"},
		{rate(testCounter, by(), isOneOf("code", []string{"a.b", "c"})), `sum(rate(c_total{code=~"a\\.b|c"}[$__rate_interval]))`, "{call}/s"},
		{rate(testCounter, by(), chosen(role()), isNoneOf("code", []string{"x"})), `sum(rate(c_total{role=~"$role", code!~"x"}[$__rate_interval]))`, "{call}/s"},
		{increase(testCounter, by()), `sum(increase(c_total[$__range]))`, "{call}"},
		{observations(testHistogram, "{action}", by("stage")), `sum by (stage) (rate(h_seconds_count{platform=~"$platform"}[$__rate_interval]))`, "{action}/s"},
		{quantile(0.99, testHistogram, by("stage"), is("stage", "x")), `histogram_quantile(0.99, sum by (le, stage) (rate(h_seconds_bucket{platform=~"$platform", stage="x"}[$__rate_interval])))`, "s"},
		{mean(testHistogram, by()), `sum(rate(h_seconds_sum{platform=~"$platform"}[$__rate_interval])) / sum(rate(h_seconds_count{platform=~"$platform"}[$__rate_interval]))`, "s"},
		{share(rate(testCounter, by(), is("code", "x")), rate(testCounter, by())),
			`(sum(rate(c_total{code="x"}[$__rate_interval])) or 0 * sum(rate(c_total[$__rate_interval]))) / sum(rate(c_total[$__rate_interval]))`, "1"},
	} {
		if test.got.text != test.text || test.got.unit != test.unit {
			t.Errorf("got  %s in %s\nwant %s in %s", test.got.text, test.got.unit, test.text, test.unit)
		}
	}
}

func TestMistakesInADashboardPanic(t *testing.T) {
	for name, test := range map[string]struct {
		mistake func()
		want    string
	}{
		"quantile of a gauge":        {func() { quantile(0.5, testGauge, by()) }, "g is a gauge, not a histogram"},
		"quantile of a counter":      {func() { quantile(0.5, testCounter, by()) }, "c_total is a counter, not a histogram"},
		"quantile above 1":           {func() { quantile(99, testHistogram, by()) }, "between 0 and 1"},
		"mean of a counter":          {func() { mean(testCounter, by()) }, "not a histogram"},
		"observations of a counter":  {func() { observations(testCounter, "{call}", by()) }, "not a histogram"},
		"rate of a gauge":            {func() { rate(testGauge, by()) }, "g is a gauge, not a counter"},
		"rate of a histogram":        {func() { rate(testHistogram, by()) }, "not a counter"},
		"increase of a gauge":        {func() { increase(testGauge, by()) }, "not a counter"},
		"total of a counter":         {func() { total(testCounter, by()) }, "not a gauge"},
		"highest of a histogram":     {func() { highest(testHistogram, by()) }, "not a gauge"},
		"age of bytes":               {func() { age(testGauge, by()) }, "isn't a time"},
		"grouped by a strange label": {func() { rate(testCounter, by("platform")) }, "c_total has no label platform"},
		"quantile by a strange one":  {func() { quantile(0.5, testHistogram, by("code")) }, "h_seconds has no label code"},
		"matching a strange label":   {func() { rate(testCounter, by(), is("state", "x")) }, "c_total has no label state"},
		"strange label in a legend":  {func() { rate(testCounter, by()).as("{{code}}") }, "names the label code"},
		"share of another unit":      {func() { share(total(testGauge, by()), rate(testCounter, by())) }, "is no share of"},
		"share by other labels":      {func() { share(rate(testCounter, by("code")), rate(testCounter, by())) }, "is no share of"},
		"units mixed in a panel":     {func() { graph("t", "d", total(testGauge, by()).as("a"), rate(testCounter, by()).as("b")) }, "mixes the units By and {call}/s"},
		"panel without description":  {func() { graph("t", "", total(testGauge, by()).as("a")) }, "lacks"},
		"panel without query":        {func() { graph("t", "d") }, "lacks"},
		"one value out of many":      {func() { single("t", "d", rate(testCounter, by("code"))) }, "has many"},
		"unit unknown to Grafana":    {func() { graph("t", "d", expr{unit: "lightyear"}.as("a")).unit() }, "lightyear"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got := recover(); got == nil || !strings.Contains(fmt.Sprint(got), test.want) {
					t.Errorf("got panic %v, want one that says %q", got, test.want)
				}
			}()
			test.mistake()
		})
	}
}

func TestUnits(t *testing.T) {
	for unit, want := range map[string]string{
		"1": "percentunit", "s": "s", "By": "bytes", "By/s": "binBps",
		"{task}": "short", "{digest}/s": "cps", "{call}/s": "reqps", "{operation}/s": "ops",
	} {
		if got := graph("t", "d", expr{unit: unit}.as("a")).unit(); got != want {
			t.Errorf("unit %s: got %s, want %s", unit, got, want)
		}
	}
}
