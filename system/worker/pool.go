package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/system/runner/proctree"
)

const (
	// maxPooledActions is how many actions a warm runner runs before another takes its
	// place: what one may leak has an end, and a start is shared by enough for it not to
	// be felt.
	maxPooledActions = 1000
	// maxIdle is how long a warm runner waits for an action where there is another that
	// waits: long enough for the pauses within a build.
	maxIdle = time.Minute
)

// oneProcessor makes the Go code of a runner of ours run on one processor at a time: most of
// what it does is wait, for casd and the command, and with more its threads wake each other
// for work that is done before they are awake. What a runner does by itself, where there is
// no casd, it does on all (runtime.SetDefaultGOMAXPROCS).
const oneProcessor = "GOMAXPROCS=1"

// pool is runner processes that wait for actions (runner.PoolArg): to run one after the
// other, or, where each action is to have a process of its own, just to be started already.
// An action that finds none starts one; when the last that waits is taken, one more is started
// ahead of need. So there are as many as were in use at a time within maxIdle, and one.
type pool struct {
	path string
	env  []string
	dir  string
	size int // how many may wait for work
	// maxIdle is how long one may wait where there is another; 0 means for ever.
	maxIdle time.Duration
	// warmUp are arguments that a process is told to make ready for; nil for none.
	warmUp []string
	once   bool // a process runs one action only

	// mu guards the fields below.
	mu       sync.Mutex
	idle     []*warmRunner // the last one used last; first those that haven't been used
	used     int           // how many run an action
	starting bool          // one is being started ahead
	closed   bool
	ending   sync.WaitGroup // processes that were told to end
}

// warmRunner is one of them. Only its user touches it.
type warmRunner struct {
	cmd      *exec.Cmd
	requests *os.File
	encoder  *json.Encoder
	replies  chan runner.PoolReply // closed at its end
	log      *pooledLog
	actions  int
	retire   *time.Timer   // ends it if it has waited for too long; nil if nothing does
	ended    chan struct{} // closed when it was waited for
}

// run does what a process with that command line would do.
func (p *pool) run(ctx context.Context, request runner.PoolRequest) (exit, error) {
	if ctx.Err() != nil {
		return exit{}, context.Cause(ctx)
	}
	p.use(1)
	defer p.use(-1)
	for {
		w, fresh, err := p.take()
		if err != nil {
			return exit{}, err
		}
		w.log.begin()
		w.actions++
		if err := w.send(ctx, request); err != nil {
			// One that has ended while it waited did nothing of it.
			p.discard(w)
			switch {
			case ctx.Err() != nil:
				return exit{}, context.Cause(ctx)
			case !fresh:
				continue
			}
			return exit{}, fmt.Errorf("send the action to a warm runner: %w; its log ends with: %s", err, w.log)
		}
		return p.await(ctx, w)
	}
}

// send gives a process its next action, which may be more than the pipe has room for: one
// that doesn't read must not hold the lease up.
func (w *warmRunner) send(ctx context.Context, request runner.PoolRequest) error {
	stop := context.AfterFunc(ctx, func() { _ = w.requests.SetWriteDeadline(time.Now()) })
	defer stop()
	return w.encoder.Encode(request)
}

// await waits for the answer, and makes it come when ctx ends.
func (p *pool) await(ctx context.Context, w *warmRunner) (exit, error) {
	select {
	case reply, ok := <-w.replies:
		if ok {
			w.log.await()
			e := exit{
				code: reply.Exit, state: fmt.Sprintf("exit status %d", reply.Exit), stderr: w.log.String(),
				result: leftInReply("result", reply.Result), reason: leftInReply("status", reply.Status),
			}
			p.give(w)
			return e, nil
		}
	case <-ctx.Done():
		endWith(ctx, w.cmd.Process, w.ended)
	}
	p.discard(w) // if it hasn't ended, but has no more to say
	<-w.ended
	none := left{err: errors.New("it ended without a reply")}
	return exit{code: w.cmd.ProcessState.ExitCode(), state: w.cmd.ProcessState.String(), stderr: w.log.String(), result: none, reason: none}, nil
}

// use counts the actions under way.
func (p *pool) use(change int) {
	p.mu.Lock()
	p.used += change
	p.mu.Unlock()
}

// take returns a process for the caller alone: one that waits, or a fresh one.
func (p *pool) take() (w *warmRunner, fresh bool, err error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		w, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	ahead := len(p.idle) == 0 && (p.once || p.used < p.size)
	p.mu.Unlock()
	if ahead {
		p.startAhead()
	}
	if w == nil {
		w, err = p.start()
		return w, true, err
	}
	if w.retire != nil {
		w.retire.Stop()
	}
	return w, false, nil
}

