package queue

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Policy is the order in which waiting tasks are given out, as a tree for each
// platform: tenant, correlated invocations, invocation, task. Each node picks a
// child by the rule of its children's level; a level with NoRule is left out.
// The zero Policy is first in, first out.
//
// Each rule but Fair compares the tasks that the children would give. Platforms
// have no common tree: of those that a worker serves it is the turn of the one whose
// first task comes before those of the others, by the first rule from the root that
// isn't Fair.
type Policy struct {
	// Tenant, Correlated and Invocation say how to choose among tenants, among a
	// tenant's correlated invocations, and among invocations.
	Tenant, Correlated, Invocation Rule
	// Task says how to choose among the tasks of one of them. NoRule means FIFO,
	// and Fair isn't possible.
	Task Rule

	// Ageing is how long a wait makes a task more urgent by one step of priority.
	// Zero means 1 min; negative means that waiting doesn't, so that urgent work
	// can starve the rest.
	Ageing time.Duration
	// Patience bounds how long a task waits for shorter ones: for such as arrive
	// up to Patience times the difference after it. Zero means 10; negative means
	// that short work can starve the rest.
	Patience int
	// Cost is what is shared fairly.
	Cost Cost
}

// Rule is how a node picks among its children.
type Rule uint8

// The rules. Each has a file, which says exactly what it promises.
const (
	NoRule Rule = iota
	// FIFO: what arrived first.
	FIFO
	// Priority: what is most urgent, by priority and by how long it has waited.
	Priority
	// Fair: each child its share, by weight.
	Fair
	// Shortest: what is expected to take the least time.
	Shortest
)

var (
	ruleNames = [...]string{"", "fifo", "priority", "fair", "shortest"}
	costNames = [...]string{"count", "expected", "measured"}
)

func (r Rule) String() string { return ruleNames[r] }

// presets names common trees.
var presets = [...]struct {
	name   string
	policy Policy
}{
	{"fifo", Policy{}},
	{"priority", Policy{Task: Priority}},
	{"shortest", Policy{Task: Shortest}},
	{"fair", Policy{Tenant: Fair, Correlated: Fair, Invocation: Fair}},
	{"fair-priority", Policy{Tenant: Fair, Correlated: Fair, Invocation: Fair, Task: Priority}},
	{"fair-shortest", Policy{Tenant: Fair, Correlated: Fair, Invocation: Fair, Task: Shortest}},
	{"fair-time", Policy{Tenant: Fair, Correlated: Fair, Invocation: Fair, Cost: CostMeasured}},
	{"fair-tenants", Policy{Tenant: Fair, Task: Priority}},
}

// Presets returns the names of all presets, the default first.
func Presets() []string {
	var names []string
	for _, p := range presets {
		names = append(names, p.name)
	}
	return names
}

// ParsePolicy reads a policy: words with spaces between, of which the first may
// be the name of a preset. The others set fields, as in
//
//	fair-priority ageing=30s
//	tenant=fair invocation=priority task=shortest cost=measured
//
// Ageing and patience may be off.
func ParsePolicy(text string) (Policy, error) {
	var p Policy
	for i, word := range strings.Fields(text) {
		name, value, isField := strings.Cut(word, "=")
		if !isField {
			if i > 0 {
				return Policy{}, fmt.Errorf("policy %q: %q must be FIELD=VALUE; the name of a preset can only come first", text, word)
			}
			preset, err := preset(word)
			if err != nil {
				return Policy{}, fmt.Errorf("policy %q: %w", text, err)
			}
			p = preset
			continue
		}
		if err := p.set(name, value); err != nil {
			return Policy{}, fmt.Errorf("policy %q: %w", text, err)
		}
	}
	return p.canonical(), nil
}

func preset(name string) (Policy, error) {
	for _, p := range presets {
		if p.name == name {
			return p.policy, nil
		}
	}
	return Policy{}, fmt.Errorf("there is no preset %q, only %s", name, strings.Join(Presets(), ", "))
}

