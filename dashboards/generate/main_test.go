package main

import (
	"os"
	"strings"
	"testing"
)

func TestCheckFindsTheCommittedFilesInSync(t *testing.T) {
	t.Chdir("../..")
	if err := run(true); err != nil {
		t.Error(err)
	}
}

func TestCheckFindsAStaleFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := run(true); err == nil {
		t.Error("check of files that aren't there: got no error")
	}
	if err := run(false); err != nil {
		t.Fatal(err)
	}
	if err := run(true); err != nil {
		t.Errorf("check of files just written: %v", err)
	}
	const file = dir + "/overview.json"
	if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(true); err == nil || !strings.Contains(err.Error(), file+" is stale") {
		t.Errorf("check of another file: got %v, want an error that says %s is stale", err, file)
	}
}
