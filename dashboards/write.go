package dashboards

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// All returns every dashboard, in a fixed order.
func All() []Dashboard {
	return []Dashboard{overview()}
}

// File is the name of the dashboard's file.
func (d Dashboard) File() string { return strings.TrimPrefix(d.UID, "weir-") + ".json" }

// Write writes every dashboard to its file in dir, which it makes if need be.
// Other files there are left alone.
func Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write dashboards: %w", err)
	}
	for _, d := range All() {
		text, err := d.JSON()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, d.File()), text, 0o644); err != nil {
			return fmt.Errorf("write dashboard %s: %w", d.UID, err)
		}
	}
	return nil
}
