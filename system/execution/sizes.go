package execution

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/sizing"
)

// Sizes says which workers are larger than others. The zero value: none.
type Sizes struct {
	// Key is that of the property by which workers tell their class.
	Key string
	// Classes are its values, the smallest first. An action that has the property
	// itself gets what it asks for; others go to the class that is large enough for
	// what was measured of their kind.
	Classes []string
	// Percent and Kinds are sizing.Config's.
	Percent, Kinds int
	// Rerun says after which failures an action runs again on a larger class.
	Rerun Rerun
}

// Rerun is which failures of an action are taken for those of the class that was chosen
// for it: then it runs again, once, on the largest, and its client isn't told. An exit code
// is the command's own word, and of a build most are errors of who wrote it, which all
// would wait for twice: hence the default. But a driver of compilers, say, exits with 1
// when the compiler was killed below it.
type Rerun uint8

const (
	// RerunKilled: the command was killed by a signal or ran into its timeout, or
	// nothing came of all attempts.
	RerunKilled Rerun = iota
	// RerunFailed: that, or the command exited with another code than 0.
	RerunFailed
	// RerunNever: none.
	RerunNever
)

var rerunWords = [...]string{"killed", "failed", "never"}

func (r Rerun) String() string { return rerunWords[r] }

// UnmarshalText reads killed, failed or never.
func (r *Rerun) UnmarshalText(text []byte) error {
	i := slices.Index(rerunWords[:], string(text))
	if i < 0 {
		return fmt.Errorf("rerun %q: want one of %s", text, strings.Join(rerunWords[:], ", "))
	}
	*r = Rerun(i)
	return nil
}

// problems says what can't be.
func (c *Sizes) problems(m *Matching) (list []error) {
	add := func(format string, args ...any) { list = append(list, fmt.Errorf("sizes: "+format, args...)) }
	if (c.Key == "") != (len(c.Classes) == 0) {
		add("want both the key of a property and its classes, or neither")
	}
	if len(c.Classes) > sizing.MaxClasses {
		add("there are %d classes, more than %d", len(c.Classes), sizing.MaxClasses)
	}
	for i, class := range c.Classes {
		if class == "" || class == AnyValue || slices.Contains(c.Classes[:i], class) {
			add("%q can't be a class, or is one already", class)
		}
	}
	if c.Percent != 0 && (c.Percent < 100 || c.Percent > sizing.MaxPercent) {
		add("a smaller class may take %d percent of the largest's time, want a number from 100 to %d", c.Percent, sizing.MaxPercent)
	}
	if c.Kinds < 0 {
		add("%d kinds can't be remembered", c.Kinds)
	}
	if _, ok := m.Defaults[c.Key]; c.Key != "" && (ok || slices.Contains(m.Ignore, c.Key)) {
		add("the platform's key %q is ignored or has a default, and should choose a class", c.Key)
	}
	return list
}

// sizes chooses the class of an action that doesn't, and says how long it will take.
// What has been measured is gone when the server ends; then all begin at the largest
// class again.
//
// # What a kind is
//
// Actions of a kind have the same command and ask for the same platform; only their
// inputs differ, as those of a file that is edited and compiled again. It is
// Buildbarn's reduced action, and costs a hash of what is at hand. Mnemonic and target
// would hold on when flags change, but all files of a target, which may be a thousand,
// would be one kind, and clients that send neither would have none. The mnemonic is
// good for a guess at the duration of an action whose kind is new.
type sizes struct {
	key     string
	classes []string
	rerun   Rerun

	mu    sync.Mutex
	table *sizing.Table
}

// size is what is known of an action's size when it is queued.
type size struct {
	kind, mnemonic sizing.Kind
	class          int  // -1 if the action asks for one that isn't ours, or nothing is measured
	chosen         bool // by what was measured
	larger         int  // class on which it runs again, if it has a larger platform
	outgrown       int  // class from which it was moved to that
	doubted        bool // that class failed by the exit code alone, which says nothing yet
}

var unsized = size{class: -1}

// newSizes returns nil if nobody wants to know: there is one class only, and the
// policy doesn't go by durations.
func newSizes(c Sizes, p queue.Policy) *sizes {
	if c.Key == "" && !p.Uses(queue.Shortest) && p.Cost == queue.CostCount {
		return nil
	}
	return &sizes{
		key: c.Key, classes: c.Classes, rerun: c.Rerun,
		table: sizing.New(sizing.Config{Classes: len(c.Classes), Percent: c.Percent, Kinds: c.Kinds}),
	}
}

