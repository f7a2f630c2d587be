package execution

import (
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/traces/tracecontext"
)

// TestMetadataByHand compares the bytes with what the messages' own code would make.
func TestMetadataByHand(t *testing.T) {
	work := tracecontext.OfInvocation("9e1d3ab6-7f5e-4f9b-9d53-0d6c1fbd6a01")
	action := digest.Of([]byte("a"))
	blob, err := anypb.New(&repb.Digest{Hash: "h", SizeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	partial := &repb.ExecutedActionMetadata{InputFetchStartTimestamp: timestamppb.New(time.Unix(7, 0)), AuxiliaryMetadata: []*anypb.Any{blob}}
	data, err := proto.Marshal(partial)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]progress{
		"nothing": {},
		"queued":  {attempt: 1, queued: time.Unix(1_700_000_000, 0), reason: "workers_busy"},
		"leased":  {attempt: 3, queued: time.Unix(0, 1), leased: time.Unix(1_700_000_000, 999_999_999), worker: "worker-ü", work: work, partial: data},
		"joined":  {attempt: 1, queued: time.Unix(5, 5), onto: "main/operations/x", reason: "workers_busy"},
	} {
		want := &repb.ExecuteOperationMetadata{ActionDigest: action.Proto(), DigestFunction: repb.DigestFunction_SHA256, Stage: repb.ExecutionStage_EXECUTING}
		if p.attempt > 0 {
			m := new(repb.ExecutedActionMetadata)
			if p.partial != nil {
				m = proto.Clone(partial).(*repb.ExecutedActionMetadata)
			}
			m.Worker, m.QueuedTimestamp = p.worker, timestamppb.New(p.queued)
			record := map[string]any{"attempt": p.attempt}
			add := func(key, value string) {
				if value != "" {
					record[key] = value
				}
			}
			add("queue_reason", p.reason)
			add("deduplicated_onto", p.onto)
			if p.work.Valid() {
				add("traceparent", p.work.String())
			}
			if !p.leased.IsZero() {
				add("dispatched", p.leased.UTC().Format(time.RFC3339Nano))
			}
			fields, err := structpb.NewStruct(record)
			if err != nil {
				t.Fatal(err)
			}
			m.AuxiliaryMetadata = append(m.AuxiliaryMetadata, pack(fields))
			want.PartialExecutionMetadata = m
		}
		op := &operation{action: action}
		got := told(t, op, &p)
		// The same map may be written in any order.
		unpackStruct(t, got)
		unpackStruct(t, want)
		if !proto.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, want)
		}
	}
}

