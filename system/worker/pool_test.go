package worker

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/system/runner/runnertest"
)

// Inside the package, because the contract is held against the pool alone.

// buildRunner builds a runner that anybody can start.
func buildRunner(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", path, "github.com/weir-build/weir/cmd/"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func newPool(t testing.TB, path string, size int) *pool {
	t.Helper()
	p := &pool{path: path, env: []string{"PATH=/usr/bin:/bin", "TMPDIR=" + runnertest.OpenDir(t)}, dir: t.TempDir(), size: size}
	t.Cleanup(p.close)
	return p
}

// pooled is a run in a warm runner.
type pooled struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	exit   exit
	err    error
}

func (r *pooled) Signal(syscall.Signal) { r.cancel(errDropped) }

func (r *pooled) Wait() (int, string, string) {
	<-r.done
	if r.err != nil {
		return -1, "", r.err.Error()
	}
	return r.exit.code, "", r.exit.stderr
}

func startPooled(p *pool, args []string) *pooled {
	return start(func(ctx context.Context) (exit, error) { return p.run(ctx, runner.PoolRequest{Args: args}) })
}

func start(run func(context.Context) (exit, error)) *pooled {
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &pooled{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.exit, r.err = run(ctx)
	}()
	return r
}

// startInline does so with requests and replies in place of the files for action and result,
// which are read before and written after.
func startInline(t *testing.T, p *pool, args []string) *pooled {
	t.Helper()
	request := runner.PoolRequest{Inline: true}
	result := ""
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "--action":
			action, err := os.ReadFile(value)
			if err != nil {
				return startPooled(p, args) // of one that isn't there
			}
			request.Action = action
		case "--action-result":
			result = value
		default:
			request.Args = append(request.Args, arg)
		}
	}
	return start(func(ctx context.Context) (exit, error) {
		e, err := p.run(ctx, request)
		for path, l := range map[string]left{result: e.result, runner.ErrorStatusPath(result): e.reason} {
			if l.err == nil && l.data != nil {
				err = errors.Join(err, os.WriteFile(path, l.data, 0o600))
			}
		}
		return e, err
	})
}

// A warm runner keeps the contract that a fresh one does, whether it is kept or runs one
// action only.
func TestContractOfWarmRunners(t *testing.T) {
	path := buildRunner(t, "buildbox-run-hosttools")
	fresh := runnertest.Program(path)
	byFiles := func(_ *testing.T, p *pool, args []string) *pooled { return startPooled(p, args) }
	for name, test := range map[string]struct {
		start func(*testing.T, *pool, []string) *pooled
		once  bool
	}{
		"by files":         {start: byFiles},
		"inline":           {start: startInline},
		"inline, one each": {start: startInline, once: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, path, 1)
			p.once = test.once
			c := runnertest.Contract{Start: func(t *testing.T, args ...string) runnertest.Started {
				if !strings.Contains(strings.Join(args, " "), "--action=") {
					return fresh(t, args...) // workers ask fresh ones such things
				}
				return test.start(t, p, args)
			}}
			c.Shell()
			c.Test(t)
		})
	}
}