// startAhead starts a process for an action to come, one at a time.
func (p *pool) startAhead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.starting {
		return
	}
	p.starting = true
	p.ending.Go(func() {
		w, err := p.start()
		p.mu.Lock()
		p.starting = false
		p.mu.Unlock()
		if err == nil { // who needs one will hear of it
			p.keep(w)
		}
	})
}

// give takes back a process that has run an action.
func (p *pool) give(w *warmRunner) {
	if p.once || w.actions >= maxPooledActions {
		p.discard(w)
		return
	}
	p.keep(w)
}

// keep lets a process wait for an action, if there is room for it.
func (p *pool) keep(w *warmRunner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.size {
		p.discard(w)
		return
	}
	if w.actions == 0 {
		p.idle = slices.Insert(p.idle, 0, w) // those that have run one are quicker
	} else {
		p.idle = append(p.idle, w)
	}
	if p.maxIdle > 0 {
		w.retire = time.AfterFunc(p.maxIdle, func() { p.tooMany(w) })
	}
}

// tooMany ends a process that still waits, unless it is the only one that does.
func (p *pool) tooMany(w *warmRunner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, w); i >= 0 && len(p.idle) > 1 {
		p.idle = slices.Delete(p.idle, i, i+1)
		p.discard(w)
	}
}

// discard lets a process end, if it hasn't.
func (p *pool) discard(w *warmRunner) { p.ending.Go(func() { p.end(w) }) }

// end lets a process end and waits for that.
func (p *pool) end(w *warmRunner) {
	w.requests.Close() // which ends it
	timer := time.NewTimer(termGrace)
	defer timer.Stop()
	select {
	case <-w.ended:
	case <-timer.C:
		proctree.Kill(w.cmd.Process.Pid)
		<-w.ended
	}
}

// close ends all processes that wait. Those in use end when they are given back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, w := range idle {
		p.discard(w)
	}
	p.ending.Wait()
}

func (p *pool) start() (*warmRunner, error) {
	theirRequests, requests, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	replies, theirReplies, err := os.Pipe()
	if err != nil {
		theirRequests.Close()
		requests.Close()
		return nil, err
	}
	w := &warmRunner{
		requests: requests, encoder: json.NewEncoder(requests),
		replies: make(chan runner.PoolReply, 1), log: &pooledLog{ends: make(chan struct{}, 1)}, ended: make(chan struct{}),
	}
	w.cmd = &exec.Cmd{
		Path: p.path, Args: []string{p.path, runner.PoolArg}, Env: p.env, Dir: p.dir, Stderr: w.log, WaitDelay: pipeGrace,
		ExtraFiles:  []*os.File{theirRequests, theirReplies},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	err = w.cmd.Start()
	theirRequests.Close()
	theirReplies.Close()
	if err != nil {
		requests.Close()
		replies.Close()
		return nil, fmt.Errorf("start warm runner: %w", err)
	}
	if p.warmUp != nil {
		// The pipe has room for it. One that doesn't take it won't take an action.
		_ = w.encoder.Encode(runner.PoolRequest{Args: p.warmUp, WarmUp: true})
	}
	go func() {
		w.read(replies)
		_ = w.cmd.Wait() // how it ended is in the state
		close(w.ended)
	}()
	return w, nil
}

// pooledLog keeps the end of the log of one action at a time.
type pooledLog struct {
	tail
	ends chan struct{} // PoolLogEnd came
}

func (l *pooledLog) Write(p []byte) (int, error) {
	n, err := l.tail.Write(p)
	if bytes.Contains(p, []byte(runner.PoolLogEnd)) {
		select {
		case l.ends <- struct{}{}:
		default:
		}
	}
	return n, err
}

// begin forgets the log of the action before.
func (l *pooledLog) begin() {
	select {
	case <-l.ends:
	default:
	}
	l.reset()
}

// await waits for the rest of an action's log, which travels by another pipe than its
// answer.
func (l *pooledLog) await() {
	timer := time.NewTimer(pipeGrace)
	defer timer.Stop()
	select {
	case <-l.ends:
	case <-timer.C:
	}
}

// String is the log without the mark of its end.
func (l *pooledLog) String() string {
	return strings.TrimSpace(strings.ReplaceAll(l.tail.String(), runner.PoolLogEnd, ""))
}

// read hands on replies until there are no more.
func (w *warmRunner) read(replies io.ReadCloser) {
	defer replies.Close()
	defer close(w.replies)
	decoder := json.NewDecoder(replies)
	for {
		var r runner.PoolReply
		if err := decoder.Decode(&r); err != nil {
			return
		}
		w.replies <- r
	}
}