// unpackStruct rewrites the last entry of auxiliary metadata in one order.
func unpackStruct(t *testing.T, m *repb.ExecuteOperationMetadata) {
	t.Helper()
	for _, packed := range m.PartialExecutionMetadata.GetAuxiliaryMetadata() {
		content, err := packed.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		if packed.Value, err = (proto.MarshalOptions{Deterministic: true}).Marshal(content); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFieldsAreDocumented compares the record's fields, when it has all of them, with
// docs/queue.md.
func TestFieldsAreDocumented(t *testing.T) {
	p := progress{
		attempt: 1, queued: time.Unix(1, 0), leased: time.Unix(2, 0), worker: "one", reason: "workers_busy", onto: "operations/x",
		work: tracecontext.OfInvocation("9e1d3ab6-7f5e-4f9b-9d53-0d6c1fbd6a01"),
	}
	op := &operation{action: digest.Of([]byte("a"))}
	m := told(t, op, &p)
	record := new(structpb.Struct)
	if err := m.PartialExecutionMetadata.AuxiliaryMetadata[0].UnmarshalTo(record); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../docs/queue.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## What clients are told\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		listed = append(listed, row[1])
	}
	slices.Sort(listed)
	if fields := slices.Sorted(maps.Keys(record.Fields)); !slices.Equal(listed, fields) {
		t.Errorf("docs/queue.md lists %q, the record has %q", listed, fields)
	}
}

// told returns the metadata of the message of an operation that executes.
func told(t testing.TB, op *operation, p *progress) *repb.ExecuteOperationMetadata {
	t.Helper()
	m := new(repb.ExecuteOperationMetadata)
	if err := asClient(t, op.message(repb.ExecutionStage_EXECUTING, nil, p)).Metadata.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// asClient returns an operation as who gets it over the wire has it.
func asClient(t testing.TB, m *longrunningpb.Operation) *longrunningpb.Operation {
	t.Helper()
	got := new(longrunningpb.Operation)
	if err := proto.Unmarshal(marshal(m), got); err != nil {
		t.Fatal(err)
	}
	if left := got.ProtoReflect().GetUnknown(); len(left) > 0 {
		t.Errorf("%d bytes of the message are of no field", len(left))
	}
	return got
}

func pack(m proto.Message) *anypb.Any { return &anypb.Any{TypeUrl: typeURL(m), Value: marshal(m)} }

func TestTheLastMessageHasTheResponse(t *testing.T) {
	op := &operation{name: "operations/x", action: digest.Of([]byte("a"))}
	for name, response := range map[string]*repb.ExecuteResponse{
		"empty": {}, "a result": {Result: &repb.ActionResult{ExitCode: 1, StdoutRaw: make([]byte, 1<<17)}},
	} {
		t.Run(name, func(t *testing.T) {
			got := asClient(t, op.message(repb.ExecutionStage_COMPLETED, marshal(response), new(progress)))
			told := new(repb.ExecuteResponse)
			if err := got.GetResponse().UnmarshalTo(told); err != nil {
				t.Fatal(err)
			}
			if got.Name != op.name || !got.Done || !proto.Equal(told, response) {
				t.Errorf("got %v", got)
			}
		})
	}
}

// A message that doesn't fit in what is set apart for it is copied as it grows.
func TestMessagesFitTheirRoom(t *testing.T) {
	op := &operation{name: "main/operations/9e1d3ab6-7f5e-4f9b-9d53-0d6c1fbd6a02", action: digest.Digest{SizeBytes: 1 << 40}}
	p := progress{
		attempt: 1, queued: time.Now(), leased: time.Now(), worker: "worker-1", reason: "workers_busy", onto: op.name,
		work: tracecontext.OfInvocation("9e1d3ab6-7f5e-4f9b-9d53-0d6c1fbd6a01"), partial: make([]byte, 100),
	}
	for stage, response := range map[repb.ExecutionStage_Value][]byte{
		repb.ExecutionStage_EXECUTING: nil, repb.ExecutionStage_COMPLETED: make([]byte, 10_000),
	} {
		allocations := testing.AllocsPerRun(100, func() { op.message(stage, response, &p) })
		if allocations != 2 { // the bytes and the message around them
			t.Errorf("%v: %v allocations, want 2", stage, allocations)
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	op := &operation{name: "operations/9e1d3ab6-7f5e-4f9b-9d53-0d6c1fbd6a02", action: digest.Of([]byte("a"))}
	p := progress{
		attempt: 1, queued: time.Now(), leased: time.Now(), worker: "worker-1", reason: "workers_busy",
		work: tracecontext.OfInvocation("9e1d3ab6-7f5e-4f9b-9d53-0d6c1fbd6a01"),
	}
	// Both as gRPC writes them.
	b.Run("by=hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			marshal(op.message(repb.ExecutionStage_EXECUTING, nil, &p))
		}
	})
	// What the messages' own code takes for the same.
	b.Run("by=messages", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			record := pack(&structpb.Struct{Fields: map[string]*structpb.Value{
				fieldAttempt: structpb.NewNumberValue(float64(p.attempt)), fieldDispatched: structpb.NewStringValue(p.leased.UTC().Format(time.RFC3339Nano)),
				fieldQueueReason: structpb.NewStringValue(p.reason), tracecontext.Header: structpb.NewStringValue(p.work.String()),
			}})
			told := pack(&repb.ExecuteOperationMetadata{
				ActionDigest: op.action.Proto(), DigestFunction: repb.DigestFunction_SHA256, Stage: repb.ExecutionStage_EXECUTING,
				PartialExecutionMetadata: &repb.ExecutedActionMetadata{
					Worker: p.worker, QueuedTimestamp: timestamppb.New(p.queued), AuxiliaryMetadata: []*anypb.Any{record},
				},
			})
			marshal(&longrunningpb.Operation{Name: op.name, Metadata: told})
		}
	})
}

// FuzzPartialOf: whatever a worker tells, clients can decode and print what is made of
// it, and our own word stands.
func FuzzPartialOf(f *testing.F) {
	add := func(m *repb.ExecutedActionMetadata) {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	add(&repb.ExecutedActionMetadata{})
	add(&repb.ExecutedActionMetadata{Worker: "liar", QueuedTimestamp: timestamppb.New(time.Unix(1, 1)), WorkerStartTimestamp: timestamppb.New(time.Unix(7, 7))})
	add(&repb.ExecutedActionMetadata{ExecutionStartTimestamp: &timestamppb.Timestamp{Seconds: math.MaxInt64}})
	add(&repb.ExecutedActionMetadata{VirtualExecutionDuration: &durationpb.Duration{Seconds: 1, Nanos: -1}})
	add(&repb.ExecutedActionMetadata{AuxiliaryMetadata: []*anypb.Any{pack(&repb.Digest{Hash: "h"})}})
	f.Add("\xff")
	f.Add(strings.Repeat("x", maxPartialBytes+1))
	op := &operation{action: digest.Of([]byte("a"))}
	f.Fuzz(func(t *testing.T, value string) {
		partial, err := partialOf(value)
		if err != nil {
			return
		}
		p := progress{attempt: 1, queued: time.Unix(1_700_000_000, 5), worker: "one", partial: partial}
		m := told(t, op, &p)
		told := m.PartialExecutionMetadata
		if told.Worker != "one" || !told.QueuedTimestamp.AsTime().Equal(p.queued) {
			t.Errorf("%q: the worker is %q, queued %v", value, told.Worker, told.QueuedTimestamp)
		}
		if last := told.AuxiliaryMetadata[len(told.AuxiliaryMetadata)-1]; !last.MessageIs((*structpb.Struct)(nil)) {
			t.Errorf("%q: the last record is a %s", value, last.TypeUrl)
		}
		told.AuxiliaryMetadata = nil // what a worker packs is between it and its readers
		if _, err := protojson.Marshal(told); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	})
}
