package model_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/cover"

	"github.com/weir-build/weir/sim/model"
)

// counted are the packages whose statements are counted.
const counted = "github.com/weir-build/weir/system/queue,github.com/weir-build/weir/sim/des,github.com/weir-build/weir/sim/model,github.com/weir-build/weir/loadgen/workload"

// TestCostsGrowAsPromised counts how many statements the queue, the kernel, the model and
// the workload execute for an event, which no other load of the machine changes: by the
// counters of a binary built for coverage. Each case is run to two lengths, so that what it
// takes to fill the cluster isn't in the difference.
func TestCostsGrowAsPromised(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a binary and runs it some fifty times")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "counted.test")
	if out, err := exec.Command("go", "test", "-c", "-o", binary, "-covermode=count", "-coverpkg="+counted, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		name  string
		text  string // with the size, the policy, and the number of builds
		sizes []int
		// most is how much more an event may cost with ten times as much.
		policies map[string]float64
	}{
		{"builds in flight, and actions that wait", clientsOf, []int{100, 1000, 10_000, 100_000}, map[string]float64{"fifo": 1.05, "priority": 1.3, "fair": 1.3, "shortest": 1.3}},
		{"idle workers", idleOf, []int{10, 100, 1000, 10_000}, map[string]float64{"fifo": 1.01, "fair": 1.01}},
		{"platforms", "", []int{10, 100, 1000}, map[string]float64{"fifo": 1.01, "fair": 1.01}},
	} {
		for policy, most := range c.policies {
			before := 0.0
			for _, size := range c.sizes {
				text := c.text
				if text == "" {
					text = platformsOf(size)
				}
				short, long := 2000, 12_000
				if size > 2000 {
					short, long = 2*size, 2*size+10_000
				}
				s1, e1 := count1(t, binary, fmt.Sprintf(text, size, policy, short))
				s2, e2 := count1(t, binary, fmt.Sprintf(text, size, policy, long))
				cost := float64(s2-s1) / float64(e2-e1)
				t.Logf("%s, %s, %d: %.1f statements an event", c.name, policy, size, cost)
				if before > 0 && cost > before*most {
					t.Errorf("%s, %s: %.1f statements an event with %d, %.1f with a tenth; want at most %v times as many", c.name, policy, cost, size, before, most)
				}
				before = cost
			}
		}
	}
}

// clientsOf has as many builds under way as there are clients, on ten slots.
const clientsOf = `
version: 1
duration: 100h
demand:
  arrivals: {closed: {clients: %d}, limit: %[3]d}
  jobs: 1
  dag: [{class: a}]
  actions: [{name: a, duration: {uniform: [500us, 1500us]}}]
client: {max_in_flight: 1000000}
cluster: {workers: [{count: 10}], policy: %[2]s}
`

// idleOf has five clients and more workers, of which all but five are idle.
const idleOf = `
version: 1
duration: 100h
demand:
  arrivals: {closed: {clients: 5}, limit: %[3]d}
  jobs: 1
  dag: [{class: a}]
  actions: [{name: a, duration: {uniform: [5us, 15us]}}]
cluster: {workers: [{count: %[1]d}], policy: %[2]s}
`

// platformsOf has as many platforms, each with a worker, and ten clients that ask for one.
func platformsOf(n int) string {
	var classes, layers, workers strings.Builder
	for i := range n {
		fmt.Fprintf(&classes, "    - {name: c%d, duration: {uniform: [5us, 15us]}, platform: {kind: k%d}}\n", i, i)
		fmt.Fprintf(&workers, "    - {platform: {kind: k%d}}\n", i)
	}
	for i := range 10 {
		fmt.Fprintf(&layers, "    - {class: c%d}\n", i*n/10)
	}
	return "version: 1\nname: p%d\nduration: 100h\ndemand:\n  arrivals: {closed: {clients: 10}, limit: %[3]d}\n  jobs: 1\n  dag:\n" +
		layers.String() + "  actions:\n" + classes.String() + "cluster:\n  policy: %[2]s\n  workers:\n" + workers.String()
}

var eventsOf = regexp.MustCompile(`(?m)^events (\d+)$`)

// count1 runs a scenario, and returns how many statements and how many events that took.
func count1(t *testing.T, binary, text string) (statements, events int64) {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "profile")
	c := exec.Command(binary, "-test.run", "^TestCounted$", "-test.v", "-test.coverprofile", profile)
	c.Env = append(os.Environ(), countedScenario+"="+text)
	out, err := c.CombinedOutput()
	found := eventsOf.FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	events, _ = strconv.ParseInt(string(found[1]), 10, 64)
	files, err := cover.ParseProfiles(profile)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, b := range f.Blocks {
			statements += int64(b.NumStmt) * int64(b.Count)
		}
	}
	return statements, events
}

// countedScenario is the variable by which TestCostsGrowAsPromised gives a scenario to the
// binary that counts.
const countedScenario = "COUNTED_SCENARIO"

// TestCounted runs one scenario: that of TestCostsGrowAsPromised, or a small one.
func TestCounted(t *testing.T) {
	text := os.Getenv(countedScenario)
	if text == "" {
		text = fmt.Sprintf(clientsOf, 5, "fifo", 50)
	}
	s := parse(t, text)
	o, err := model.Run(model.Config{Scenario: s})
	if err != nil {
		t.Fatal(err)
	}
	if limit := s.Demand[0].Arrivals.Limit; o.Attempts < int64(limit) {
		t.Errorf("%d attempts for %d builds", o.Attempts, limit)
	}
	if os.Getenv(countedScenario) != "" {
		fmt.Printf("events %d\n", o.Events)
	}
}
