package model_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/system/queue"
)

// nth lets all outputs of a kind pass but one, with which it does something.
func nth(kind queue.OutputKind, n int, do func(*queue.Output) bool) func(*queue.Output) bool {
	return func(o *queue.Output) bool {
		if o.Kind != kind {
			return true
		}
		n--
		return n != 0 || do(o)
	}
}

func dropped(*queue.Output) bool { return false }

// TestWhatGoesWrongIsSeen: a model that mishears its scheduler once, in the middle of a
// run, breaks an invariant, whatever it mishears.
func TestWhatGoesWrongIsSeen(t *testing.T) {
	var first queue.WorkerID
	toFirst := func(o *queue.Output) bool {
		o.Worker = first
		return true
	}
	for name, c := range map[string]struct {
		tamper func(*queue.Output) bool
		want   string
	}{
		"a lease that gets lost":           {nth(queue.Leased, 50, dropped), "the model counts"},
		"an operation whose end is lost":   {nth(queue.OperationDone, 50, dropped), "builds wait for"},
		"a lease to another worker":        {nth(queue.Leased, 200, toFirst), "0 times"},
		"an attempt that is given twice":   {nth(queue.Leased, 50, func(o *queue.Output) bool { o.Attempt = 0; return true }), "is leased as attempt 0"},
		"a revocation that gets lost":      {nth(queue.Revoked, 2, dropped), "and has 3 of 3 slots in use"},
		"a task that is queued in silence": {nth(queue.Requeued, 1, dropped), "the model counts"},
	} {
		all := func(o *queue.Output) bool {
			if o.Kind == queue.Connected && first == 0 {
				first = o.Worker
			}
			return c.tamper(o)
		}
		_, err := model.RunTampered(model.Config{Scenario: parse(t, busy), Check: true, MaxEvents: 1_000_000}, all)
		var v *model.Violation
		if !errors.As(err, &v) || !strings.Contains(v.What, c.want) || v.Seed != 5 || v.At == 0 || !strings.HasPrefix(err.Error(), "seed 5, at ") {
			t.Errorf("%s: got %v, want %q in it", name, err, c.want)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

// TestOtherPoliciesAreSeen: what a scheduler decides under one policy is not what another
// one promises, and workers don't idle while tasks wait.
func TestOtherPoliciesAreSeen(t *testing.T) {
	under := func(policy string) model.Config {
		return model.Config{Scenario: parse(t, strings.Replace(busy, "policy: fair-priority", "policy: "+policy, 1)), Check: true}
	}
	for _, c := range []struct{ is, judged, want string }{
		{"fifo", "fifo", ""},
		{"fair", "fair", ""},
		{"shortest", "fifo", "to arrive, before task"},
		{"fair", "fifo", "to arrive, before task"},
		{"fifo", "fair", "waited and got none"},
		{"fifo", "fair-tenants", "tenant"},
		{"fair-tenants", "fair", "invocation"},
	} {
		p, err := queue.ParsePolicy(c.judged)
		if err != nil {
			t.Fatal(err)
		}
		_, err = model.RunJudged(under(c.is), p)
		var v *model.Violation
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &v) || !strings.Contains(v.What, c.want)) {
			t.Errorf("%s, judged as %s: got %v, want %q in it", c.is, c.judged, err, c.want)
		}
	}
	if _, err := model.RunHaunted(under("fifo")); err == nil || !strings.Contains(err.Error(), "while 1 workers of their platform have free slots") {
		t.Errorf("with a worker who waits and is given nothing: %v", err)
	}
}
