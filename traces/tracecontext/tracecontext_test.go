package tracecontext_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-build/weir/traces/tracecontext"
)

const (
	exampleTrace = "4bf92f3577b34da6a3ce929d0e0e4736" // the example of W3C Trace Context, 3.2
	exampleSpan  = "00f067aa0ba902b7"
	example      = "00-" + exampleTrace + "-" + exampleSpan + "-01"
)

func TestParseReadsTheExampleOfTheStandard(t *testing.T) {
	c, err := tracecontext.Parse(example)
	if err != nil {
		t.Fatal(err)
	}
	if c.Trace.String() != exampleTrace || c.Span.String() != exampleSpan || !c.Sampled || !c.Valid() {
		t.Errorf("got %+v, valid %v", c, c.Valid())
	}
	if got := c.String(); got != example {
		t.Errorf("prints as %s, want %s", got, example)
	}
}

func TestParseAccepts(t *testing.T) {
	for text, want := range map[string]string{
		"00-" + exampleTrace + "-" + exampleSpan + "-00":                               "00-" + exampleTrace + "-" + exampleSpan + "-00",
		"00-" + exampleTrace + "-" + exampleSpan + "-fe":                               "00-" + exampleTrace + "-" + exampleSpan + "-00", // bits this version doesn't know
		"00-" + exampleTrace + "-" + exampleSpan + "-ff":                               example,
		" \t" + example + " ":                                                          example, // HTTP's optional white space
		"cc-" + exampleTrace + "-" + exampleSpan + "-01":                               example, // a later version
		"cc-" + exampleTrace + "-" + exampleSpan + "-01-what":                          example,
		"01-" + exampleTrace + "-" + exampleSpan + "-01-" + strings.Repeat("x", 1<<20): example,
	} {
		c, err := tracecontext.Parse(text)
		if err != nil || c.String() != want {
			t.Errorf("%.80q: got %v, error %v, want %s", text, c, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ text, reason string }{
		{"", "want 00-"},
		{"00", "want 00-"},
		{example[:54], "want 00-"},
		{strings.ReplaceAll(example, "-", "_"), "want 00-"},
		{strings.ReplaceAll(example, "-", ""), "want 00-"},
		{"0-0" + example[3:], "want 00-"},
		{strings.ToUpper(example), "lower case"},
		{"00-" + strings.ToUpper(exampleTrace) + "-" + exampleSpan + "-01", "lower case"},
		{"0g" + example[2:], "invalid byte"},
		{"00-" + exampleTrace[:31] + "x-" + exampleSpan + "-01", "invalid byte"},
		{"00-" + exampleTrace + "-" + exampleSpan[:15] + "x-01", "invalid byte"},
		{"00-" + exampleTrace + "-" + exampleSpan + "-0x", "invalid byte"},
		{"ff" + example[2:], "unknown version"},
		{example + "-more", "trailing text"},
		{example + "0", "trailing text"},
		{"01" + example[2:] + "0", "trailing text"},
		{"00-" + strings.Repeat("0", 32) + "-" + exampleSpan + "-01", "an id is zero"},
		{"00-" + exampleTrace + "-" + strings.Repeat("0", 16) + "-01", "an id is zero"},
		{strings.Repeat("é", 1<<20), "want 00-"},
		{example[:3] + strings.Repeat("\x00", 32) + example[35:], "invalid byte"},
	} {
		got, err := tracecontext.Parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%.80q: error %v, want one about %q", c.text, err, c.reason)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%.80q: the error has %d bytes", c.text, len(err.Error()))
		}
		if got != (tracecontext.Context{}) {
			t.Errorf("%.80q: returned %v beside the error", c.text, got)
		}
	}
}

