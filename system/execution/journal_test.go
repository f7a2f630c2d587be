package execution_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/segments"
)

// journaled keeps a journal in a folder.
func journaled(dir string) func(*execution.Config) {
	return func(c *execution.Config) { c.Journal.Dir = dir }
}

// after starts another server on what the journal of a running one has now, as if it
// had been killed at this moment.
func (c *cluster) after(dir string, q queue.Config, change ...func(*execution.Config)) *cluster {
	c.t.Helper()
	return startOn(c.t, c.storage, q, nil, append(change, journaled(copied(c.t, dir)))...)
}

// copied copies a journal's files.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "journal")
	list, err := segments.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		data, err := os.ReadFile(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(s.Path)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestStateComesBack brings a server into all kinds of states, and compares what the
// next ones know: from steps alone, from those of two processes, and from a snapshot.
func TestStateComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	q := queue.Config{Policy: fairPolicy, MaxAttempts: 3}
	c := start(t, q, journaled(dir))
	linux := func(a *repb.Action, _ *repb.Command) {
		a.Platform = &repb.Platform{Properties: []*repb.Platform_Property{{Name: "OSFamily", Value: "linux"}}}
	}
	build := func(name string) *stream {
		data, err := proto.Marshal(&repb.RequestMetadata{ToolInvocationId: name, CorrelatedInvocationsId: "all", TargetId: "//a"})
		if err != nil {
			t.Fatal(err)
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "build.bazel.remote.execution.v2.requestmetadata-bin", string(data),
			"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		s := c.executeIn(ctx, c.upload(name, linux))
		s.next()
		return s
	}
	var streams []*stream
	// Ended, with a result and without.
	b := c.bot("one", "OSFamily", "linux")
	ended := build("ended")
	b.poll(patiently, done(t, b.take(), 3))
	ended.until(completedS)
	cancelled := build("cancelled")
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: cancelled.name}); err != nil {
		t.Fatal(err)
	}
	cancelled.until(completedS)
	// Leased and reported, leased and not reported, lost once, joined, waiting, for a
	// worker that isn't there too.
	running := build("running")
	lease := b.take()
	b.poll(briefly, active(lease))
	two := c.bot("two", "OSFamily", "linux")
	streams = append(streams, running, build("offered"))
	two.take()
	c.botIn("", "two", bots.BotStatus_OK, "OSFamily", "windows") // it came anew as another
	for _, name := range []string{"running", "waiting", "also waiting"} {
		streams = append(streams, build(name))
	}
	elsewhere := c.execute(c.upload("elsewhere", func(a *repb.Action, _ *repb.Command) {
		a.Platform = &repb.Platform{Properties: []*repb.Platform_Property{{Name: "OSFamily", Value: "plan9"}}}
	}))
	elsewhere.until(queued)
	streams = append(streams, elsewhere)
	if _, err := admin.NewAdminClient(c.conn).Drain(t.Context(), &admin.DrainRequest{
		Which: &admin.DrainRequest_Property{Property: &admin.Property{Key: "OSFamily", Value: "windows"}},
	}); err != nil {
		t.Fatal(err)
	}
	for _, s := range streams {
		s.cancel()
		for err := error(nil); err == nil; _, err = s.recv() {
		}
	}
	if err := c.server.Flush(); err != nil {
		t.Fatal(err)
	}
	want := c.server.State(t)
	next := c.after(dir, q)
	if diff := cmp.Diff(want, next.server.State(t)); diff != "" {
		t.Errorf("from steps (-lived +taken over):\n%s", diff)
	}
	if err := next.server.Flush(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, next.after(next.folder, q).server.State(t)); diff != "" {
		t.Errorf("from steps of two processes (-lived +taken over):\n%s", diff)
	}
	if err := next.server.Snapshot(); err != nil {
		t.Fatal(err)
	}
	third := next.after(next.folder, q)
	if diff := cmp.Diff(want, third.server.State(t)); diff != "" {
		t.Errorf("from a snapshot (-lived +taken over):\n%s", diff)
	}

	// What is worth knowing of it is what clients and workers see.
	if got := third.wait(ended.name).until(completedS); got.Result.GetExitCode() != 3 {
		t.Errorf("the ended operation came to %v", got)
	}
	if got := third.wait(cancelled.name).until(completedS); got.Status.GetCode() != 1 {
		t.Errorf("the cancelled operation came to %v", got)
	}
	w := third.wait(running.name)
	w.until(executing)
	b.client = third.bots
	b.poll(briefly, done(t, lease, 4))
	if got := w.until(completedS); got.Result.GetExitCode() != 4 {
		t.Errorf("the running operation came to %v", got)
	}
	// Another policy sorts anew.
	fourth := c.after(dir, queue.Config{})
	if got := len(fourth.server.State(t)); got < len(want)-6 {
		t.Errorf("by another policy %d of %d things are left", got, len(want))
	}
	fourth.wait(streams[3].name).until(queued)
}

