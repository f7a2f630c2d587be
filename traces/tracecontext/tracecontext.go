// Package tracecontext holds the identities that tie spans together: W3C trace
// context, and ids derived rather than drawn.
//
// Ids are derived so that processes that never meet agree on them. A build
// whose client sends no `traceparent` takes its trace id from its
// tool_invocation_id. The stages of an action take their span ids from their
// parent's: the execution-server, which writes those spans when the action is
// over, and the runner, whose calls to casd must name the right parent while it
// runs, both compute the same id and never exchange it.
//
//	trace  = the UUID of tool_invocation_id, else the first 16 bytes of its SHA-256
//	span   = the first 8 bytes of SHA-256(trace, parent span, ordinal, stage)
//
// where the ordinal is a big-endian uint64. Spans that nobody has to name in advance
// are derived more cheaply, see [Context.Leaf].
//
// The package imports nothing but the standard library: runners, of which one
// is spawned for each action, use it too.
package tracecontext

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// Header is the name of the W3C header, in gRPC metadata and HTTP.
const Header = "traceparent"

// Env is the environment variable that carries the header's value across a
// fork (OpenTelemetry specification, "Environment Variables as Context
// Propagation Carriers").
const Env = "TRACEPARENT"

// LeasePrefix and a lease id make the key of the response trailer that brings a
// lease's context to the worker.
const LeasePrefix = "traceparent-"

// TraceID and SpanID are the ids of W3C trace context. Zero is invalid.
type (
	TraceID [16]byte
	SpanID  [8]byte
)

func (t TraceID) String() string { return hex.EncodeToString(t[:]) }
func (s SpanID) String() string  { return hex.EncodeToString(s[:]) }

// A Context names a span, as a parent for others. The zero Context names none.
type Context struct {
	Trace   TraceID
	Span    SpanID
	Sampled bool
}

// Valid reports whether c names a span.
func (c Context) Valid() bool { return c.Trace != TraceID{} && c.Span != SpanID{} }

// String returns the value of a traceparent header.
func (c Context) String() string {
	b := c.text()
	return string(b[:])
}

// Append appends what String returns.
func (c Context) Append(b []byte) []byte {
	text := c.text()
	return append(b, text[:]...)
}

func (c *Context) text() (b [55]byte) {
	var flags byte
	if c.Sampled {
		flags = 1
	}
	b[0], b[1], b[2] = '0', '0', '-'
	hex.Encode(b[3:35], c.Trace[:])
	b[35] = '-'
	hex.Encode(b[36:52], c.Span[:])
	b[52] = '-'
	b[53], b[54] = '0', '0'+flags
	return b
}

// Parse reads the value of a traceparent header, of version 00 or a later one
// that begins like it (W3C Trace Context, 3.2 and 4.1).
func Parse(s string) (Context, error) {
	var c Context
	var version, flags [1]byte
	s = strings.TrimSpace(s)
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Context{}, fmt.Errorf("traceparent %.60q: want 00-<32 hex>-<16 hex>-<2 hex>", s)
	}
	for _, part := range []struct {
		into []byte
		from string
	}{{version[:], s[:2]}, {c.Trace[:], s[3:35]}, {c.Span[:], s[36:52]}, {flags[:], s[53:55]}} {
		if strings.ToLower(part.from) != part.from {
			return Context{}, fmt.Errorf("traceparent %.60q: hex digits are lower case", s)
		}
		if _, err := hex.Decode(part.into, []byte(part.from)); err != nil {
			return Context{}, fmt.Errorf("traceparent %.60q: %w", s, err)
		}
	}
	if version[0] == 0xff || version[0] == 0 && len(s) != 55 || len(s) > 55 && s[55] != '-' {
		return Context{}, fmt.Errorf("traceparent %.60q: unknown version or trailing text", s)
	}
	if !c.Valid() {
		return Context{}, fmt.Errorf("traceparent %.60q: an id is zero", s)
	}
	c.Sampled = flags[0]&1 != 0
	return c, nil
}

// OfInvocation returns the context of the root span of a build: the trace id
// that a tool_invocation_id stands for and the derived id of its root. It is
// sampled.
func OfInvocation(id string) Context {
	trace := TraceOf(id)
	return Context{Trace: trace, Span: derive(trace, SpanID{}, "invocation", 0), Sampled: true}
}

// TraceOf returns the trace id that a tool_invocation_id stands for.
func TraceOf(invocation string) TraceID {
	trace, ok := parseUUID(invocation)
	if !ok {
		sum := sha256.Sum256([]byte(invocation))
		copy(trace[:], sum[:])
	}
	if trace == (TraceID{}) {
		// The nil UUID would be an invalid trace id.
		trace[15] = 1
	}
	return trace
}

// parseUUID reads the usual text form, in either case (RFC 9562, 4).
func parseUUID(s string) (id TraceID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return TraceID{}, false
	}
	n, err := hex.Decode(id[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:]))
	return id, err == nil && n == len(id)
}

// Child returns the context of the span that parent has for a stage. The
// ordinal tells apart stages that occur more than once, such as attempts.
func (c Context) Child(stage string, ordinal uint64) Context {
	return Context{Trace: c.Trace, Span: derive(c.Trace, c.Span, stage, ordinal), Sampled: c.Sampled}
}

// Leaf returns the context of a span that nobody names before it is written, such
// as the time between two stages. Its id is mixed from the parent's, which is as
// good as random, at a fraction of what a hash costs: half of an action's spans
// are such.
func (c Context) Leaf(stage string, ordinal uint64) Context {
	x := binary.BigEndian.Uint64(c.Span[:])
	for i := range len(stage) {
		x = (x ^ uint64(stage[i])) * 0x100000001b3 // FNV-1a's prime, 64 bits
	}
	// The finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom
	// Number Generators, 2014).
	x += ordinal * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	c.Span = SpanID{}
	if binary.BigEndian.PutUint64(c.Span[:], x); x == 0 {
		c.Span[7] = 1
	}
	return c
}

func derive(trace TraceID, parent SpanID, stage string, ordinal uint64) SpanID {
	b := make([]byte, 0, 64)
	b = append(b, trace[:]...)
	b = append(b, parent[:]...)
	b = binary.BigEndian.AppendUint64(b, ordinal)
	b = append(b, stage...)
	sum := sha256.Sum256(b)
	var id SpanID
	copy(id[:], sum[:])
	if id == (SpanID{}) {
		id[7] = 1
	}
	return id
}
