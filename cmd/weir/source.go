package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/traces/jaeger"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	// tokenVariable is the environment variable of the token for Jaeger.
	tokenVariable = "WEIR_JAEGER_TOKEN"
	// frontService is the role that every build passes: builds are found by it.
	frontService = "proxy-server"
	// maxProblems is how many places of a damaged file are named; others are counted.
	maxProblems = 20
	// traceDigits is the length of a trace id.
	traceDigits = 2 * len(lifecycle.TraceID{})
)

// A source is where a command reads spans, a run folder, a file of spans or a
// Jaeger, and says which traces of it the user wants.
//
// What can't be read doesn't hide the rest: the methods give what there is and
// return an error, which a command returns after it has shown what there is.
type source struct {
	run               string // folder or file; empty with a Jaeger
	jaeger, tokenFile string
	trace, invocation string // at most one of them is set
	suffix            string // of the flags that set these, where a command has two sources
	actionsOnly       bool   // the command has no use for calls: most of a cluster's spans
}

// flags adds the flags of a source to a command.
func (s *source) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.jaeger, "jaeger", "", "read from the Jaeger at this URL instead of RUN, such as http://127.0.0.1:16686")
	f.StringVar(&s.tokenFile, "jaeger-token-file", "", "file of a token that Jaeger wants to see (default: $"+tokenVariable+")")
	f.StringVar(&s.trace, "trace", "", "only the trace with this id (32 hex digits, or the first of them)")
	f.StringVar(&s.invocation, "invocation", "", "only the trace of the build with this invocation id")
}

// args wants RUN unless there is a Jaeger, and so many arguments more.
func (s *source) args(more int) cobra.PositionalArgs {
	return args(func(c *cobra.Command, a []string) error {
		switch err := s.validate(); {
		case err != nil:
			return err
		case s.jaeger == "":
			return cobra.ExactArgs(1+more)(c, a)
		case len(a) == 1+more:
			return fmt.Errorf("RUN %q and --jaeger: want one of them", a[0])
		}
		return cobra.ExactArgs(more)(c, a)
	})
}

// validate says what is wrong with the flags.
func (s *source) validate() error {
	if s.trace != "" && s.invocation != "" {
		return fmt.Errorf("--trace%[1]s and --invocation%[1]s: want one of them", s.suffix)
	}
	if len(s.trace) > traceDigits || strings.Trim(s.trace, "0123456789abcdef") != "" {
		return fmt.Errorf("--trace%[1]s %[2]q: want up to %[3]d hex digits (the UUID of a build goes with --invocation%[1]s)", s.suffix, s.trace, traceDigits)
	}
	if s.jaeger != "" {
		if _, err := jaeger.ParseURL(s.jaeger); err != nil {
			return fmt.Errorf("--jaeger: %w", err)
		}
	}
	return nil
}

// take takes RUN off the arguments, if it is there, and returns the others.
func (s *source) take(a []string) []string {
	if s.jaeger != "" {
		return a
	}
	s.run = a[0]
	return a[1:]
}

// A sourcePair is two sources to be compared, both of which may be in one Jaeger.
type sourcePair struct{ a, b source }

// flags adds the flags of both to a command.
func (p *sourcePair) flags(c *cobra.Command) {
	p.a.suffix, p.b.suffix = "-a", "-b"
	f := c.Flags()
	f.StringVar(&p.b.jaeger, "jaeger", "", "read B from the Jaeger at this URL, and A too if no run is named")
	f.StringVar(&p.b.tokenFile, "jaeger-token-file", "", "file of a token that Jaeger wants to see (default: $"+tokenVariable+")")
	f.StringVar(&p.a.trace, "trace-a", "", "of A, only the trace with this id (32 hex digits, or the first of them)")
	f.StringVar(&p.b.trace, "trace-b", "", "of B, only the trace with this id")
	f.StringVar(&p.a.invocation, "invocation-a", "", "of A, only the trace of the build with this invocation id")
	f.StringVar(&p.b.invocation, "invocation-b", "", "of B, only the trace of the build with this invocation id")
}

// args wants two runs, or with a Jaeger one or none.
func (p *sourcePair) args() cobra.PositionalArgs {
	return args(func(c *cobra.Command, a []string) error {
		for _, s := range []*source{&p.a, &p.b} {
			if err := s.validate(); err != nil {
				return err
			}
		}
		if p.b.jaeger != "" {
			return cobra.MaximumNArgs(1)(c, a)
		}
		return cobra.ExactArgs(2)(c, a)
	})
}

// take takes the runs off the arguments.
func (p *sourcePair) take(a []string) {
	if len(a) == 0 {
		p.a.jaeger, p.a.tokenFile = p.b.jaeger, p.b.tokenFile
	}
	p.b.take(p.a.take(a))
}

