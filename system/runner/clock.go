package runner

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// clock gives wall-clock times that never go back: the wall clock is read once,
// when the program begins, and what follows is measured from there. So each
// timestamp of an action is at or after the one before.
type clock struct{ begin time.Time }

func (c clock) now() *timestamppb.Timestamp { return c.at(time.Now()) }

// at returns the timestamp of t, which was read in this process.
func (c clock) at(t time.Time) *timestamppb.Timestamp {
	return timestamppb.New(c.begin.Add(t.Sub(c.begin)))
}
