package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/tracetest"
)

func stamp(ms int) *timestamppb.Timestamp { return timestamppb.New(at(ms)) }

// metadata is what the result of actionSpans says.
func metadata() *repb.ExecutedActionMetadata {
	return &repb.ExecutedActionMetadata{
		Worker:                         "w-7",
		QueuedTimestamp:                stamp(120),
		WorkerStartTimestamp:           stamp(2015),
		WorkerCompletedTimestamp:       stamp(3900),
		InputFetchStartTimestamp:       stamp(2020),
		InputFetchCompletedTimestamp:   stamp(2300),
		ExecutionStartTimestamp:        stamp(2300),
		ExecutionCompletedTimestamp:    stamp(3800),
		OutputUploadStartTimestamp:     stamp(3800),
		OutputUploadCompletedTimestamp: stamp(3890),
	}
}

func TestTreeMatchesMetadata(t *testing.T) {
	nanosecond := func(s *timestamppb.Timestamp) *timestamppb.Timestamp {
		return timestamppb.New(s.AsTime().Add(time.Nanosecond))
	}
	for _, c := range []struct {
		name  string
		spans []span
		spoil func(*repb.ExecutedActionMetadata)
		want  []string
	}{
		{"equal", tracetest.Action(), func(*repb.ExecutedActionMetadata) {}, nil},
		{"queued a nanosecond later", tracetest.Action(), func(m *repb.ExecutedActionMetadata) { m.QueuedTimestamp = nanosecond(m.QueuedTimestamp) },
			[]string{"(queued): starts at another time than queued_timestamp: 2026-11-21T12:00:00.120000000Z against 2026-11-21T12:00:00.120000001Z (-1ns)"}},
		{"worker started a nanosecond later", tracetest.Action(), func(m *repb.ExecutedActionMetadata) { m.WorkerStartTimestamp = nanosecond(m.WorkerStartTimestamp) },
			[]string{"(worker): starts at another time"}},
		{"worker completed a nanosecond later", tracetest.Action(), func(m *repb.ExecutedActionMetadata) {
			m.WorkerCompletedTimestamp = nanosecond(m.WorkerCompletedTimestamp)
		}, []string{"(worker): ends at another time"}},
		{"input fetch", tracetest.Action(), func(m *repb.ExecutedActionMetadata) {
			m.InputFetchStartTimestamp = nanosecond(m.InputFetchStartTimestamp)
			m.InputFetchCompletedTimestamp = nanosecond(m.InputFetchCompletedTimestamp)
		}, []string{"(input_fetch): starts at", "(input_fetch): ends at"}},
		{"execution", tracetest.Action(), func(m *repb.ExecutedActionMetadata) {
			m.ExecutionStartTimestamp = nanosecond(m.ExecutionStartTimestamp)
		}, []string{"(execute): starts at"}},
		{"output upload", tracetest.Action(), func(m *repb.ExecutedActionMetadata) {
			m.OutputUploadCompletedTimestamp = nanosecond(m.OutputUploadCompletedTimestamp)
		}, []string{"(output_upload): ends at"}},
		{"stage that the metadata lacks", tracetest.Action(), func(m *repb.ExecutedActionMetadata) { m.InputFetchStartTimestamp = nil },
			[]string{"(input_fetch): has a span, but no two timestamps in the metadata"}},
		{"stage that the tree lacks", without(tracetest.Action(), "u2"), func(*repb.ExecutedActionMetadata) {},
			[]string{"(worker): has no span output_upload"}},
		{"worker that the tree lacks", without(tracetest.Action(), "w2", "f2", "x2", "u2"), func(*repb.ExecutedActionMetadata) {},
			[]string{"(action): has no span worker"}},
		{"queue that the tree lacks", without(tracetest.Action(), "q1", "q2"), func(*repb.ExecutedActionMetadata) {},
			[]string{"(action): has no span queued"}},
		{"worker that never was", without(tracetest.Action(), "w2", "f2", "x2", "u2"), func(m *repb.ExecutedActionMetadata) {
			*m = repb.ExecutedActionMetadata{QueuedTimestamp: m.QueuedTimestamp}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			md := metadata()
			c.spoil(md)
			got := lifecycle.CheckMetadata(tree(c.spans).Actions()[0], md)
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %d violations", got, len(c.want))
			}
			for i, want := range c.want {
				if got[i].Rule != lifecycle.MatchesMetadata || !strings.Contains(got[i].String(), want) {
					t.Errorf("got %v, want %s", got[i], want)
				}
			}
		})
	}
}