// name is how messages call the source.
func (s *source) name() string {
	if s.jaeger == "" {
		return s.run
	}
	if u, err := jaeger.ParseURL(s.jaeger); err == nil {
		return u.Redacted()
	}
	return "Jaeger"
}

// load reads the traces that the user wants into memory.
func (s *source) load(ctx context.Context) (*lifecycle.Traces, error) {
	traces, err := s.read(ctx)
	if n := traces.Strays(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%s: left out %d spans whose ids are no ids: weir trace check names them", s.name(), n))
	}
	return traces, err
}

func (s *source) read(ctx context.Context) (*lifecycle.Traces, error) {
	traces := &lifecycle.Traces{ActionsOnly: s.actionsOnly}
	if s.jaeger != "" {
		return traces, s.fromJaeger(ctx, traces.AddRecord)
	}
	if info, err := os.Stat(spansOf(s.run)); err == nil {
		startHeap(info.Size())
	}
	if !s.selects() {
		return traces, eachRecord(s.run, traces.AddRecord)
	}
	wanted := s.wanted()
	seen, last := make(map[lifecycle.TraceID]bool), lifecycle.TraceID{}
	traces.Only = func(id lifecycle.TraceID) bool {
		if id != last { // spans come in runs
			seen[id], last = true, id
		}
		return wanted(id)
	}
	err := eachRecord(s.run, traces.AddRecord)
	if traces.Len() == 0 && s.invocation != "" {
		// A client that sends traceparent has chosen the trace's id itself.
		if ids := invocationTraces(s.run, s.invocation); len(ids) > 0 {
			traces.Only = func(id lifecycle.TraceID) bool { return ids[id] }
			err = eachRecord(s.run, traces.AddRecord)
		}
	}
	if traces.Len() == 0 {
		err = errors.Join(err, fmt.Errorf("%s: no trace %s among %d", s.run, s.selection(), len(seen)))
	}
	return traces, err
}

// wanted returns which traces of a file the user wants.
func (s *source) wanted() func(lifecycle.TraceID) bool {
	if s.invocation != "" {
		of := tracecontext.OfInvocation(s.invocation).Trace
		return func(id lifecycle.TraceID) bool { return id == of }
	}
	return func(id lifecycle.TraceID) bool {
		var text [traceDigits]byte
		hex.Encode(text[:], id[:])
		return string(text[:len(s.trace)]) == s.trace
	}
}

// selects reports whether the user wants some traces only.
func (s *source) selects() bool { return s.trace != "" || s.invocation != "" }

// selection is how messages call what the user wants.
func (s *source) selection() string {
	if s.invocation != "" {
		return "of invocation " + s.invocation
	}
	return s.trace
}

// eachTree gives the traces that the user wants to f, in the order in which they
// began.
func (s *source) eachTree(ctx context.Context, f func(*lifecycle.Tree) error) error {
	traces, problem := s.load(ctx)
	if problem == nil && traces.Len() == 0 {
		return fmt.Errorf("%s: no spans", s.name())
	}
	for trace := range traces.All() {
		if err := f(lifecycle.Build(trace)); err != nil {
			return errors.Join(problem, err)
		}
	}
	return problem
}

// check gives the spans that the user wants to a checker. Of a whole file none is
// kept.
func (s *source) check(ctx context.Context, checker *lifecycle.Checker) error {
	if s.jaeger != "" {
		return s.fromJaeger(ctx, checker.AddRecord)
	}
	if !s.selects() {
		return eachRecord(s.run, checker.AddRecord)
	}
	traces, err := s.load(ctx)
	for trace := range traces.All() {
		for _, span := range trace.Spans {
			checker.AddSpan(span)
		}
	}
	return err
}

// eachRecord gives the records of a run folder, or of a file of spans, to add. It
// goes on behind records that make no sense, and says where they are.
func eachRecord(run string, add func(record []byte) error) error {
	file, err := os.Open(spansOf(run))
	switch {
	case errors.Is(err, fs.ErrNotExist) && spansOf(run) != run:
		return fmt.Errorf("%s holds no %s: want the folder of a run, such as runs/20261126T101500Z-1f2e, or a file of spans", run, spansFile)
	case err != nil:
		return err
	}
	defer file.Close()
	var problems []error
	found := 0
	for record, err := range otlpfile.Records(bufio.NewReader(file)) {
		if err == nil {
			if err = add(record.Data); err == nil {
				continue
			}
			err = record.Undecodable(err)
		}
		if re := (*otlpfile.RecordError)(nil); errors.As(err, &re) && re.Offset == 0 && errors.Is(err, otlpfile.ErrTooLarge) {
			return fmt.Errorf("%s is no file of spans: want one of the OpenTelemetry collector's file exporter (protobuf), or the folder of a run; weir trace import reads logs of Bazel's", file.Name())
		}
		if found++; found <= maxProblems {
			problems = append(problems, fmt.Errorf("%s: %w", file.Name(), err))
		}
	}
	if found > maxProblems {
		problems = append(problems, fmt.Errorf("%s: and %d more records that can't be read", file.Name(), found-maxProblems))
	}
	return errors.Join(problems...)
}