func (p *Policy) set(name, value string) error {
	switch name {
	case "tenant", "correlated", "invocation", "task":
		for r := FIFO; r <= Shortest; r++ {
			if ruleNames[r] == value && (name != "task" || r != Fair) {
				*p.rule(name) = r
				return nil
			}
		}
		if name == "task" {
			return fmt.Errorf("task=%s: a rule for tasks is fifo, priority or shortest", value)
		}
		return fmt.Errorf("%s=%s: a rule is fifo, priority, fair or shortest", name, value)
	case "ageing":
		d, err := time.ParseDuration(value)
		if value == "off" {
			d, err = -1, nil
		}
		if err != nil || d == 0 || d < -1 {
			return fmt.Errorf("ageing=%s: must be a time like 30s that is worth one step of priority, or off", value)
		}
		p.Ageing = d
	case "patience":
		n, err := strconv.ParseInt(value, 10, 32)
		if value == "off" {
			n, err = -1, nil
		}
		if err != nil || n == 0 || n < -1 {
			return fmt.Errorf("patience=%s: must be a whole number from 1 on, or off", value)
		}
		p.Patience = int(n)
	case "cost":
		for c, known := range costNames {
			if known == value {
				p.Cost = Cost(c)
				return nil
			}
		}
		return fmt.Errorf("cost=%s: must be one of %s", value, strings.Join(costNames[:], ", "))
	default:
		return fmt.Errorf("there is no field %q, only tenant, correlated, invocation, task, ageing, patience, cost", name)
	}
	return nil
}

func (p *Policy) rule(name string) *Rule {
	switch name {
	case "tenant":
		return &p.Tenant
	case "correlated":
		return &p.Correlated
	case "invocation":
		return &p.Invocation
	}
	return &p.Task
}

// canonical writes defaults as zero, so that equal policies are equal.
func (p Policy) canonical() Policy {
	if p.Task == FIFO {
		p.Task = NoRule
	}
	if p.Ageing == defaultAgeing {
		p.Ageing = 0
	}
	if p.Patience == defaultPatience {
		p.Patience = 0
	}
	p.Ageing, p.Patience = max(p.Ageing, -1), max(p.Patience, -1)
	return p
}

// String returns the policy as ParsePolicy reads it: the name of a preset, if it
// is one, or the one it differs from in its settings alone, or all its fields.
func (p Policy) String() string {
	p = p.canonical()
	tree := Policy{Tenant: p.Tenant, Correlated: p.Correlated, Invocation: p.Invocation, Task: p.Task}
	var words []string
	cost := p.Cost
	for _, exact := range []bool{true, false} {
		for _, known := range presets {
			if len(words) > 0 {
				break
			}
			if known.policy == tree && !exact {
				words = append(words, known.name)
			}
			with := tree
			with.Cost = p.Cost
			if known.policy == with && exact {
				words, cost = append(words, known.name), CostCount
			}
		}
	}
	if len(words) == 0 {
		for _, name := range []string{"tenant", "correlated", "invocation"} {
			if r := *p.rule(name); r != NoRule {
				words = append(words, name+"="+ruleNames[r])
			}
		}
		words = append(words, "task="+ruleNames[cmp.Or(p.Task, FIFO)])
	}
	switch {
	case p.Ageing > 0:
		words = append(words, "ageing="+p.Ageing.String())
	case p.Ageing < 0:
		words = append(words, "ageing=off")
	}
	switch {
	case p.Patience > 0:
		words = append(words, "patience="+strconv.Itoa(p.Patience))
	case p.Patience < 0:
		words = append(words, "patience=off")
	}
	if cost != CostCount {
		words = append(words, "cost="+costNames[cost])
	}
	return strings.Join(words, " ")
}

// Uses reports whether some level goes by a rule.
func (p Policy) Uses(r Rule) bool {
	return p.Tenant == r || p.Correlated == r || p.Invocation == r || p.Task == r
}

// Groups reports whether tasks are grouped: if not, it means nothing which groups
// they come with.
func (p Policy) Groups() bool {
	return p.Tenant != NoRule || p.Correlated != NoRule || p.Invocation != NoRule
}

// MarshalText and UnmarshalText let configuration files hold policies.
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePolicy.
func (p *Policy) UnmarshalText(text []byte) error {
	parsed, err := ParsePolicy(string(text))
	if err == nil {
		*p = parsed
	}
	return err
}

func (p Policy) withDefaults() Policy {
	p.Ageing, p.Patience = cmp.Or(p.Ageing, defaultAgeing), cmp.Or(p.Patience, defaultPatience)
	return p
}

// levels returns the tree, from the root down. A leaf is in the order of arrival;
// tasks under another rule have a leaf for all that the rule finds equal.
func (p Policy) levels() []level {
	var levels []level
	add := func(by grouping, r Rule) { levels = append(levels, level{by, r}) }
	for by, r := range []Rule{p.Tenant, p.Correlated, p.Invocation} {
		if r != NoRule {
			add(grouping(by), r)
		}
	}
	switch p.Task {
	case Priority:
		add(byPriority, Priority)
	case Shortest:
		add(byDuration, Shortest)
	case Fair:
		panic("queue: tasks can't be shared fairly among themselves")
	}
	return levels
}
