package drive_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func parse(t *testing.T, text string) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func server(t *testing.T, c fake.Config) *fake.Server {
	t.Helper()
	s, err := fake.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func run(t *testing.T, s *scenario.Scenario, url string) *result.Result {
	t.Helper()
	r, err := drive.Run(t.Context(), drive.Config{
		Scenario: s, Remote: remote.Config{URL: url, RetryDelay: time.Millisecond}, Run: t.Name(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// count adds up actions of an outcome.
func count(r *result.Result, outcome string) int64 {
	var n int64
	for i := range r.Actions {
		if r.Actions[i].Outcome == outcome {
			n += r.Actions[i].Count
		}
	}
	return n
}

func calls(r *result.Result, method, phase string) (n, failed int64) {
	for i := range r.Calls {
		if c := &r.Calls[i]; strings.HasSuffix(c.Method, method) && c.Phase == phase {
			n, failed = n+c.Count, failed+c.Failed
		}
	}
	return n, failed
}

func violations(r *result.Result, kind string) int64 {
	for _, v := range r.Integrity {
		if v.Kind == kind {
			return v.Count
		}
	}
	return 0
}

// TestSmoke runs a scenario on a whole cluster of ours.
func TestSmoke(t *testing.T) {
	text, err := scenario.ReadShipped("smoke")
	if err != nil {
		t.Fatal(err)
	}
	cluster := clustertest.Start(t, stack.Cluster{Workers: 2, Slots: 4, Runner: stack.InternalSleep})
	r := run(t, parse(t, string(text)), "grpc://"+cluster.Up.Client)
	if len(r.Errors)+len(r.Integrity) > 0 || r.Verdict.Outcome == result.Failed {
		t.Errorf("verdict %+v, errors %+v, integrity %+v", r.Verdict, r.Errors, r.Integrity)
	}
	if r.Builds.Count != 4 || count(r, result.Executed)+count(r, result.Cached) != 56 || count(r, result.Cached) == 0 {
		t.Errorf("%d builds, %d executed, %d cached; want 4 builds of 14 actions, some of them cached", r.Builds.Count, count(r, result.Executed), count(r, result.Cached))
	}
	for i := range r.Actions {
		a := &r.Actions[i]
		if a.Outcome == result.Executed && (a.Run.Min() < 20*time.Millisecond || a.Queue.Count() != a.Count) {
			t.Errorf("%s: run at least %v, %d queued of %d", a.Class, a.Run.Min(), a.Queue.Count(), a.Count)
		}
	}
	if n, _ := calls(r, "/Execute", ""); n != count(r, result.Executed) {
		t.Errorf("%d calls of Execute for %d actions", n, count(r, result.Executed))
	}
}

const builds = `
version: 1
duration: 2s
demand:
  arrivals: {burst: 3}
  jobs: 5
  dag: [{class: compile, actions: 10}, {class: link, actions: 1, fan_in: 10}]
  actions:
    - {name: compile, duration: 5ms, inputs: {files: 3, size: 1k}, output: 2k}
    - {name: link, duration: 5ms, output: 2k}
  download: all
client: {verify: 100%, timeout: 3s}
objectives: [errors == 0, integrity == 0]
`

// TestWhatServersDoWrongIsTold: each fault is reported, counted, and decides the verdict.
func TestWhatServersDoWrongIsTold(t *testing.T) {
	for fault, c := range map[fake.Fault]struct {
		share   float64
		passes  bool   // it is allowed, or the client copes
		kind    string // of a violation, or
		message string // of an error
	}{
		fake.Shuffled:     {share: 1, passes: true},
		fake.BreaksStream: {share: 1, passes: true},
		fake.Unavailable:  {share: 0.05, passes: true},
		fake.Corrupt:      {share: 1, kind: "corrupt_blob"},
		fake.DoneTwice:    {share: 1, kind: "duplicate_update"},
		fake.NoResult:     {share: 1, kind: "wrong_answer"},
		fake.Incomplete:   {share: 1, kind: "incomplete_result"},
		fake.Exhausted:    {share: 0.3, message: "fault: exhausted"},
		fake.NeverEnds:    {share: 1, message: "DEADLINE_EXCEEDED"},
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			text := builds
			if fault == fake.NeverEnds {
				text = strings.Replace(text, "timeout: 3s", "timeout: 300ms", 1)
			}
			r := run(t, parse(t, text), server(t, fake.Config{Faults: map[fake.Fault]float64{fault: c.share}, Seed: 1}).URL)
			if passed := r.Verdict.Outcome != result.Failed; passed != c.passes {
				t.Errorf("passes: %v, want %v: %q %+v", passed, c.passes, r.Verdict.Reasons, r.Errors)
			}
			if c.kind != "" && violations(r, c.kind) == 0 {
				t.Errorf("no violation of kind %s in %+v", c.kind, r.Integrity)
			}
			if c.message != "" && !strings.Contains(fmt.Sprintf("%+v", r.Errors), c.message) {
				t.Errorf("no error with %q in %+v", c.message, r.Errors)
			}
			if r.Builds.Count != 3 || r.Builds.Failed != map[bool]int64{true: 0, false: r.Builds.Failed}[c.passes] {
				t.Errorf("builds: %+v", r.Builds)
			}
		})
	}
}

func TestForgottenBlobsAreTold(t *testing.T) {
	s := parse(t, `
version: 1
duration: 500ms
calls:
  - arrivals: {constant: {rate: 100}}
    stored: {blobs: 20, size: 1k}
    mix: [{op: find_missing, blobs: 5}]
`)
	r := run(t, s, server(t, fake.Config{Faults: map[fake.Fault]float64{fake.Forgets: 0.5}}).URL)
	if n := violations(r, "lost_blob"); n < 10 {
		t.Errorf("%d lost blobs were told, want dozens", n)
	}
}

// TestTargetsThatCannotBeUsed: one line, with what to do.
func TestTargetsThatCannotBeUsed(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ url, token, want string }{
		"nobody there":  {url: "grpc://127.0.0.1:1", want: "is it running"},
		"expired token": {url: server(t, fake.Config{Token: "new"}).URL, token: token, want: "not expired"},
		"no URL":        {url: "127.0.0.1:1", want: "want grpc://"},
	} {
		_, err := drive.Run(t.Context(), drive.Config{
			Scenario: parse(t, builds), Run: "test", Remote: remote.Config{URL: c.url, AccessToken: c.token, RetryDelay: time.Millisecond},
		})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", name, err, c.want)
		}
	}
}

// interrupter interrupts a run in the middle of a build that isn't its first: it is told what
// a Recorder is.
type interrupter struct {
	*drive.Recorder
	builds    atomic.Int64 // that have ended
	once      sync.Once
	interrupt func()
}

func (o *interrupter) Build(*result.Build) { o.builds.Add(1) }

func (o *interrupter) Action(a *result.Action) {
	// A compile action has ended, and so the build's link action hasn't.
	if o.builds.Load() > 0 && a.Class == "compile" && a.Outcome == result.Executed {
		o.once.Do(o.interrupt)
	}
}

// TestInterruptedRunsAreComplete: what was measured is told, and that it is not all.
func TestInterruptedRunsAreComplete(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var interrupted time.Time
	observer := &interrupter{Recorder: drive.NewRecorder(result.Run{}), interrupt: func() { interrupted = time.Now(); cancel() }}
	s := parse(t, strings.NewReplacer("burst: 3", "poisson: {rate: 20}", "duration: 2s", "duration: 1h", "timeout: 3s", "timeout: 1m").Replace(builds))
	r, err := drive.Run(ctx, drive.Config{Scenario: s, Run: "test", Remote: remote.Config{URL: server(t, fake.Config{}).URL}, Observer: observer})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(interrupted); took > 5*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if !r.Run.Interrupted || r.Builds.Count == 0 || count(r, result.Executed) == 0 {
		t.Errorf("interrupted %v, %d builds, %d executed", r.Run.Interrupted, r.Builds.Count, count(r, result.Executed))
	}
	if r.Builds.Failed > 0 || count(r, result.ActionError) > 0 {
		t.Errorf("what was interrupted counts as failed: %+v %+v", r.Builds, r.Errors)
	}
}

// TestResponseTimesCountFromTheIntendedStart: a server that takes 50 ms for each of one
// after the other can't keep up with 40 a second, and that shows in response times, not in
// service times.
func TestResponseTimesCountFromTheIntendedStart(t *testing.T) {
	s := parse(t, `
version: 1
duration: 1s
demand:
  arrivals: {constant: {rate: 40}}
  jobs: 1
  dag: [{class: a, actions: 1}]
  actions: [{name: a, duration: 50ms}]
client: {max_in_flight: 10}
`)
	r := run(t, s, server(t, fake.Config{Slots: 1}).URL)
	if r.Builds.Dropped == 0 || r.Builds.Count+r.Builds.Dropped < 40 || r.Builds.Count+r.Builds.Dropped > 41 {
		t.Errorf("%d builds and %d dropped, want 40 together, some of them dropped", r.Builds.Count, r.Builds.Dropped)
	}
	if a := &r.Actions[0]; a.Queue.Max() < 300*time.Millisecond || a.Response.Max() < a.Queue.Max() {
		t.Errorf("queued for at most %v, response at most %v", a.Queue.Max(), a.Response.Max())
	}
}

// TestHerdIsMerged: equal actions that are under way together are executed once by a
// server that merges, and that is told.
func TestHerdIsMerged(t *testing.T) {
	cluster := clustertest.Start(t, stack.Cluster{Workers: 1, Slots: 4, Runner: stack.InternalSleep})
	s := parse(t, `
version: 1
duration: 2s
demand:
  arrivals: {burst: 20}
  herd: true
  dag: [{class: tool, actions: 1}]
  actions: [{name: tool, duration: 500ms, output: 1k}]
objectives: ["action{outcome=executed}.count == 1"]
`)
	r := run(t, s, "grpc://"+cluster.Up.Client)
	if count(r, result.Executed) != 1 || count(r, result.Merged)+count(r, result.Cached) != 19 {
		t.Errorf("%d executed, %d merged, %d cached; want 1 and 19: %+v", count(r, result.Executed), count(r, result.Merged), count(r, result.Cached), r.Errors)
	}
}

// TestSegmentsMakeUpTheWhole: generators beside each other begin each build once.
func TestSegmentsMakeUpTheWhole(t *testing.T) {
	segments := []drive.Segment{{From: 0, To: 0.25}, {From: 0.25, To: 0.5}, {From: 0.5, To: 1}}
	shares := make([]int, len(segments))
	for number := range 10_000 {
		owners := 0
		for i, s := range segments {
			if s.Has(3, number) {
				owners++
				shares[i]++
			}
		}
		if owners != 1 {
			t.Fatalf("%d has %d owners", number, owners)
		}
	}
	if shares[2] < 4800 || shares[2] > 5200 {
		t.Errorf("shares %v, want 2500, 2500, 5000", shares)
	}
}

func TestSameSeedSameActions(t *testing.T) {
	keys := func() string {
		s := server(t, fake.Config{})
		r := run(t, parse(t, builds), s.URL)
		if count(r, result.Executed) != 33 {
			t.Fatalf("%d executed, want 33: %+v", count(r, result.Executed), r.Errors)
		}
		// Once more: every action is in the cache.
		again := run(t, parse(t, builds), s.URL)
		return fmt.Sprint(count(again, result.Cached), count(again, result.Executed))
	}
	if got := keys(); got != "33 0" {
		t.Errorf("the second run has %s cached and executed, want 33 0", got)
	}
}

// TestNothingBeginsAtTheEnd: builds begin from the first moment to the last but not at it, in a
// simulation as live; what is to begin then would depend on which of two timers is first.
func TestNothingBeginsAtTheEnd(t *testing.T) {
	s := parse(t, `
version: 1
duration: 1s
demand: {arrivals: {constant: {rate: 2}}, dag: [{class: a}], actions: [{name: a, duration: 1ms}]}
cluster: {workers: [{}]}
`)
	live := run(t, s, server(t, fake.Config{}).URL)
	recorder := result.NewRecorder(result.Run{})
	if _, err := model.Run(model.Config{Scenario: s, Recorder: recorder}); err != nil {
		t.Fatal(err)
	}
	if simulated := recorder.Result(time.Time{}); live.Builds.Count != 2 || simulated.Builds.Count != 2 {
		t.Errorf("%d builds live and %d simulated, want 2: at 0s and 500ms", live.Builds.Count, simulated.Builds.Count)
	}
}
