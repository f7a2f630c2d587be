package analysis

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weir-build/weir/traces/semconv"
)

// A Key is what costs are added up by.
type Key string

// The keys.
const (
	ByMnemonic Key = "mnemonic"
	ByTarget   Key = "target"
	ByWorker   Key = "worker"
)

// ParseKey returns the key of a name.
func ParseKey(name string) (Key, error) {
	switch k := Key(name); k {
	case ByMnemonic, ByTarget, ByWorker:
		return k, nil
	}
	return "", fmt.Errorf("%q: want mnemonic, target or worker", name)
}

// A Cost is what the actions of one kind, target or worker cost.
type Cost struct {
	// Name is "" for actions that don't say.
	Name    string `json:"name"`
	Actions int    `json:"actions"` // cached ones included
	// Worker is how long workers were busy, lost attempts included; Share its part
	// of that of all actions, from 0 to 1.
	Worker Seconds `json:"worker_seconds"`
	Share  float64 `json:"worker_share"`
	// Queue is how long the attempts waited for a worker.
	Queue Seconds `json:"queue_seconds"`
	// CPU is what the commands used, of the CPUKnown actions that say; null if
	// none does. The others ran as well.
	CPU      *Seconds `json:"cpu_seconds"`
	CPUKnown int      `json:"cpu_known_actions"`
	// Ran is how many actions were on a worker.
	Ran int `json:"ran_actions"`
	// OutputBytes is the size of the results of the OutputsKnown actions that say,
	// cached ones included; null if none does.
	OutputBytes  *int64 `json:"output_bytes"`
	OutputsKnown int    `json:"outputs_known_actions"`
}

// Costs adds up the costs of actions by a key, the greatest worker time first.
// By worker, each attempt counts where it ran, and the rest of its action where
// the result came from; the cached ones, which ran nowhere, have no name.
func Costs(actions []Action, by Key) []Cost {
	rows := make(map[string]*Cost)
	row := func(name string) *Cost {
		c := rows[name]
		if c == nil {
			c = &Cost{Name: name}
			rows[name] = c
		}
		return c
	}
	var all Seconds
	for i := range actions {
		a := &actions[i]
		name := a.key(by)
		c := row(name)
		c.Actions++
		ran := false
		for j := range a.Attempts {
			try := &a.Attempts[j]
			c.Queue += Seconds(try.Queue)
			if try.Worker == nil {
				continue
			}
			ran = true
			at := c
			if by == ByWorker {
				at = row(cmp.Or(try.Worker.Span.Attr(semconv.AttrWorker), name))
			}
			at.Worker += Seconds(try.Ran())
			all += Seconds(try.Ran())
		}
		if ran {
			c.Ran++
		}
		if a.CPUKnown {
			c.CPU = plus(c.CPU, Seconds(a.CPU))
			c.CPUKnown++
		}
		if n, known := a.OutputBytes(); known {
			c.OutputBytes = plus(c.OutputBytes, n)
			c.OutputsKnown++
		}
	}
	costs := make([]Cost, 0, len(rows))
	for _, c := range rows {
		c.Share = share(c.Worker, all)
		costs = append(costs, *c)
	}
	slices.SortFunc(costs, func(a, b Cost) int {
		return cmp.Or(cmp.Compare(b.Worker, a.Worker), cmp.Compare(b.Actions, a.Actions), cmp.Compare(a.Name, b.Name))
	})
	return costs
}

func (a *Action) key(by Key) string {
	switch by {
	case ByTarget:
		return a.Target()
	case ByWorker:
		return a.Worker()
	}
	return a.Mnemonic()
}

// plus adds to a sum that is nil until there is something to add.
func plus[N ~int64](sum *N, n N) *N {
	if sum == nil {
		return &n
	}
	*sum += n
	return sum
}
