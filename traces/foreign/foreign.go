// Package foreign turns other tools' records of a build into spans of our own
// vocabulary, so that a build on somebody else's cluster can be read with our
// tools.
//
// A record has a format, and each format is one file of this package:
//
//	bazelgrpclog.go    the calls of a Bazel, as it logs them
//	bazelprofile.go    a Bazel's own view of its build, the JSON trace profile
//
// [Import] reads a record, packed with gzip or not, and hands over spans as it
// goes. Each build becomes one trace, whose id is that of its invocation, as on a
// cluster of ours. All other ids are derived from it and from the place in the
// file, so that the same file gives the same spans.
//
// A record may be cut off, damaged, or of another opinion than our rules of what
// a trace is (see traces/lifecycle). What is imported keeps to the rules. What had
// no place is left out, what had to give way is changed, and the [Report] counts
// both, by reason.
//
// # Another format
//
// Write a file with one function that returns its [Format], and add it to
// [Formats]. Its Read function decodes, and gives what it finds to three helpers:
// builds for the roots, fit for the times that a worker has told, and tally for
// what goes out and for what doesn't. It comes with a small real record in
// testdata, its golden tree, and a fuzz target.
package foreign

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

// A Format is one kind of record.
type Format struct {
	Name string
	Help string // what records it, and how
	// Sniff reports whether a record may begin like this. It gets the first
	// sniffBytes, or fewer if there are no more.
	Sniff func(head []byte) bool
	// Read reads a record and hands its spans to emit, which may keep them. The
	// report is true whether or not there is an error, which is an *InputError or
	// emit's own.
	Read func(r io.Reader, emit func([]build.Span) error) (Report, error)
}

// Formats returns all formats.
func Formats() []Format { return []Format{bazelGRPCLog(), bazelProfile()} }

// sniffBytes is how much of a record is looked at to find its format. The first
// entry of a log has some 200 bytes, the head of a profile less.
const sniffBytes = 4 << 10

// Errors of a record that has no known format, and of one that can't be read to
// its end.
var (
	ErrUnknownFormat = errors.New("the file begins like none of the formats")
	// ErrTorn is a record that ends too early: its writer was killed, or is still
	// at work.
	ErrTorn = errors.New("the file ends within it")
	// ErrTooLarge is an entry above its format's limit: a damaged length, or no
	// record at all.
	ErrTooLarge = errors.New("it is larger than an entry may be")
)

// An InputError says where a record can't be read any further. What comes before
// has been imported.
type InputError struct {
	Place
	Err error
}

// A Place is somewhere in a record.
type Place struct {
	Entry  int   // or event, from 1
	Offset int64 // in bytes, of the unpacked record
}

func (p Place) String() string { return fmt.Sprintf("entry %d at byte %d", p.Entry, p.Offset) }

func (e *InputError) Error() string { return fmt.Sprintf("%v: %v", e.Place, e.Err) }
func (e *InputError) Unwrap() error { return e.Err }

// A Report says what became of a record.
type Report struct {
	Format string
	// Entries is how many entries of a log, or events of a profile, were read.
	Entries int
	// Builds, Actions and Spans is what they gave; CacheHits how many actions or
	// look-ups were answered from the action cache.
	Builds, Actions, Spans, CacheHits int
	// LeftOut counts what has no span, Changed what has one whose times are not
	// the record's. Both are in the order of their first places.
	LeftOut, Changed []Count
}

// A Count is how often something happened, and where first.
type Count struct {
	What  string
	N     int
	First Place
}

// Import reads a record. Its format is the one with the name as; if that is empty,
// the one that it begins like. Errors are ErrUnknownFormat, *InputError, and
// emit's.
func Import(r io.Reader, as string, emit func([]build.Span) error) (Report, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if head, _ := in.Peek(2); string(head) == "\x1f\x8b" { // RFC 1952, 2.3.1
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return Report{}, &InputError{Place{Entry: 1}, torn(err)}
		}
		in = bufio.NewReaderSize(unpacked, 64<<10)
	}
	head, err := in.Peek(sniffBytes)
	if len(head) == 0 && err != io.EOF {
		return Report{}, &InputError{Place{Entry: 1}, torn(err)}
	}
	format, err := find(as, head)
	if err != nil {
		return Report{}, err
	}
	report, err := format.Read(in, emit)
	report.Format = format.Name
	return report, err
}

func find(as string, head []byte) (Format, error) {
	var names []string
	for _, f := range Formats() {
		if as == f.Name || as == "" && f.Sniff(head) {
			return f, nil
		}
		names = append(names, f.Name)
	}
	if as != "" {
		return Format{}, fmt.Errorf("format %q: want one of %s", as, strings.Join(names, ", "))
	}
	return Format{}, fmt.Errorf("%w, which are %s", ErrUnknownFormat, strings.Join(names, ", "))
}

