package docs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-build/weir/reports/render"
	"github.com/weir-build/weir/reports/result"
)

// Each section of a report is explained, in the order of the page.
func TestEverySectionOfReportsIsExplained(t *testing.T) {
	page := read(t, filepath.Join(root, "reports/render/assets/page.html"))
	want := found(`<a href="#\w+">(\w+)</a>`, page)
	if got := column(section(t, read(t, "report.md"), "## The sections")); !slices.Equal(got, want) {
		t.Errorf("docs/report.md explains %q, the page has %q", got, want)
	}
}

func TestBoundsOfReportsAreTold(t *testing.T) {
	text := read(t, "report.md")
	for _, want := range []string{
		result.MaxDelay.String(), fmt.Sprintf("%v %%", 100*result.MaxCPU), fmt.Sprintf("%d MiB", render.MaxPage>>20),
		fmt.Sprintf("%d,%03d bytes", render.MaxMarkdown/1000, render.MaxMarkdown%1000), render.Marker,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("docs/report.md lacks %q", want)
		}
	}
}
