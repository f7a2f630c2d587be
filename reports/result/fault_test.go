package result_test

import (
	"testing"
	"time"

	"github.com/weir-build/weir/reports/result"
)

func TestFaultsAreBounded(t *testing.T) {
	for n, notes := range map[int]int{0: 0, result.MaxFaults: 0, result.MaxFaults + 1: 1} {
		r := new(result.Result)
		r.TellFaults(make([]result.FaultEffect, n))
		if len(r.Faults) != min(n, result.MaxFaults) || len(r.Run.Notes) != notes {
			t.Errorf("of %d faults %d are told, with notes %q", n, len(r.Faults), r.Run.Notes)
		}
	}
	all := make([]result.FaultEffect, result.MaxFaults+1)
	all[0].At = time.Second
	r := new(result.Result)
	if r.TellFaults(all); r.Faults[0].At != time.Second {
		t.Error("it isn't the first that are told")
	}
}
