package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-build/weir/traces/semconv"
)

func TestSchemaIsInSync(t *testing.T) {
	if err := run("../../SCHEMA.md", true); err != nil {
		t.Error(err)
	}
}

func TestCheckNoticesAStaleDocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "SCHEMA.md")
	if err := run(path, true); !os.IsNotExist(err) {
		t.Errorf("without a document the error is %v, want that there is none", err)
	}
	if err := run(path, false); err != nil {
		t.Fatal(err)
	}
	if err := run(path, true); err != nil {
		t.Errorf("the document just written: %v", err)
	}
	if err := os.WriteFile(path, []byte(preamble), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(path, true); err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("a document cut short: error %v, want that it is stale", err)
	}
}

func TestDocumentEscapesCells(t *testing.T) {
	got := document(nil, []semconv.Attribute{{Key: "k", Type: semconv.Text, Help: "a|b <c>", Values: []string{"x", "y"}}}, nil)
	if want := "| `k` | string | – | – | – | – | – | a\\|b &lt;c> One of `x`, `y`. |\n"; !strings.Contains(got, want) {
		t.Errorf("got %q, want a row %q", got, want)
	}
}