// torn turns the end of the input into ErrTorn; other errors are what they are.
func torn(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTorn
	}
	return err
}

// A tally hands spans on and keeps the report.
type tally struct {
	Report
	at   Place // where the reader is
	emit func([]build.Span) error
}

// maxReasons bounds how many reasons a report tells apart, since some of them
// quote the record.
const maxReasons = 100

func (t *tally) spans(list []build.Span) error {
	if len(list) == 0 {
		return nil
	}
	t.Spans += len(list)
	for i := range list {
		if list[i].Name == semconv.SpanAction {
			t.Actions++
		}
	}
	return t.emit(list)
}

func (t *tally) leave(what string, n int)  { t.LeftOut = t.count(t.LeftOut, what, n) }
func (t *tally) change(what string, n int) { t.Changed = t.count(t.Changed, what, n) }

func (t *tally) count(counts []Count, what string, n int) []Count {
	if n == 0 {
		return counts
	}
	same := func(c Count) bool { return c.What == what }
	i := slices.IndexFunc(counts, same)
	if i < 0 && len(counts) >= maxReasons {
		what = "for yet other reasons"
		i = slices.IndexFunc(counts, same)
	}
	if i < 0 {
		return append(counts, Count{what, n, t.at})
	}
	counts[i].N += n
	return counts
}

// failed is an error at the place where the reader is.
func (t *tally) failed(err error) error { return &InputError{t.at, torn(err)} }

// builds are the roots of a record's traces.
type builds struct {
	byTrace map[tracecontext.TraceID]*invocation
}

// maxBuilds bounds the builds of one record. Tools begin a new file for each
// build; a day's files joined are some thousands.
const maxBuilds = 100_000

// An invocation is one build: from the first to the last thing known of it.
type invocation struct {
	root                            tracecontext.Context
	id, tool, version, correlatedID string
	first, last                     time.Time
}

// of returns the build with an invocation id; nil if there are too many.
func (b *builds) of(id string) *invocation {
	root := tracecontext.OfInvocation(id)
	if known := b.byTrace[root.Trace]; known != nil {
		return known
	}
	if len(b.byTrace) >= maxBuilds {
		return nil
	}
	if b.byTrace == nil {
		b.byTrace = make(map[tracecontext.TraceID]*invocation)
	}
	known := &invocation{root: root, id: id}
	b.byTrace[root.Trace] = known
	return known
}

// saw widens the build to something that happened in it.
func (i *invocation) saw(start, end time.Time) {
	if i.first.IsZero() || start.Before(i.first) {
		i.first = start
	}
	if i.last.IsZero() || end.After(i.last) {
		i.last = end
	}
}

// finish hands over the root spans, since now it is known when builds ended, and
// returns the error that reading the record ended with. A damaged record has
// roots for what was before the damage.
func (b *builds) finish(t *tally, err error) error {
	if damaged := (*InputError)(nil); err != nil && !errors.As(err, &damaged) {
		return err
	}
	return cmp.Or(b.roots(t), err)
}

func (b *builds) roots(t *tally) error {
	var spans []build.Span
	for _, i := range b.byTrace {
		if i.first.IsZero() {
			continue
		}
		spans = append(spans, build.Span{
			Name: semconv.SpanInvocation, ID: i.root, Start: i.first, End: i.last,
			Attributes: texts(nil,
				semconv.AttrInvocationID, i.id, semconv.AttrToolName, i.tool,
				semconv.AttrToolVersion, i.version, semconv.AttrCorrelatedInvocationsID, i.correlatedID),
		})
	}
	slices.SortFunc(spans, func(a, b build.Span) int {
		return cmp.Or(a.Start.Compare(b.Start), slices.Compare(a.ID.Trace[:], b.ID.Trace[:]))
	})
	t.Builds = len(spans)
	return t.spans(spans)
}

// texts appends the pairs of keys and values whose value isn't empty.
func texts(list []build.Attribute, pairs ...string) []build.Attribute {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			list = append(list, build.Text(pairs[i], pairs[i+1]))
		}
	}
	return list
}

// latest is the last time that a span can have: OTLP counts nanoseconds since
// 1970 in 64 bits, Go in 63.
var latest = time.Unix(0, math.MaxInt64).UTC()

// usable reports whether a span can have a time. 1970 itself is a time that was
// never set.
func usable(at time.Time) bool { return at.After(time.Unix(0, 0)) && at.Before(latest) }