// place adds the property of a class to those that an action asks for, unless it has
// it, and says how long it is expected to take; 0 if that isn't known.
func (s *sizes) place(op *operation, action *repb.Action, wanted []property) ([]property, size, time.Duration) {
	if s == nil {
		return wanted, unsized, 0
	}
	z := size{kind: s.kindOf(op.instance.name, action, wanted)}
	if m := op.client.request().GetActionMnemonic(); m != "" {
		z.mnemonic = sizing.Kind(hashWords("mnemonic", op.instance.name, m))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var expected time.Duration
	named := slices.IndexFunc(wanted, func(p property) bool { return p.key == s.key })
	switch {
	case s.key == "":
		expected = s.table.Expected(z.kind, z.class)
	case named >= 0:
		if z.class = slices.Index(s.classes, wanted[named].value); z.class < 0 {
			return wanted, z, 0
		}
		expected = s.table.Expected(z.kind, z.class)
	default:
		z.class, expected = s.table.Place(z.kind)
		z.chosen = true
		wanted = append(slices.Clone(wanted), property{s.key, s.classes[z.class]})
		slices.SortFunc(wanted, compareProperties)
	}
	if expected == 0 && z.mnemonic != (sizing.Kind{}) {
		expected = s.table.Expected(z.mnemonic, z.class)
	}
	return wanted, z, expected
}

// kindOf leaves out the class: what is measured on one tells of the others.
func (s *sizes) kindOf(instance string, action *repb.Action, wanted []property) sizing.Kind {
	words := []string{"command", instance, action.CommandDigest.GetHash()}
	for _, p := range wanted {
		if p.key != s.key {
			words = append(words, p.key, p.value)
		}
	}
	return sizing.Kind(hashWords(words...))
}

// hashWords tells lists of words apart.
func hashWords(words ...string) [16]byte {
	h := sha256.New()
	for _, w := range words {
		fmt.Fprintf(h, "%d:%s", len(w), w)
	}
	return [16]byte(h.Sum(nil))
}

// maxSignal is the largest number of a signal of Linux. A command that one has killed
// exits with 128 and its number (POSIX, Shell Command Language 2.8.2).
const maxSignal = 64

// tooLarge says, of a command, what tells by its response that its worker may have been
// too small for it; "" if nothing does.
func (s *sizes) tooLarge(response *repb.ExecuteResponse) string {
	if s == nil || s.rerun == RerunNever {
		return ""
	}
	exit, code := response.GetResult().GetExitCode(), codes.Code(response.GetStatus().GetCode())
	switch {
	case code == codes.DeadlineExceeded:
		return "ran into its timeout"
	case code == codes.OK && isSignal(exit):
		return fmt.Sprintf("was killed by signal %d", exit-128)
	case code == codes.OK && exit != 0 && s.rerun == RerunFailed:
		return fmt.Sprintf("exited with %d", exit)
	}
	return ""
}

func isSignal(exit int32) bool { return exit > 128 && exit <= 128+maxSignal }

// learn takes what became of a task that a worker brought the result of, by an attempt.
func (s *sizes) learn(t *task, attempt uint32) {
	if s == nil || t.size.class < 0 {
		return
	}
	class := t.size.class
	if attempt <= t.moved {
		class = t.size.outgrown
	}
	result, code := t.response.GetResult(), codes.Code(t.response.GetStatus().GetCode())
	switch exit := result.GetExitCode(); {
	case code == codes.DeadlineExceeded, code == codes.OK && isSignal(exit):
		s.failed(t.size.kind, class)
	case code == codes.OK && exit == 0:
		if t.size.doubted && attempt > t.moved {
			s.failed(t.size.kind, t.size.outgrown) // it was for its size
		}
		took, ok := executed(result)
		if !ok {
			return
		}
		s.mu.Lock()
		s.table.Ran(t.size.kind, class, took)
		if t.size.mnemonic != (sizing.Kind{}) {
			s.table.Ran(t.size.mnemonic, class, took)
		}
		s.mu.Unlock()
	}
}

// learnMove takes that a task runs again on a larger class.
func (s *sizes) learnMove(t *task) {
	if s == nil || t.size.class < 0 {
		return
	}
	t.size.outgrown, t.size.class = t.size.class, t.size.larger
	if !t.size.doubted {
		s.failed(t.size.kind, t.size.outgrown)
	}
}

// learnEnd takes how a task ended that has no result: the worker may have been too
// small to say so.
func (s *sizes) learnEnd(t *task, reason queue.Reason) {
	if s != nil && t.size.class >= 0 && (reason == queue.TimedOut || reason == queue.Exhausted) {
		s.failed(t.size.kind, t.size.class)
	}
}

func (s *sizes) failed(kind sizing.Kind, class int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.Failed(kind, class)
}

// text says why a task has its class, by what is known now; "" if it wasn't chosen.
func (s *sizes) text(t *task) string {
	z := t.size
	if t.outgrew != "" {
		return fmt.Sprintf(" It runs again, on larger workers, since on smaller ones %s.", t.outgrew)
	}
	if s == nil || !z.chosen {
		return ""
	}
	s.mu.Lock()
	known := s.table.Known(z.kind)
	s.mu.Unlock()
	var facts []string
	for class, k := range known {
		switch {
		case k.Barred > 0:
			facts = append(facts, fmt.Sprintf("%s was too slow or too small and is left alone for %s", s.classes[class], count(k.Barred, "run", "runs")))
		case k.Mean > 0:
			facts = append(facts, fmt.Sprintf("it takes %v on %s", k.Mean.Round(time.Millisecond), s.classes[class]))
		}
	}
	if len(facts) == 0 {
		facts = append(facts, "nothing was measured")
	}
	return fmt.Sprintf(" It was given %s=%s by what is known of its kind: %s.", s.key, s.classes[z.class], strings.Join(facts, ", "))
}

// executed is how long the command ran, by the worker's word: what it fetched before
// depends on its cache and not on its size.
func executed(result *repb.ActionResult) (time.Duration, bool) {
	m := result.GetExecutionMetadata()
	from, to := m.GetExecutionStartTimestamp(), m.GetExecutionCompletedTimestamp()
	if from.CheckValid() != nil || to.CheckValid() != nil {
		return 0, false
	}
	took := to.AsTime().Sub(from.AsTime())
	return took, took > 0
}

// staffed returns the platform of a chosen class, or of another one if that has no
// worker and the other has: of a larger class if possible, since it is safe. The lock is
// held.
func (s *Server) staffed(now time.Time, p *platform, z *size) (*platform, error) {
	if !z.chosen || p.workers > 0 {
		return p, nil
	}
	var order []int
	for class := z.class + 1; class < len(s.sizes.classes); class++ {
		order = append(order, class)
	}
	for class := z.class - 1; class >= 0; class-- {
		order = append(order, class)
	}
	for _, class := range order {
		if other, err := s.ofClass(now, p, class); other != nil || err != nil {
			z.class = class
			return other, err
		}
	}
	return p, nil
}

// larger returns the platform on whose workers a task runs again that was too large for
// those of its class: of the largest that has any; nil if none does, if the class wasn't
// chosen for it, or if there are too many platforms for one more. The lock is held.
func (s *Server) larger(now time.Time, p *platform, z *size) *platform {
	if !z.chosen || s.sizes.rerun == RerunNever {
		return nil
	}
	for class := len(s.sizes.classes) - 1; class > z.class; class-- {
		if other, err := s.ofClass(now, p, class); other != nil && err == nil {
			z.larger = class
			return other
		}
	}
	return nil
}

// classPlatform is the platform that is like another but for its class.
type classPlatform struct {
	*platform        // nil if no worker served it when it was looked for
	looked    uint64 // for one in vain, when the roster was this, less one
}

// ofClass returns the platform that is like another but for its class, nil if no worker
// serves it. The lock is held.
func (s *Server) ofClass(now time.Time, p *platform, class int) (*platform, error) {
	if p.classes == nil {
		p.classes = make([]classPlatform, len(s.sizes.classes))
	}
	other := &p.classes[class]
	switch {
	case other.platform != nil && other.workers > 0:
		return other.platform, nil
	case other.platform != nil, other.looked == s.shell.roster+1:
		return nil, nil
	}
	wanted := platform{instance: p.instance, properties: slices.Clone(p.properties)}
	at := slices.IndexFunc(wanted.properties, func(p property) bool { return p.key == s.sizes.key })
	wanted.properties[at].value = s.sizes.classes[class]
	for _, session := range s.shell.sessions {
		if session.instance == p.instance && wanted.serves(session.offered) {
			var err error
			other.platform, err = s.platform(now, p.instance, wanted.properties)
			return other.platform, err
		}
	}
	other.looked = s.shell.roster + 1
	return nil, nil
}
