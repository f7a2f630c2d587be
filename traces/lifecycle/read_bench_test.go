package lifecycle_test

import (
	"bufio"
	"bytes"
	"fmt"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/otlpfile"
)

// fileOf returns a file of one build with so many actions, in records of 512
// spans as a run has them.
func fileOf(b *testing.B, actions int) []byte {
	b.Helper()
	const recordSpans = 512
	var file bytes.Buffer
	out := otlpfile.NewWriter(&file)
	var pending []build.Span
	flush := func() {
		data := &tracepb.ResourceSpans{ScopeSpans: []*tracepb.ScopeSpans{{Spans: build.OTLP(pending)}}}
		if err := out.Write([]*tracepb.ResourceSpans{data}); err != nil {
			b.Fatal(err)
		}
		pending = pending[:0]
	}
	for i := range actions {
		for _, s := range buildOf(i, actions) {
			s.Attributes = append([]build.Attribute(nil), s.Attributes...)
			if pending = append(pending, s); len(pending) == recordSpans {
				flush()
			}
		}
	}
	flush()
	return file.Bytes()
}

// BenchmarkFile is what the commands do with a file: to read it is the floor of
// them, by our decoder and by protobuf's.
func BenchmarkFile(b *testing.B) {
	const actions = 100_000
	data := fileOf(b, actions)
	records := func(b *testing.B, f func(record []byte) error) {
		b.Helper()
		for record, err := range otlpfile.Records(bufio.NewReaderSize(bytes.NewReader(data), 1<<20)) {
			if err == nil {
				err = f(record.Data)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name string
		run  func(b *testing.B)
	}{
		{"protobuf", func(b *testing.B) {
			records(b, func(record []byte) error { return proto.Unmarshal(record, new(tracepb.TracesData)) })
		}},
		{"read", func(b *testing.B) {
			var all lifecycle.Traces
			records(b, all.AddRecord)
		}},
		{"tree", func(b *testing.B) {
			var all lifecycle.Traces
			records(b, all.AddRecord)
			for trace := range all.All() {
				if n := len(lifecycle.Build(trace).Actions()); n != actions {
					b.Fatalf("%d actions", n)
				}
			}
		}},
		{"check", func(b *testing.B) {
			c := lifecycle.NewChecker(lifecycle.Options{})
			records(b, c.AddRecord)
			if report := c.Finish(); len(report.Violations) > 0 || report.Actions != actions {
				b.Fatal(report)
			}
		}},
		{"check-window", func(b *testing.B) {
			c := lifecycle.NewChecker(lifecycle.Options{Window: streamWindow})
			records(b, c.AddRecord)
			if report := c.Finish(); len(report.Violations) > 0 || report.Actions != actions {
				b.Fatal(report)
			}
		}},
	} {
		b.Run(fmt.Sprintf("do=%s/actions=%d", c.name, actions), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				c.run(b)
			}
			reportActions(b, b.N*actions, cpuTime()-cpu)
		})
	}
}
