// Package queuetest tests the queue: scripts for single stories, random
// histories for what must always hold, and a simulated cluster for what must hold
// of its journal, however it ends.
package queuetest

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/system/queue"
)

var update = flag.Bool("update", false, "rewrite the expected output of scripts; read the diff")

// RunScripts runs every script that a pattern matches. A script is a sequence of
// lines; each is one input, below which the outputs stand, indented:
//
//	# a comment
//	config attempts=2 session=60s fair-priority ageing=30s
//	enqueue key=a platform=1 timeout=10s
//	  queued t1 o1
//	+5s
//	poll w1
//	  leased t1 attempt=1 w1
//
// A line that starts with + lets time pass; a tick follows by itself when
// deadlines lie in that time, each at its own. Handles are written as the
// outputs write them, keys are words. In a config line, what isn't a setting is a
// part of the policy.
func RunScripts(t *testing.T, pattern string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, want)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func runScript(t *testing.T, script []byte) []byte {
	r := &runner{t: t, check: NewChecker(t, queue.Config{})}
	lines := bufio.NewScanner(bytes.NewReader(script))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&r.text, line)
		r.line(line)
	}
	return r.text.Bytes()
}

type runner struct {
	t     *testing.T
	check *Checker
	now   queue.Time
	text  bytes.Buffer
}

func (r *runner) line(line string) {
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	if strings.HasPrefix(words[0], "+") {
		r.pass(r.duration(words[0][1:]))
		return
	}
	if words[0] == "config" {
		r.check = NewChecker(r.t, r.config(words[1:]))
		return
	}
	r.step(r.input(words))
}

// pass lets time pass, with a tick at each deadline.
func (r *runner) pass(d time.Duration) {
	end := r.now + queue.Time(d)
	for next := r.check.NextDeadline(); next <= end; next = r.check.NextDeadline() {
		r.now = max(r.now, next)
		fmt.Fprintf(&r.text, "  tick at %v\n", time.Duration(r.now))
		r.step(queue.Input{Kind: queue.Tick})
	}
	r.now = end
}

func (r *runner) step(in queue.Input) {
	for _, o := range r.check.Step(r.now, in) {
		fmt.Fprintf(&r.text, "  %v\n", o)
	}
}

var inputKinds = map[string]queue.InputKind{
	"enqueue": queue.Enqueue, "watch": queue.Watch, "unwatch": queue.Unwatch, "cancel": queue.Cancel,
	"connect": queue.Connect, "serve": queue.Serve, "renew": queue.Renew, "complete": queue.Complete,
	"publish": queue.Publish, "release": queue.Release, "poll": queue.Poll, "pollend": queue.PollEnd,
	"disconnect": queue.Disconnect, "drain": queue.Drain, "undrain": queue.Undrain, "weigh": queue.Weigh, "tick": queue.Tick,
	"outgrow": queue.Outgrow,
}

func (r *runner) input(words []string) queue.Input {
	kind, ok := inputKinds[words[0]]
	if !ok {
		r.t.Fatalf("unknown command %q", words[0])
	}
	in := queue.Input{Kind: kind, Accepting: kind == queue.Poll}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "key":
			copy(in.Key[:], value)
		case "platform":
			in.Platform = queue.PlatformID(r.number(value))
		case "larger":
			in.Larger = uint32(r.number(value))
		case "slots":
			in.Slots = uint32(r.number(value))
		case "attempt":
			in.Attempt = uint32(r.number(value))
		case "timeout":
			in.Timeout = r.duration(value)
		case "tenant":
			in.Tenant = uint32(r.number(value))
		case "correlated":
			in.Correlated = uint32(r.number(value))
		case "invocation":
			in.Invocation = uint32(r.number(value))
		case "weight":
			in.Weight = uint32(r.number(value))
		case "priority":
			in.Priority = int32(r.number(value))
		case "expected":
			in.Expected = r.duration(value)
		case "affinity":
			in.Affinity = uint64(r.number(value))
		case "closed":
			in.Accepting = false
		case "publish":
			in.Accepting = true
		default:
			r.handle(&in, word)
		}
	}
	return in
}

// handle reads a handle as name writes it.
func (r *runner) handle(in *queue.Input, word string) {
	index, again, _ := strings.Cut(word[1:], ".")
	generation := uint64(1)
	if again != "" {
		generation += 2 * uint64(r.number(again))
	}
	h := generation<<32 | uint64(r.number(index))
	switch word[0] {
	case 't':
		in.Task = queue.TaskID(h)
	case 'o':
		in.Operation = queue.OperationID(h)
	case 'w':
		in.Worker = queue.WorkerID(h)
	default:
		r.t.Fatalf("unknown word %q", word)
	}
}

func (r *runner) config(words []string) queue.Config {
	var c queue.Config
	var policy []string
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "attempts":
			c.MaxAttempts = r.number(value)
		case "session":
			c.SessionTimeout = r.duration(value)
		case "lease":
			c.LeaseTimeout = r.duration(value)
		case "grace":
			c.OrphanGrace = r.duration(value)
		case "backoff":
			c.BackOff = r.duration(value)
		case "maxbackoff":
			c.MaxBackOff = r.duration(value)
		case "queued":
			c.MaxQueued = r.number(value)
		case "noworker":
			c.NoWorkerTimeout = r.duration(value)
		case "slack":
			c.TimeoutSlack = r.duration(value)
		default:
			policy = append(policy, word)
		}
	}
	var err error
	if c.Policy, err = queue.ParsePolicy(strings.Join(policy, " ")); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *runner) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *runner) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}
