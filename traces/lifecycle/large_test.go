package lifecycle_test

import (
	"bytes"
	"testing"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/tracetest"
)

// What is measured with is a trace as it should be.
func TestLargeKeepsToTheRules(t *testing.T) {
	const actions = 300
	for _, c := range []struct {
		calls bool
		each  int // spans of an action
	}{{false, 13}, {true, 13 + 1 + 41}} {
		checker := lifecycle.NewChecker(lifecycle.Options{})
		for record, err := range otlpfile.Records(bytes.NewReader(tracetest.Large{Actions: actions, Calls: c.calls}.File(t))) {
			if err == nil {
				err = checker.AddRecord(record.Data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		report := checker.Finish()
		for _, v := range report.Violations {
			t.Error(v)
		}
		if report.Traces != 1 || report.Actions != actions || report.Spans != actions*c.each+1 {
			t.Errorf("calls %v: got %d traces, %d actions, %d spans; want 1, %d, %d", c.calls, report.Traces, report.Actions, report.Spans, actions, actions*c.each+1)
		}
	}
}