// TestNextProcessGoesOnInTheSegment if it has the same rules, and else begins another one.
func TestNextProcessGoesOnInTheSegment(t *testing.T) {
	segmentsOf := func(c *cluster) (numbers []uint64) {
		list, err := segments.List(c.folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			numbers = append(numbers, s.Number)
		}
		return numbers
	}
	c := start(t, queue.Config{}, journaled(filepath.Join(t.TempDir(), "journal")))
	var streams []*stream
	for i := range 3 {
		s := c.execute(c.upload(fmt.Sprint(i)))
		s.until(queued)
		streams = append(streams, s)
		c = c.after(c.folder, queue.Config{})
		if got := segmentsOf(c); !slices.Equal(got, []uint64{1}) {
			t.Fatalf("process %d writes to segments %d, want to 1", i+2, got)
		}
	}
	for _, s := range streams {
		c.wait(s.name).until(queued)
	}
	other := c.after(c.folder, queue.Config{MaxAttempts: 2})
	if got := segmentsOf(other); !slices.Equal(got, []uint64{2}) {
		t.Errorf("a process of another configuration writes to segments %d, want to 2", got)
	}
	small := c.after(c.folder, queue.Config{}, func(c *execution.Config) { c.Journal.SegmentBytes = 1 })
	if err := small.server.Settle(); err != nil {
		t.Fatal(err)
	}
	if got := segmentsOf(small); !slices.Equal(got, []uint64{2}) {
		t.Errorf("a process that finds the segment too large writes to segments %d, want to 2", got)
	}
}

// TestNextProcessGoesOnBehindATornEnd: what it appends is found by the one after it.
func TestNextProcessGoesOnBehindATornEnd(t *testing.T) {
	c := start(t, queue.Config{}, journaled(filepath.Join(t.TempDir(), "journal")))
	first := c.execute(c.upload("a"))
	first.until(queued)
	torn := copied(t, c.folder)
	list, err := segments.List(torn)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	data, err := os.ReadFile(list[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list[0].Path, append(data, data[:9]...), 0o600); err != nil { // half a record
		t.Fatal(err)
	}
	next := c.after(torn, queue.Config{})
	second := next.execute(next.upload("b"))
	second.until(queued)
	third := next.after(next.folder, queue.Config{})
	for _, s := range []*stream{first, second} {
		third.wait(s.name).until(queued)
	}
}

// TestMoveToLargerWorkersComesBack: that a task may move to larger workers, and that one did,
// and why.
func TestMoveToLargerWorkersComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	c := start(t, queue.Config{}, sized, journaled(dir))
	small, large := c.bot("s", "size", "small"), c.bot("l", "size", "large")
	c.measure(large, 1)
	moved := c.queued("a", salted(2))
	lease := small.take()
	may := c.queued("b")
	large.poll(briefly, took(t, large.take(), time.Second))
	may.until(completedS)
	may = c.queued("b", salted(1)) // waits for the small worker
	small.poll(briefly, done(t, lease, 128+9))
	mays := small.take()
	for _, s := range []*stream{moved, may} {
		s.cancel()
		for err := error(nil); err == nil; _, err = s.recv() {
		}
	}
	if err := c.server.Flush(); err != nil {
		t.Fatal(err)
	}
	want := c.server.State(t)
	next := c.after(dir, queue.Config{}, sized)
	if diff := cmp.Diff(want, next.server.State(t)); diff != "" {
		t.Errorf("from steps (-lived +taken over):\n%s", diff)
	}
	if err := next.server.Snapshot(); err != nil {
		t.Fatal(err)
	}
	third := next.after(next.folder, queue.Config{}, sized)
	if diff := cmp.Diff(want, third.server.State(t)); diff != "" {
		t.Errorf("from a snapshot (-lived +taken over):\n%s", diff)
	}
	wantText(t, third.explain(moved.name), "workers_busy", "It runs again, on larger workers, since on smaller ones its command was killed by signal 9.")
	small.client = third.bots
	small.poll(briefly, done(t, mays, 128+15))
	wantText(t, third.explain(may.name), "workers_busy", "since on smaller ones its command was killed by signal 15.")
}

