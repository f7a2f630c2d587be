package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/proto/admin"
)

// busyState is that of a cluster with so many of everything.
func busyState(n int) *admin.State {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	since := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(at.Add(-d)) }
	s := &admin.State{
		Time: timestamppb.New(at), Policy: "fair", Queued: 17, Executing: 2, Slots: 4, Busy: 2,
		QueueCount: uint32(n), WorkerCount: uint32(n), InvocationCount: uint32(n),
		Drains: []*admin.DrainRule{{Property: &admin.Property{Key: "OSFamily", Value: "macos"}, Since: since(time.Hour)}},
	}
	for i := range n {
		s.Queues = append(s.Queues, &admin.Queue{Platform: fmt.Sprintf("OSFamily=os-%d", i), Oldest: since(90 * time.Second),
			Capacity: &admin.Capacity{Workers: 3, Drained: 1, Slots: 4, Busy: 2, Queued: 17, Executing: 2}})
		s.Invocations = append(s.Invocations, &admin.Invocation{Id: fmt.Sprintf("build-%d", i), Tool: "bazel", Queued: 17, Executing: 2, Oldest: since(3 * time.Hour)})
		s.Waits = append(s.Waits, &admin.Wait{Operation: fmt.Sprintf("operations/id-%d", i), About: "CppCompile //a\x1b[2J\u202ehidden", Reason: "fair_share", Since: since(2 * time.Second)})
		s.Workers = append(s.Workers, &admin.Worker{Name: fmt.Sprintf("worker-%d", i), Status: "ok", Slots: 2, Busy: 1, Connected: since(72 * time.Hour),
			Leases: []*admin.Lease{{About: "Genrule //b", Since: since(45 * time.Second)}}, Properties: "OSFamily=linux"})
	}
	return s
}

func TestTopListsWhatThereIs(t *testing.T) {
	var b bytes.Buffer
	if err := writeTop(&b, "here", busyState(1), screen{}); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(b.String(), "\n") // the first has the time of day, here
	want := `2 of 4 slots taken  17 queued  0 pausing  2 executing  1 workers  1 builds
drained: workers with OSFamily=macos, since 1h00m

QUEUES (1)     queued  pausing  executing  taken  slots       workers  oldest
OSFamily=os-0      17        0          2      2      4  3, 1 drained   1m30s

BUILDS (1)  queued  executing  oldest  tool   pipeline
build-0         17          2   3h00m  bazel

OLDEST WAITS (17)          waits  reason      operation  platform
CppCompile //a?[2J?hidden   2.0s  fair_share  id-0

WORKERS (1)  state  taken  slots  connected  runs             properties
worker-0     ok         1      2         3d  45s Genrule //b  OSFamily=linux
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestTopFitsTheScreen(t *testing.T) {
	for _, n := range []int{0, 1, 5, 100} {
		for _, size := range []screen{{80, 24}, {40, 10}, {200, 60}, {20, 3}, {10, 1}, {80, 500}} {
			var b bytes.Buffer
			if err := writeTop(&b, "grpc://127.0.0.1:8980", busyState(n), size); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
			if len(lines) > size.height {
				t.Errorf("%d of each on %v: %d lines", n, size, len(lines))
			}
			for _, line := range lines {
				if utf8.RuneCountInString(line) > size.width || strings.ContainsRune(line, '\x1b') {
					t.Errorf("%d of each on %v: line %q", n, size, line)
				}
			}
			if n == 100 && size.height == 24 {
				for _, title := range []string{"QUEUES", "BUILDS", "OLDEST WAITS", "WORKERS"} {
					if !strings.Contains(b.String(), title+" (") {
						t.Errorf("%v has no room for %s:\n%s", size, title, &b)
					}
				}
				if len(lines) != size.height {
					t.Errorf("%v is left empty from line %d on", size, len(lines))
				}
			}
		}
	}
}
