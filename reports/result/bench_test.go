package result_test

import (
	"testing"
	"time"

	"github.com/weir-build/weir/reports/result"
)

// BenchmarkRecordAction is what it costs to note an executed action.
func BenchmarkRecordAction(b *testing.B) {
	r := result.NewRecorder(result.Run{})
	at := time.Unix(0, 0)
	a := result.Action{ActionKey: result.ActionKey{Class: "compile", Outcome: result.Executed}, Name: "//a:b"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a.Intended = at.Add(time.Duration(i) * time.Millisecond)
		a.Sent = a.Intended
		a.Queue, a.Run = time.Duration(i%1000)*time.Millisecond, time.Duration(i%777)*time.Millisecond
		a.End = a.Sent.Add(a.Queue + a.Run)
		r.Action(&a)
	}
}