// Golden values, computed from the package comment by another program: another derivation would tear the traces of a cluster apart
// whose parts are of two versions, and those of a runner from its server's.
func TestDerivedIdsStayWhatTheyAre(t *testing.T) {
	root := tracecontext.OfInvocation("0f6b2d1e-3c4a-4b5d-8e9f-a0b1c2d3e4f5")
	free := tracecontext.OfInvocation("nightly build 7")
	for _, c := range []struct {
		name string
		got  tracecontext.Context
		want string
	}{
		{"uuid", root, "00-0f6b2d1e3c4a4b5d8e9fa0b1c2d3e4f5-354a3e8d6e802168-01"},
		{"upper-case uuid", tracecontext.OfInvocation("0F6B2D1E-3C4A-4B5D-8E9F-A0B1C2D3E4F5"), "00-0f6b2d1e3c4a4b5d8e9fa0b1c2d3e4f5-354a3e8d6e802168-01"},
		{"text", free, "00-7855cb493ff91613d60d0683e0f2a927-a60c527fecdc049c-01"},
		{"empty", tracecontext.OfInvocation(""), "00-e3b0c44298fc1c149afbf4c8996fb924-2d6f31d36b041bc9-01"},
		{"nil uuid", tracecontext.OfInvocation("00000000-0000-0000-0000-000000000000"), "00-00000000000000000000000000000001-546e1790393320ad-01"},
		{"child", root.Child("worker", 0), "00-0f6b2d1e3c4a4b5d8e9fa0b1c2d3e4f5-befbfd088e77f002-01"},
		{"second child", root.Child("worker", 1), "00-0f6b2d1e3c4a4b5d8e9fa0b1c2d3e4f5-dfcb85e3a7903e19-01"},
		{"grandchild", root.Child("worker", 1).Child("input_fetch", 0), "00-0f6b2d1e3c4a4b5d8e9fa0b1c2d3e4f5-60e3c395e74aedd7-01"},
	} {
		if got := c.got.String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Only the usual form is a UUID; all else is hashed, and no two of these are the
// same trace.
func TestInvocationsHaveTracesOfTheirOwn(t *testing.T) {
	seen := make(map[tracecontext.TraceID]string)
	for _, id := range []string{
		"", " ", "-", "0f6b2d1e-3c4a-4b5d-8e9f-a0b1c2d3e4f5", "0f6b2d1e3c4a4b5d8e9fa0b1c2d3e4f5",
		"----0f6b2d1e3c4a4b5d8e9fa0b1c2d3e4f5", "{0f6b2d1e-3c4a-4b5d-8e9f-a0b1c2d3e4f5}",
		"0f6b2d1e-3c4a-4b5d-8e9f-a0b1c2d3e4fx", "0f6b2d1e-3c4a-4b5d-8e9f-a0b1c2d3e4f6",
		"00000000-0000-0000-0000-000000000000", strings.Repeat("x", 1<<20),
	} {
		c := tracecontext.OfInvocation(id)
		if !c.Valid() || !c.Sampled {
			t.Errorf("%.60q: %v, want it valid and sampled", id, c)
		}
		if other, ok := seen[c.Trace]; ok {
			t.Errorf("%.60q and %.60q are one trace", id, other)
		}
		seen[c.Trace] = id
	}
}

func TestChildrenHaveIdsOfTheirOwn(t *testing.T) {
	seen := make(map[tracecontext.SpanID]string)
	parents := []tracecontext.Context{tracecontext.OfInvocation("a"), tracecontext.OfInvocation("b")}
	parents = append(parents, parents[0].Child("queued", 0), parents[0].Child("queued", 1))
	for i, parent := range parents {
		for _, stage := range []string{"", "queued", "queued\x00", "worker", "execute"} {
			for _, ordinal := range []uint64{0, 1, 2, 1 << 56, 1<<64 - 1} {
				name := fmt.Sprintf("child %q %d of %d", stage, ordinal, i)
				c := parent.Child(stage, ordinal)
				if c.Trace != parent.Trace || !c.Valid() {
					t.Errorf("%s is %v", name, c)
				}
				// The parents are children, too.
				if other, ok := seen[c.Span]; ok {
					t.Errorf("%s and %s are one span", name, other)
				}
				seen[c.Span] = name
			}
		}
	}
}

func TestChildInheritsTheDecisionToSample(t *testing.T) {
	parent := tracecontext.OfInvocation("a")
	if !parent.Child("worker", 0).Sampled {
		t.Error("the child of a sampled span isn't sampled")
	}
	sampled := parent.Child("worker", 0)
	parent.Sampled = false
	child := parent.Child("worker", 0)
	if child.Sampled || child.Span != sampled.Span {
		t.Errorf("child %v, want %v unsampled", child, sampled)
	}
	if (tracecontext.Context{}).Child("worker", 0).Valid() {
		t.Error("a child of no span is valid")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add("cc" + example[2:] + "-what")
	f.Add("ff" + example[2:])
	f.Add(strings.ToUpper(example))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := tracecontext.Parse(text)
		if err != nil {
			return
		}
		if !c.Valid() {
			t.Errorf("%q parses to the invalid %v", text, c)
		}
		again, err := tracecontext.Parse(c.String())
		if err != nil || again != c {
			t.Errorf("%q parses to %v, which parses to %v, error %v", text, c, again, err)
		}
		if rest := strings.TrimSpace(text); rest[3:52] != c.String()[3:52] {
			t.Errorf("%q parses to %v", text, c)
		}
	})
}

func FuzzOfInvocation(f *testing.F) {
	f.Add("0f6b2d1e-3c4a-4b5d-8e9f-a0b1c2d3e4f5", "worker", uint64(0))
	f.Add("00000000-0000-0000-0000-000000000000", "", uint64(1))
	f.Fuzz(func(t *testing.T, id, stage string, ordinal uint64) {
		c := tracecontext.OfInvocation(id)
		child := c.Child(stage, ordinal)
		if !c.Valid() || !child.Valid() || child.Trace != c.Trace || child.Span == c.Span {
			t.Errorf("%q: %v with child %v", id, c, child)
		}
	})
}

// Leaves of one parent, and of parents that differ little, have ids of their own.
func TestLeavesDiffer(t *testing.T) {
	seen := make(map[tracecontext.SpanID]string)
	for parent := range 2000 {
		c := tracecontext.Context{Trace: tracecontext.TraceID{1}, Span: tracecontext.SpanID{byte(parent >> 8), byte(parent), 7: 1}, Sampled: true}
		for _, stage := range []string{"queued", "dispatch", "report", "setup", "teardown", ""} {
			for ordinal := range uint64(4) {
				leaf, name := c.Leaf(stage, ordinal), fmt.Sprint(parent, stage, ordinal)
				if before, taken := seen[leaf.Span]; taken {
					t.Fatalf("%s has the id of %s", name, before)
				}
				seen[leaf.Span] = name
				if leaf != c.Leaf(stage, ordinal) || leaf.Trace != c.Trace || !leaf.Sampled || !leaf.Valid() {
					t.Fatalf("leaf %s is %+v", name, leaf)
				}
			}
		}
	}
}
