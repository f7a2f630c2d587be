package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

const datasourceType = "prometheus"

// Sizes on Grafana's grid, which is 24 columns wide: eight stats or three graphs
// beside each other.
const (
	statWidth, statHeight   = 3, 4
	graphWidth, graphHeight = 8, 8
)

// A panel shows queries of one unit.
type panel struct {
	title, description string
	queries            []query
	single             bool // the latest value as a number, not a graph
	stacked            bool // series on top of each other: their sum means something
	alarm              *float64
}

// graph shows queries over time.
func graph(title, description string, queries ...query) panel {
	p := panel{title: title, description: description, queries: queries}
	p.check()
	return p
}

// stacked shows queries over time on top of each other. Their sum must mean
// something.
func stacked(title, description string, queries ...query) panel {
	p := graph(title, description, queries...)
	p.stacked = true
	return p
}

// single shows the latest value of an expression with one series.
func single(title, description string, e expr) panel {
	p := panel{title: title, description: description, queries: []query{e.as("")}, single: true}
	if len(e.labels) > 0 {
		panic(fmt.Sprintf("panel %q shows one value, but %s has many", title, e.text))
	}
	p.check()
	return p
}

// alarmAt paints the value red from threshold on, in the unit of the panel.
func (p panel) alarmAt(threshold float64) panel {
	p.alarm = &threshold
	return p
}

func (p panel) check() {
	if p.title == "" || p.description == "" || len(p.queries) == 0 {
		panic(fmt.Sprintf("panel %q lacks a title, a description or a query", p.title))
	}
	for _, q := range p.queries {
		if q.unit != p.queries[0].unit {
			panic(fmt.Sprintf("panel %q mixes the units %s and %s", p.title, p.queries[0].unit, q.unit))
		}
	}
}

// unit is the panel's unit as Grafana calls it.
func (p panel) unit() string {
	unit := p.queries[0].unit
	known := map[string]string{
		"1":             units.PercentUnit,
		"s":             units.Seconds,
		"s/s":           units.PercentUnit,
		"By":            units.BytesIEC,
		"By/s":          units.BytesPerSecondIEC,
		"{call}/s":      units.RequestsPerSecond,
		"{operation}/s": units.OpsPerSecond,
	}
	switch {
	case known[unit] != "":
		return known[unit]
	case unit[0] == '{' && unit[len(unit)-1] == '}':
		return units.Short
	case unit[0] == '{':
		return units.CountsPerSecond
	}
	panic(fmt.Sprintf("panel %q: Grafana's name of the unit %s isn't known here", p.title, unit))
}

// at is the panel's place on the grid.
func (p panel) at(x, y uint32) dashboard.GridPos {
	width, height := p.size()
	return dashboard.GridPos{X: x, Y: y, W: width, H: height}
}

func (p panel) size() (width, height uint32) {
	if p.single {
		return statWidth, statHeight
	}
	return graphWidth, graphHeight
}

func (p panel) build(id, x, y uint32) cog.Builder[dashboard.Panel] {
	if p.single {
		return stat.NewPanelBuilder().
			Id(id).Title(p.title).Description(p.description).
			Datasource(datasource()).GridPos(p.at(x, y)).
			Unit(p.unit()).Targets(p.targets()).
			Thresholds(p.thresholds()).
			ColorMode(common.BigValueColorModeValue).
			GraphMode(common.BigValueGraphModeArea).
			Orientation(common.VizOrientationAuto).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
	}
	b := timeseries.NewPanelBuilder().
		Id(id).Title(p.title).Description(p.description).
		Datasource(datasource()).GridPos(p.at(x, y)).
		Unit(p.unit()).Min(0).Targets(p.targets()).
		Legend(common.NewVizLegendOptionsBuilder().
			ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().
			Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	if p.stacked {
		b.FillOpacity(30).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	}
	return b
}

// thresholds are set even if there is no alarm: Grafana's own are red from 80.
func (p panel) thresholds() cog.Builder[dashboard.ThresholdsConfig] {
	steps := []dashboard.Threshold{{Color: "blue"}}
	if p.alarm != nil {
		steps = []dashboard.Threshold{{Color: "green"}, {Color: "red", Value: p.alarm}}
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(steps)
}

func (p panel) targets() []cog.Builder[variants.Dataquery] {
	targets := make([]cog.Builder[variants.Dataquery], len(p.queries))
	for i, q := range p.queries {
		b := prometheus.NewDataqueryBuilder().
			RefId(string(rune('A' + i))).Expr(q.text).LegendFormat(q.legend).
			EditorMode(prometheus.QueryEditorModeCode).Range()
		if q.exemplars {
			b.Exemplar(true)
		}
		targets[i] = b
	}
	return targets
}

// datasource refers to the Prometheus the reader chose.
func datasource() common.DataSourceRef {
	kind, uid := datasourceType, "${"+datasourceVariable+"}"
	return common.DataSourceRef{Type: &kind, Uid: &uid}
}
