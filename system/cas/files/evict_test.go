package files

import (
	"os"
	"testing"
)

// TestRemovalSparesFileStoredAgain plays the race of the concurrent test in its
// worst order: evicted, stored again, and only then unlinked.
func TestRemovalSparesFileStoredAgain(t *testing.T) {
	naming := Naming[string]{
		Path: func(key string) string { return "00/" + key },
		Key:  func(path string, _ int64) (string, bool) { return path[3:], true },
	}
	d, err := Open(t.TempDir(), "", naming, Config{QuotaBytes: blockBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	store := func(key string) {
		temp, err := d.Create()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := temp.Write([]byte("content")); err != nil {
			t.Fatal(err)
		}
		if err := temp.Commit(key); err != nil {
			t.Fatal(err)
		}
	}
	store("evicted")
	store("other")
	if _, err := os.Stat(d.Path("evicted")); err == nil {
		t.Error("an evicted file is still there")
	}
	d.doomed = []string{"evicted", "other"} // as if they were evicted just now, and "other" stored again
	d.unlinkDoomed()
	if _, err := os.Stat(d.Path("other")); err != nil {
		t.Errorf("a file in the index was unlinked: %v", err)
	}
}