// pooledAction runs a command in the pool and returns the id of the process that ran it.
func pooledAction(t *testing.T, p *pool, casd *runnertest.CASD, script string) (parent string, e exit) {
	t.Helper()
	dir := runnertest.OpenDir(t)
	action, err := proto.Marshal(&repb.Action{
		CommandDigest:   casd.PutMessage(t, &repb.Command{Arguments: []string{"/bin/sh", "-c", "echo $PPID;" + script}}),
		InputRootDigest: casd.PutMessage(t, new(repb.Directory)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "action"), action, 0o600); err != nil {
		t.Fatal(err)
	}
	r := startPooled(p, []string{"--remote=" + casd.URL, "--action=" + filepath.Join(dir, "action"), "--action-result=" + filepath.Join(dir, "result"), "--stdout-file=" + filepath.Join(dir, "stdout")})
	<-r.done
	if r.err != nil {
		t.Fatal(r.err)
	}
	stdout, err := os.ReadFile(filepath.Join(dir, "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(stdout)), r.exit
}

func TestRunnersConnectWhileTheyWait(t *testing.T) {
	casd, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer casd.Close()
	if err := casd.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, buildRunner(t, "buildbox-run-hosttools"), 1)
	p.warmUp = []string{"--remote=grpc://" + casd.Addr().String()}
	w, err := p.start() // and no action
	if err != nil {
		t.Fatal(err)
	}
	defer p.discard(w)
	connection, err := casd.Accept()
	if err != nil {
		t.Fatalf("no connection while it waits: %v", err)
	}
	connection.Close()
}

func TestWarmRunnersAreUsedAgain(t *testing.T) {
	casd := runnertest.Start(t)
	p := newPool(t, buildRunner(t, "buildbox-run-hosttools"), 1)
	first, _ := pooledAction(t, p, casd, "exit 0")
	for _, script := range []string{"exit 3", "kill -9 $$"} {
		if next, e := pooledAction(t, p, casd, script); next != first || e.code != 0 {
			t.Errorf("%s: run by process %s, exit %d, want %s and 0", script, next, e.code, first)
		}
	}
	// One that was killed while it waited is replaced, and the action doesn't notice.
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.idle[0].ended
	if next, e := pooledAction(t, p, casd, "exit 0"); next == first || e.code != 0 {
		t.Errorf("run by process %s, exit %d, want another than %s and 0", next, e.code, first)
	}
}

func TestProcessesForOneActionAreStartedAhead(t *testing.T) {
	casd := runnertest.Start(t)
	p := newPool(t, buildRunner(t, "buildbox-run-hosttools"), 1)
	p.once = true
	p.startAhead()
	seen := make(map[string]bool)
	for range 3 {
		awaitWaiting(t, p, 1)
		next := p.waiting()[0].cmd.Process.Pid
		by, e := pooledAction(t, p, casd, "exit 0")
		if by != strconv.Itoa(next) || e.code != 0 {
			t.Errorf("run by process %s, exit %d, want the one that waited, %d", by, e.code, next)
		}
		seen[by] = true
	}
	if len(seen) != 3 {
		t.Errorf("processes %v ran three actions", seen)
	}
}

// waiting are the processes that wait for an action.
func (p *pool) waiting() []*warmRunner {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.idle)
}

// awaitWaiting waits until so many do.
func awaitWaiting(t *testing.T, p *pool, n int) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for len(p.waiting()) != n {
		if time.Now().After(deadline) {
			t.Fatalf("%d processes wait for an action, want %d", len(p.waiting()), n)
		}
		time.Sleep(time.Millisecond)
	}
}

