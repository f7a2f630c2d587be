//go:build integration

package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/internal/freeport"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/runner/proctree"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// A storage-server that is killed amid writes serves every blob whose write it
// has answered, and of the others none or all.
func TestStorageKeepsBlobsWhenKilled(t *testing.T) {
	const writers, acknowledged = 8, 400
	dir, address := t.TempDir(), freeport.Address(t)
	first := serve(t, "storage", storageConfig(address, dir))
	client := dial(t, "grpc://"+address, "", "")

	var mu sync.Mutex // guards tried and kept
	tried, kept := make(map[digest.Digest][]byte), make(map[digest.Digest]bool)
	var count atomic.Int32
	enough := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			// From a few bytes in one call to streams of many messages.
			for size := 100 + w; ctx.Err() == nil; size = size*3%(3<<20) + 1 {
				data := make([]byte, size)
				rand.Read(data)
				d := digest.Of(data)
				mu.Lock()
				tried[d] = data
				mu.Unlock()
				if err := client.WriteBlob(client.with(t, ctx), d, data); err != nil {
					continue // the server is gone
				}
				mu.Lock()
				kept[d] = true
				mu.Unlock()
				if count.Add(1) == acknowledged {
					close(enough)
				}
			}
		})
	}
	<-enough
	first.kill()
	stop()
	group.Wait()

	second := serve(t, "storage", storageConfig(address, dir))
	client = dial(t, "grpc://"+address, "", "")
	served := 0
	for d, want := range tried {
		got, err := client.ReadBlob(client.context(t), d)
		switch {
		case errors.Is(err, cas.ErrNotFound) && !kept[d]:
		case err != nil:
			t.Errorf("blob %v, whose write was answered %v: %v", d, kept[d], err)
		case !bytes.Equal(got, want):
			t.Errorf("blob %v has other content", d)
		default:
			served++
		}
	}
	t.Logf("%d writes answered, %d under way, %d blobs served", len(kept), len(tried)-len(kept), served)
	second.mustEnd(t)
	// The proxy is what writes the roots of builds, and there is none.
	readRecord(t, first.folder, second.folder).check(t, lifecycle.Options{ClientRoots: true})
}

// waiting is an action that notes each of its starts in a file, and ends when
// another file is there.
type waiting struct {
	dir    string
	marker string // in its command line
}

func newWaiting(t *testing.T) waiting {
	t.Helper()
	dir := runnertest.OpenDir(t)
	return waiting{dir: dir, marker: "marker-of-" + filepath.Base(dir)}
}

func (w waiting) action() action {
	return action{
		script: fmt.Sprintf(": %s; echo started >> %s/starts; until [ -e %s/finish ]; do sleep 0.05; done; echo done > out",
			w.marker, w.dir, w.dir),
		outputs: []string{"out"},
	}
}

// starts returns how often the action has started.
func (w waiting) starts(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "starts"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "\n")
}

func (w waiting) finish(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "finish"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// processes returns the ids of the processes whose command line has some text in
// it.
func processes(t *testing.T, text string) map[int]string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[int]string)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), text) {
			found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
		}
	}
	return found
}

// A worker that is killed leaves no process behind, and its action runs again on
// another worker.
func TestActionOfKilledWorkerRunsElsewhere(t *testing.T) {
	c := newCluster(t)
	c.casd(t)
	first := c.worker(t, "first")
	client := dial(t, c.url(), "", "")
	w := newWaiting(t)
	at := client.upload(t, w.action())
	type answer struct {
		worker string
		code   codes.Code
		exit   int32
		err    error
	}
	answers := make(chan answer, 1)
	ctx := client.context(t)
	go func() {
		response, err := client.Execute(ctx, client.request(at), nil)
		answers <- answer{
			response.GetResult().GetExecutionMetadata().GetWorker(), codes.Code(response.GetStatus().GetCode()),
			response.GetResult().GetExitCode(), err,
		}
	}()
	eventually(t, callLimit, "the action runs", func() bool { return w.starts(t) == 1 })
	before := processes(t, w.marker)
	c.worker(t, "second")
	first.kill()
	eventually(t, callLimit, "the action runs again", func() bool { return w.starts(t) == 2 })
	after := processes(t, w.marker)
	maps.DeleteFunc(after, func(pid int, _ string) bool { _, ok := before[pid]; return !ok })
	if len(after) > 0 {
		t.Errorf("processes of the killed worker's action live on: %v", after)
	}
	w.finish(t)
	got := <-answers
	if got.err != nil || got.code != codes.OK || got.exit != 0 || !strings.Contains(got.worker, "second") {
		t.Errorf("got %+v, want a result of worker second", got)
	}

	r := c.drain(t)
	tree := r.build(t, client.invocation)
	r.check(t, lifecycle.Options{})
	wantBuild(t, tree, client.invocation, 1)
	queued := named(tree, semconv.SpanQueued)
	if len(queued) != 2 {
		t.Fatalf("%d attempts in the trace, want 2", len(queued))
	}
	for i, q := range queued {
		if n := q.Span.IntAttr(semconv.AttrAttempt); n != int64(i+1) {
			t.Errorf("attempt %d has number %d", i+1, n)
		}
	}
	var reasons []string
	for node := range tree.All() {
		if reason := node.Span.Attr(semconv.AttrRetryReason); reason != "" {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) == 0 {
		t.Error("no span tells why the first attempt was lost")
	}
}

// A casd and a runner that are killed leave mounts, which the next casd takes
// away.
func TestCasdRemovesMountsOfKilledOne(t *testing.T) {
	c := newCluster(t)
	casd := c.casd(t)
	worker := c.worker(t, "only")
	client := dial(t, c.url(), "", "")
	w := newWaiting(t)
	a := w.action()
	a.inputs = map[string]string{"large": strings.Repeat("too large to be copied\n", 1<<18)} // 6 MB
	at := client.upload(t, a)
	ended := make(chan error, 1)
	ctx := client.context(t)
	go func() {
		response, err := client.Execute(ctx, client.request(at), nil)
		if err == nil && response.GetStatus().GetCode() == 0 && response.GetResult().GetExitCode() != 0 {
			err = fmt.Errorf("exit code %d", response.Result.ExitCode)
		}
		ended <- err
	}()
	eventually(t, callLimit, "the action runs", func() bool { return w.starts(t) == 1 })
	if len(mounts(t, c.dir)) == 0 {
		lacking(t, "the tree is not staged by FUSE (no /dev/fuse, or not root)")
	}
	runners := processes(t, "buildbox-run-hosttools")
	below, err := proctree.Descendants(worker.command.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, pid := range below {
		if _, ok := runners[pid]; ok {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			killed++
		}
	}
	if killed == 0 {
		t.Errorf("no runner of this cluster among %v", runners)
	}
	casd.kill()
	eventually(t, callLimit, "the action's processes are gone", func() bool { return len(processes(t, w.marker)) == 0 })
	w.finish(t)
	c.casd(t)
	client.wantGood(t, "after the kill")
	if err := <-ended; err != nil {
		t.Errorf("the action whose runner was killed: %v", err)
	}
	eventually(t, callLimit, "no tree is staged", func() bool { return len(mounts(t, c.dir)) == 0 })
	// The killed casd has taken its latest spans with it.
	lost := tracecontext.Context{Trace: tracecontext.OfInvocation(client.invocation).Trace}
	c.drain(t).check(t, lifecycle.Options{RemoteParents: []tracecontext.Context{lost}})
	if left := mounts(t, c.dir); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}
}

// mounts returns the mount points below a folder.
func mounts(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			found = append(found, fields[4])
		}
	}
	return found
}