// TestToldOperationIsPrepared takes over an operation whose client knows of it, while
// the cache was still being asked.
func TestToldOperationIsPrepared(t *testing.T) {
	slow := &slowCache{asked: make(chan struct{}, 2), answer: make(chan struct{})}
	dir := filepath.Join(t.TempDir(), "journal")
	c := startWith(t, queue.Config{}, func(ac actioncache.Cache) actioncache.Cache {
		slow.Cache = ac
		return slow
	}, journaled(dir))
	s := c.execute(c.upload("a"), lookup)
	s.until(cacheCheck)
	next := c.after(dir, queue.Config{})
	w := next.wait(s.name)
	w.until(cacheCheck)
	close(slow.answer)
	w.until(queued)
	b := next.bot("one")
	b.poll(briefly, done(t, b.take(), 7))
	if got := w.until(completedS); got.Result.GetExitCode() != 7 {
		t.Errorf("got %v, want the worker's result", got)
	}
}

// TestDamagedJournalIsRefused flips a byte, in the middle and at the end.
func TestDamagedJournalIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	c := start(t, queue.Config{}, journaled(dir))
	for i := range 5 {
		c.execute(c.upload(fmt.Sprint(i))).until(queued)
	}
	try := func(damage func([]byte) []byte) (*execution.Server, string, error) {
		to := copied(t, dir)
		list, err := segments.List(to)
		if err != nil {
			t.Fatal(err)
		}
		path := list[len(list)-1].Path
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, damage(data), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s, err := execution.New(execution.Config{
			Instances: []string{"", "other"}, Storage: c.blobs, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Registerer: prometheus.NewRegistry(), Journal: execution.Journal{Dir: to},
		})
		if err == nil {
			t.Cleanup(func() { runBriefly(t, s) })
		}
		return s, log.String(), err
	}
	_, _, err := try(func(b []byte) []byte {
		b[len(b)/2] ^= 1
		return b
	})
	if err == nil || !strings.Contains(err.Error(), "offset") || !strings.Contains(err.Error(), "00000001.journal") {
		t.Errorf("damaged in the middle: %v, want an error with file and offset", err)
	}
	s, log, err := try(func(b []byte) []byte { return b[:len(b)-3] })
	if err != nil || !strings.Contains(log, "offset=") || len(s.State(t)) == 0 {
		t.Errorf("torn at its end: %v, log %q, want it cut with a warning", err, log)
	}
	if _, _, err := try(func([]byte) []byte { return nil }); err == nil || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("empty: %v", err)
	}
	if _, err := execution.New(execution.Config{
		Instances: []string{""}, Storage: c.blobs, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Journal: execution.Journal{Dir: dir},
	}); !errors.Is(err, segments.ErrInUse) || err.Error() != "journal: "+dir+": another process uses it" {
		t.Errorf("a second server on the folder: %v", err) // its role says who it is
	}
}

// runBriefly runs a server to its end, so that it gives its folder back.
func runBriefly(t *testing.T, s *execution.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
}

// TestLeaseOfEndedTaskIsGivenBack: what the queue passes over is no reason for the next
// server not to start.
func TestLeaseOfEndedTaskIsGivenBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	c := start(t, queue.Config{}, journaled(dir))
	s := c.execute(c.upload("a"))
	b := c.bot("one")
	l := b.take()
	s.until(executing)
	if _, err := c.ops.CancelOperation(t.Context(), &longrunningpb.CancelOperationRequest{Name: s.name}); err != nil {
		t.Fatal(err)
	}
	s.until(completedS)
	b.poll(briefly, completed(t, l, nil, &spb.Status{Code: int32(codes.Unavailable)}))
	next := c.after(dir, queue.Config{})
	if got := next.wait(s.name).until(completedS); codes.Code(got.Status.GetCode()) != codes.Canceled {
		t.Errorf("got %v, want that it was cancelled", got)
	}
}

func TestImpossibleJournalIsRefused(t *testing.T) {
	c := start(t, queue.Config{})
	_, err := execution.New(execution.Config{
		Instances: []string{""}, Storage: c.blobs, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
		Journal: execution.Journal{Dir: t.TempDir(), Keep: -1, SegmentBytes: -2},
	})
	if err == nil || !strings.Contains(err.Error(), "-1 older segments") || !strings.Contains(err.Error(), "-2 bytes") {
		t.Errorf("got %v, want both faults", err)
	}
}
