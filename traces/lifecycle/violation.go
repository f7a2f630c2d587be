package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Rule is one thing that a trace must keep to.
type Rule string

// The rules.
const (
	// ValidIDs: ids have their length and are not zero.
	ValidIDs Rule = "valid-ids"
	// UniqueIDs: no two spans of a trace have the same id.
	UniqueIDs Rule = "unique-ids"
	// ParentPresent: a span's parent is in the trace, unless the options allow
	// it to be elsewhere.
	ParentPresent Rule = "parent-present"
	// OneRoot: a trace has exactly one root.
	OneRoot Rule = "one-root"
	// NoCycle: every span hangs below a root.
	NoCycle Rule = "no-cycle"
	// EndAfterStart: no span ends before it starts.
	EndAfterStart Rule = "end-after-start"
	// StagePlace: a stage hangs below the span it is a stage of.
	StagePlace Rule = "stage-place"
	// StageWithin: a stage lies within its parent.
	StageWithin Rule = "stage-within"
	// StageOrder: the stages of one parent follow each other.
	StageOrder Rule = "stage-order"
	// WholeTree: an action's tree has as many spans as it says.
	WholeTree Rule = "whole-tree"
	// ValidTimes: a span has a start.
	ValidTimes Rule = "valid-times"
	// ClockOffset: a span that was moved from one clock to another lies where its
	// raw times and the offset put it.
	ClockOffset Rule = "clock-offset"
	// LinkPresent: an operation that another did the work for links to it.
	LinkPresent Rule = "link-present"
	// MatchesMetadata: the tree says what ExecutedActionMetadata says.
	MatchesMetadata Rule = "matches-metadata"
)

// rules are all of them, in the order in which a report has them: what breaks the
// trace as a whole comes first.
var rules = []Rule{
	ValidIDs, UniqueIDs, ParentPresent, OneRoot, NoCycle, WholeTree, ValidTimes, EndAfterStart, StagePlace, StageWithin, StageOrder,
	ClockOffset, LinkPresent, MatchesMetadata,
}

func (r Rule) rank() int { return slices.Index(rules, r) }

// A Violation is one breach of a rule: what is wrong with which span, and the
// two times that contradict each other where it is about times.
type Violation struct {
	Rule  Rule
	Trace TraceID
	Span  SpanID // zero if it is about the trace as a whole
	Name  string // of the span
	// Problem is the sentence, without the names and times around it.
	Problem string
	// Time is the span's own time that is wrong, Against the one it contradicts.
	// Both are zero where the rule is not about times.
	Time, Against time.Time
}

// timeLayout shows a time to the nanosecond: differences that small count.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: trace %s", v.Rule, v.Trace)
	if v.Span != (SpanID{}) {
		fmt.Fprintf(&b, " span %s (%s)", v.Span, v.Name)
	}
	fmt.Fprintf(&b, ": %s", v.Problem)
	if !v.Time.IsZero() || !v.Against.IsZero() {
		fmt.Fprintf(&b, ": %s against %s (%v)", v.Time.UTC().Format(timeLayout), v.Against.UTC().Format(timeLayout), v.Time.Sub(v.Against))
	}
	return b.String()
}

// violation begins one about a span.
func violation(rule Rule, s *Span, problem string) Violation {
	return Violation{Rule: rule, Trace: s.Trace, Span: s.ID, Name: s.Name, Problem: problem}
}

// at adds the two times.
func (v Violation) at(time, against time.Time) Violation {
	v.Time, v.Against = time, against
	return v
}
