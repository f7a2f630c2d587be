package dashboards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/weir-build/weir/traces/semconv"
)

// What Grafana fills in: the time over which a rate is taken (at least four
// scrapes, from the data source's scrape interval), and the time range shown.
const (
	rateInterval = "$__rate_interval"
	rangeShown   = "$__range"
)

// allValues is what a variable stands for unless values are chosen. It matches
// series without the label too: the empty instance name is a label that isn't
// there, as Prometheus sees it.
const allValues = ".*"

// datasourceVariable is the variable that says which Prometheus is asked.
const datasourceVariable = "datasource"

// A variable is a label by which the reader narrows the dashboard down.
type variable struct {
	label, title, description string
	// everywhere is set if the choice applies to each metric that has the label,
	// otherwise to those that ask for it.
	everywhere bool
	// from are the metrics whose series tell the values.
	from []string
}

// variables returns the variables of every dashboard.
func variables() []variable {
	return []variable{
		{label: "instance_name", title: "Instance", everywhere: true,
			description: "REAPI instance name.",
			from:        []string{semconv.WorkerSlots.Name, semconv.StorageRead.Name}},
		{label: "platform", title: "Platform", everywhere: true,
			description: "Platform that actions ask for and workers serve.",
			from:        []string{semconv.QueueDepth.Name}},
		role(),
	}
}

// role narrows down what every role emits: RPCs and telemetry. The queue has but
// one role, and would vanish from sight if another were chosen.
func role() variable {
	return variable{label: semconv.Role, title: "Role",
		description: "Program, as far as RPCs and telemetry are concerned.",
		from:        []string{semconv.RPCServerDuration.Name + "_count", semconv.RPCClientDuration.Name + "_count"}}
}

// query asks Grafana's Prometheus data source for the values of the label.
func (v variable) query() string {
	return `label_values({__name__=~"` + strings.Join(v.from, "|") + `"}, ` + v.label + `)`
}

func (v variable) build() cog.Builder[dashboard.VariableModel] {
	query := v.query()
	return dashboard.NewQueryVariableBuilder(v.label).
		Label(v.title).Description(v.description).
		Datasource(datasource()).
		Query(dashboard.StringOrMap{String: &query}).Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(allValues).
		Current(option("All", "$__all"))
}

func buildDatasource() cog.Builder[dashboard.VariableModel] {
	return dashboard.NewDatasourceVariableBuilder(datasourceVariable).
		Label("Prometheus").Description("Data source that scrapes the cluster.").
		Type(datasourceType)
}

func option(text, value string) dashboard.VariableOption {
	return dashboard.VariableOption{
		Text:  dashboard.StringOrArrayOfString{String: &text},
		Value: dashboard.StringOrArrayOfString{String: &value},
	}
}
