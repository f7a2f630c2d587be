package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// simulated leaves the folder of a run, of a scenario with flags of its own.
func recordedRun(t *testing.T) string {
	t.Helper()
	t.Chdir(t.TempDir())
	var out strings.Builder
	f := simFlags{seed: 4, seeded: true, duration: 20 * time.Second, workers: 3, slots: 2, policy: "fair", format: "text", runs: 1, record: recordFlags{begin: simBegin}}
	if err := runSim(t.Context(), &out, io.Discard, "incremental-day", &f); err != nil && !errors.As(err, &verdictError{}) {
		t.Fatal(err)
	}
	folders, err := filepath.Glob("runs/*")
	if err != nil || len(folders) != 1 {
		t.Fatalf("runs are %v: %v", folders, err)
	}
	return folders[0]
}

// edit replaces something in a file of a run.
func edit(t *testing.T, folder, file, from, to string) {
	t.Helper()
	path := filepath.Join(folder, file)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), from) {
		t.Fatalf("%s has no %q:\n%s", path, from, data)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(data), from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestARunIsVerified(t *testing.T) {
	folder := recordedRun(t)
	var out strings.Builder
	if err := runSimVerify(t.Context(), &out, folder, "text"); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.HasPrefix(out.String(), "same, fingerprint ") || !strings.HasSuffix(out.String(), " events\n") {
		t.Errorf("got %q", &out)
	}
}

// TestAnotherRunIsToldByItsFirstEvent: the scenario was changed since, in a way that shows
// only after some time.
func TestAnotherRunIsToldByItsFirstEvent(t *testing.T) {
	folder := recordedRun(t)
	edit(t, folder, scenarioFile, "cluster:", "faults: [{at: 7s, kill_workers: 1}]\ncluster:")
	var out strings.Builder
	err := runSimVerify(t.Context(), &out, folder, "text")
	var verdict verdictError
	if !errors.As(err, &verdict) || verdict.code != exitMissed || !strings.Contains(err.Error(), "is the first that differs") {
		t.Fatalf("got %v\n%s", err, &out)
	}
	var differs string
	before, after := 0, 0
	for line := range strings.Lines(out.String()) {
		switch fields := strings.Fields(line); {
		case fields[0] == ">":
			differs = line
		case strings.HasSuffix(strings.TrimSpace(line), "=") && differs == "":
			before++
		case differs != "":
			after++
		}
	}
	if !strings.Contains(differs, "7s fault 0") || before != contextEvents || after == 0 {
		t.Errorf("the first event that differs is shown as %q, %d before it, %d after:\n%s", differs, before, after, &out)
	}
}

// TestDamagedRecordsAreTold, with the file and the place.
func TestDamagedRecordsAreTold(t *testing.T) {
	folder := recordedRun(t)
	path := filepath.Join(folder, trajectoryFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"cut off": {data[:len(data)-9], "at byte "},
		"no file": {[]byte("hello"), "at byte 5: the file ends within its first"},
		"damaged": {append(append([]byte{}, data[:200]...), append([]byte{data[200] ^ 1}, data[201:]...)...), "the checksum of block 0 is wrong"},
	} {
		if err := os.WriteFile(path, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		err := runSimVerify(t.Context(), &strings.Builder{}, folder, "text")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), trajectoryFile) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	edit(t, folder, simulationFile, "{", "")
	if err := runSimVerify(t.Context(), &strings.Builder{}, folder, "text"); err == nil || !strings.Contains(err.Error(), simulationFile) {
		t.Errorf("got %v", err)
	}
	if err := runSimVerify(t.Context(), &strings.Builder{}, "nowhere", "text"); err == nil || !strings.Contains(err.Error(), "holds no simulation.json: want the folder of a run") {
		t.Errorf("got %v", err)
	}
}

// TestVerificationIsJSONToo: the same facts, for programs.
func TestVerificationIsJSONToo(t *testing.T) {
	folder := recordedRun(t)
	verify := func() (doc verification, err error) {
		var out strings.Builder
		err = runSimVerify(t.Context(), &out, folder, "json")
		if err := json.Unmarshal([]byte(out.String()), &doc); err != nil {
			t.Fatalf("%v: %s", err, &out)
		}
		return doc, err
	}
	doc, err := verify()
	if err != nil || !doc.Same || doc.Divergence != nil || doc.Recorded != doc.Replayed || doc.Recorded.Events == 0 || len(doc.Recorded.Fingerprint) != 32 {
		t.Errorf("got %+v, %v", doc, err)
	}
	edit(t, folder, scenarioFile, "cluster:", "faults: [{at: 7s, kill_workers: 1}]\ncluster:")
	doc, err = verify()
	if !errors.As(err, &verdictError{}) || doc.Same || doc.Divergence == nil || doc.Recorded.Fingerprint == doc.Replayed.Fingerprint {
		t.Fatalf("got %+v, %v", doc, err)
	}
	d := doc.Divergence
	first := slices.IndexFunc(d.Events, func(p eventPair) bool { return p.Event == d.Event })
	if !d.Exact || first < 1 || first > contextEvents || *d.Events[first-1].Recorded != *d.Events[first-1].Replayed {
		t.Errorf("got %+v", d)
	}
	if p := d.Events[first]; !d.Decided && *p.Recorded == *p.Replayed {
		t.Errorf("event %d is alike: %+v", d.Event, p)
	}
}
