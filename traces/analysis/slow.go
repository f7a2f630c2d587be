package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Rank is what actions are ordered by: their duration, or that of a column.
type Rank struct {
	column Column
	whole  bool
}

// ParseRank returns the rank of a name: duration, or a column's heading.
func ParseRank(name string) (Rank, error) {
	if name == "duration" {
		return Rank{whole: true}, nil
	}
	if name == "queue" {
		name = columnNames[QueuedColumn]
	}
	if i := slices.Index(columnNames[:], name); i >= 0 {
		return Rank{column: Column(i)}, nil
	}
	return Rank{}, fmt.Errorf("%q: want duration, %s", name, strings.Join(columnNames[:], ", "))
}

func (r Rank) of(a *Action) time.Duration {
	if r.whole {
		return a.Duration()
	}
	return a.Split.columns()[r.column]
}

// Slowest returns the actions that took longest, the longest first; top 0 is all.
func Slowest(actions []Action, by Rank, top int) []*Action {
	all := make([]*Action, len(actions))
	for i := range actions {
		all[i] = &actions[i]
	}
	slices.SortStableFunc(all, func(a, b *Action) int { return cmp.Compare(by.of(b), by.of(a)) })
	if top > 0 && len(all) > top {
		all = all[:top]
	}
	return all
}

// A SlowAction is one in JSON.
type SlowAction struct {
	Ref
	Start    time.Time `json:"start"`
	Seconds  Seconds   `json:"seconds"`
	Stages   Split     `json:"stage_seconds"` // by span name
	Other    Seconds   `json:"other_seconds"` // in no stage
	Reason   string    `json:"queue_reason,omitempty"`
	Attempts int       `json:"attempts"`
}

// SlowJSON returns actions as JSON has them.
func SlowJSON(actions []*Action) []SlowAction {
	list := make([]SlowAction, len(actions))
	for i, a := range actions {
		list[i] = SlowAction{a.Ref(), a.Start, Seconds(a.Duration()), a.Split, Seconds(a.Split.Other()), a.Reason(), len(a.Attempts)}
	}
	return list
}