// spansOf returns the path of the spans of a run folder, or of a file of spans.
func spansOf(run string) string {
	if info, err := os.Stat(run); err == nil && info.IsDir() {
		return filepath.Join(run, spansFile)
	}
	return run
}

// invocationTraces returns the traces with spans that name a build. Problems of
// the file have been told by who read it before.
func invocationTraces(run, invocation string) map[lifecycle.TraceID]bool {
	ids := make(map[lifecycle.TraceID]bool)
	_ = eachRecord(run, func(record []byte) error {
		var traces lifecycle.Traces
		err := traces.AddRecord(record)
		for trace := range traces.All() {
			for _, span := range trace.Spans {
				if span.Attr(semconv.AttrInvocationID) == invocation {
					ids[trace.ID] = true
				}
			}
		}
		return err
	})
	return ids
}

// fromJaeger gives the records that the user wants to add, of one trace after the
// other. If the user wants none in particular, the error lists what there is.
func (s *source) fromJaeger(ctx context.Context, add func(record []byte) error) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	switch {
	case s.invocation != "":
		unknown := client.Trace(ctx, tracecontext.OfInvocation(s.invocation).Trace, add)
		if !errors.Is(unknown, jaeger.ErrUnknown) {
			return unknown
		}
		// A client that sends traceparent has chosen the trace's id itself.
		found, err := client.Find(ctx, jaeger.Query{Service: frontService, Tags: map[string]string{semconv.AttrInvocationID: s.invocation}})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("invocation %s: %w", s.invocation, unknown)
		}
		return each(ctx, client, found, add)
	case len(s.trace) == traceDigits:
		var id lifecycle.TraceID
		if _, err := hex.Decode(id[:], []byte(s.trace)); err != nil {
			return err
		}
		return client.Trace(ctx, id, add)
	}
	latest, err := client.Find(ctx, jaeger.Query{Service: frontService})
	switch {
	case err != nil:
		return err
	case len(latest) == 0:
		return s.noBuilds(ctx, client)
	case s.trace == "":
		return usageError{fmt.Errorf("%[1]s: choose a build by --trace%[2]s or --invocation%[2]s. The latest %[3]d:\n%[4]s", s.name(), s.suffix, len(latest), listing(latest))}
	}
	var found []jaeger.Found
	for _, f := range latest {
		if strings.HasPrefix(f.Trace.String(), s.trace) {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		return fmt.Errorf("%s: no trace %s among the latest %d (for others give all %d digits):\n%s", s.name(), s.trace, len(latest), traceDigits, listing(latest))
	}
	return each(ctx, client, found, add)
}

func each(ctx context.Context, client *jaeger.Client, found []jaeger.Found, add func(record []byte) error) error {
	for _, f := range found {
		if err := client.Trace(ctx, f.Trace, add); err != nil {
			return err
		}
	}
	return nil
}

// client returns a client of the Jaeger. Its token is in a file or in the
// environment, and not in a flag, which other users of the machine can read.
func (s *source) client() (*jaeger.Client, error) {
	token := os.Getenv(tokenVariable)
	from := "$" + tokenVariable
	if s.tokenFile != "" {
		text, err := os.ReadFile(s.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--jaeger-token-file: %w", err)
		}
		token, from = string(text), "--jaeger-token-file "+s.tokenFile
	}
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("%s: the token has spaces or characters that a header can't have", from)
	}
	return &jaeger.Client{URL: s.jaeger, Token: token}, nil
}

// noBuilds says that Jaeger has nothing of ours, and what it has.
func (s *source) noBuilds(ctx context.Context, client *jaeger.Client) error {
	services, err := client.Services(ctx)
	if err != nil {
		return err
	}
	knows := "it has no spans at all"
	if len(services) > 0 {
		knows = "it has spans of " + strings.Join(services, ", ")
	}
	return fmt.Errorf("%s: no build of the last %v, for there is no span of %s (%s): has the cluster been started with OTEL_EXPORTER_OTLP_ENDPOINT, and are a few seconds over?",
		s.name(), jaeger.DefaultAge, frontService, knows)
}

// listing is a line for each build.
func listing(found []jaeger.Found) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "  %s  %s  %8s  %6d spans  %s @%s %s\n", f.Trace, f.Start.Format(time.DateTime), f.Duration.Round(time.Millisecond), f.Spans, f.Root, f.Service, f.Invocation)
	}
	return strings.TrimRight(b.String(), "\n")
}
