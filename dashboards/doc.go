// Package dashboards writes Weir's Grafana dashboards: Go source here, the JSON
// that Grafana reads in json/, committed.
//
// A dashboard is rows of panels, a panel a title, a description and one or more
// expressions. Expressions are never typed as text. They are put together from
// the declarations in traces/semconv:
//
//	rate(semconv.Operations, by("outcome")).as("{{outcome}}")
//
// So a dashboard can't ask for a metric that nobody emits, for the quantile of a
// gauge, or for a label that the metric doesn't have: each is a mistake of the
// program and panics, in the first test that builds the dashboard. The unit of a
// panel follows from its metrics. What is in the old system's dashboards and
// isn't wanted here: dead metrics, latencies in which long polls and unary calls
// are mixed, and errors of which some codes are left out.
//
// To change a dashboard, edit its Go file, run
//
//	go run ./dashboards/generate
//
// and read the difference in json/. A test fails while the two disagree.
//
// To look at it, let Prometheus and Grafana read provisioning/ and json/:
//
//	prometheus --config.file=dashboards/provisioning/prometheus.yml --enable-feature=exemplar-storage
//	WEIR_DASHBOARDS=$PWD/dashboards/json GF_PATHS_PROVISIONING=$PWD/dashboards/provisioning/grafana grafana server
//
// Queries read the classic buckets of histograms, which every Prometheus has;
// one that scrapes native histograms must be told to keep the classic ones.
//
// So far there is one dashboard, the overview, and no alert rule. Dashboards of
// single machines don't belong here: the usual exporters bring them along.
package dashboards
