package dashboards

import (
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// gridWidth is the number of columns of Grafana's grid.
const gridWidth = 24

// A Dashboard is one page of Grafana.
type Dashboard struct {
	// UID names the dashboard in Grafana's URLs and, without the prefix "weir-",
	// its file. It never changes, so that links keep working.
	UID string
	// Title is its name for people.
	Title string

	description string
	rows        []row
}

// A row is a heading with the panels below it, from left to right.
type row struct {
	title  string
	panels []panel
}

// JSON returns the dashboard as Grafana imports it, indented and ending in a
// newline. It is the same whenever the source is.
func (d Dashboard) JSON() ([]byte, error) {
	b := dashboard.NewDashboardBuilder(d.Title).
		Uid(d.UID).Description(d.description).Tags([]string{"weir"}).
		Time("now-1h", "now").Refresh("10s").
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		WithVariable(buildDatasource())
	for _, v := range variables() {
		b.WithVariable(v.build())
	}
	id, y := uint32(0), uint32(0)
	for _, r := range d.rows {
		id++
		b.WithRow(dashboard.NewRowBuilder(r.title).Id(id).GridPos(dashboard.GridPos{Y: y, W: gridWidth, H: 1}))
		y++
		x, tallest := uint32(0), uint32(0)
		for _, p := range r.panels {
			width, height := p.size()
			if x+width > gridWidth {
				x, y, tallest = 0, y+tallest, 0
			}
			id++
			b.WithPanel(p.build(id, x, y))
			x, tallest = x+width, max(tallest, height)
		}
		y += tallest
	}
	built, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("build dashboard %s: %w", d.UID, err)
	}
	text, err := json.MarshalIndent(built, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode dashboard %s: %w", d.UID, err)
	}
	return append(text, '\n'), nil
}