// As many processes as there are actions at a time, and one: up to the limit, and for as long
// as there is need of them.
func TestPoolGrowsWithNeedAndShrinks(t *testing.T) {
	casd := runnertest.Start(t)
	p := newPool(t, buildRunner(t, "buildbox-run-hosttools"), 4)
	p.startAhead()
	awaitWaiting(t, p, 1)
	pooledAction(t, p, casd, "exit 0")
	awaitWaiting(t, p, 2) // the one that ran it, and the one started ahead
	for range 3 {
		pooledAction(t, p, casd, "exit 0")
	}
	if n := len(p.waiting()); n != 2 {
		t.Errorf("%d processes after actions one by one, want 2", n)
	}

	together := func(n int) {
		gate, runs := runnertest.OpenDir(t)+"/gate", make([]*pooled, n)
		action, err := proto.Marshal(&repb.Action{
			CommandDigest: casd.PutMessage(t, &repb.Command{Arguments: []string{"/bin/sh", "-c", "while ! [ -e " + gate + " ]; do sleep 0.01; done"},
				EnvironmentVariables: []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}}),
			InputRootDigest: casd.PutMessage(t, new(repb.Directory)),
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range runs {
			runs[i] = start(func(ctx context.Context) (exit, error) {
				return p.run(ctx, runner.PoolRequest{Args: []string{"--remote=" + casd.URL}, Inline: true, Action: action})
			})
		}
		for casd.Staged() < n {
			time.Sleep(time.Millisecond)
		}
		if err := os.WriteFile(gate, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			if <-r.done; r.err != nil || r.exit.code != 0 {
				t.Fatalf("exit %+v, %v", r.exit, r.err)
			}
		}
	}
	together(6)
	awaitWaiting(t, p, 4) // no more than the limit
	all := p.waiting()
	p.mu.Lock()
	p.maxIdle = 20 * time.Millisecond // of those that are used from now on
	p.mu.Unlock()
	together(4)
	awaitWaiting(t, p, 1)
	last := p.waiting()[0]
	for _, w := range all {
		if w == last {
			continue
		}
		select {
		case <-w.ended:
		case <-time.After(20 * time.Second):
			t.Fatal("a process that isn't waiting any more goes on")
		}
	}
	time.Sleep(5 * p.maxIdle)
	if now := p.waiting(); len(now) != 1 || now[0] != last {
		t.Error("the last process that waits was ended, too")
	}
}

func TestWarmRunnerIsReplacedAfterSoManyActions(t *testing.T) {
	p := newPool(t, buildRunner(t, "buildbox-run-hosttools"), 1)
	w, err := p.start()
	if err != nil {
		t.Fatal(err)
	}
	w.actions = maxPooledActions - 1
	p.give(w)
	if len(p.waiting()) != 1 {
		t.Fatal("it wasn't kept for its last action")
	}
	if w, _, err = p.take(); err != nil {
		t.Fatal(err)
	}
	w.actions++
	p.give(w)
	if len(p.waiting()) != 0 {
		t.Errorf("it is kept after %d actions", w.actions)
	}
	<-w.ended
}

func TestWarmRunnersEndWithTheirPool(t *testing.T) {
	casd := runnertest.Start(t)
	p := newPool(t, buildRunner(t, "buildbox-run-hosttools"), 2)
	pooledAction(t, p, casd, "exit 0")
	w := p.idle[0]
	begin := time.Now()
	p.close()
	if err := w.cmd.Process.Signal(syscall.Signal(0)); err == nil || time.Since(begin) > termGrace/2 {
		t.Errorf("the process is there %v after the pool was closed: %v", time.Since(begin), err)
	}
}

// A worker that is killed can't tell its warm runners: they see the pipe close, in the
// middle of an action too.
func TestWarmRunnersEndWithTheirWorker(t *testing.T) {
	casd := runnertest.Start(t)
	p := newPool(t, buildRunner(t, "buildbox-run-hosttools"), 1)
	w, err := p.start()
	if err != nil {
		t.Fatal(err)
	}
	dir := runnertest.OpenDir(t)
	c := new(runnertest.Contract)
	c.Shell()
	action, err := proto.Marshal(&repb.Action{CommandDigest: casd.PutMessage(t, c.Endless()), InputRootDigest: digest.Empty.Proto()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "action"), action, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.encoder.Encode(map[string]any{"args": []string{"--remote=" + casd.URL, "--action=" + dir + "/action"}}); err != nil {
		t.Fatal(err)
	}
	for casd.Staged() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	w.requests.Close()
	select {
	case <-w.ended:
	case <-time.After(20 * time.Second):
		t.Error("the runner goes on without its worker")
		_ = w.cmd.Process.Kill()
	}
	casd.AwaitUnstaged()
}

// An action may be larger than a pipe has room for: who sends it to a runner that doesn't
// read must not wait for ever.
func TestLeaseEndsWhileARunnerDoesNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runner")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho $$ >$0.new\nmv $0.new $0.pid\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, path, 1)
	r := start(func(ctx context.Context) (exit, error) {
		return p.run(ctx, runner.PoolRequest{Inline: true, Action: make([]byte, 1<<20)})
	})
	var pid []byte
	for err := os.ErrNotExist; err != nil; pid, err = os.ReadFile(path + ".pid") {
		time.Sleep(time.Millisecond)
	}
	r.cancel(errDropped)
	defer func() { // the pool would wait for it
		if pid, err := strconv.Atoi(strings.TrimSpace(string(pid))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}()
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the lease is over, and the action is still being sent")
	}
	if !errors.Is(r.err, errDropped) {
		t.Errorf("it ended with %+v, %v", r.exit, r.err)
	}
}

// One whose answer can't be read is as good as gone, even if it waits for more.
func TestRunnerThatTalksNonsenseIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runner")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nread request <&3\necho what\\? >&4\nexec cat <&3 >/dev/null\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, path, 1)
	r := start(func(ctx context.Context) (exit, error) { return p.run(ctx, runner.PoolRequest{Inline: true}) })
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		t.Fatal("its answer is still being waited for")
	}
	if r.err != nil || r.exit.result.err == nil {
		t.Errorf("it ended with %+v, %v", r.exit, r.err)
	}
}

func TestPoolOfOtherRunnersIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buildbox-run")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho no-logs-capture\necho serve-pool\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := &Worker{cfg: Config{RunnerPath: path, RunnerPool: new(2)}}
	if _, err := w.openPool(t.Context()); err == nil || !strings.Contains(err.Error(), "do without a pool") {
		t.Errorf("error %v", err)
	}
	for _, n := range []*int{nil, new(0)} {
		w.cfg.RunnerPool = n
		if p, err := w.openPool(t.Context()); p != nil || err != nil {
			t.Errorf("where none is asked for: %v, %v", p, err)
		}
	}
}
