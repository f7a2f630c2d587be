package build

import (
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-build/weir/system/proto/executionstats"
	"github.com/weir-build/weir/traces/semconv"
)

// usageKeys are the attributes of a command's use of resources, and the names
// under which our runner reports them.
var usageKeys = [...]string{
	semconv.AttrUserTime, semconv.AttrSystemTime, semconv.AttrMaxRSS, semconv.AttrMajorFaults, semconv.AttrBlockInput,
	semconv.AttrBlockOutput, semconv.AttrVoluntarySwitches, semconv.AttrInvoluntarySwitches,
}

// TakeUsage returns what a command used, as attributes, and removes the record of
// it from the metadata: it is of one run, and a cached result is of many. The
// record is a Struct of numbers among auxiliary_metadata, which our runner
// appends; it says nothing about others'. nil if there is none.
func TakeUsage(m *repb.ExecutedActionMetadata) []Attribute {
	for i, entry := range m.GetAuxiliaryMetadata() {
		if usage := usageOf(entry); usage != nil {
			m.AuxiliaryMetadata = slices.Delete(m.AuxiliaryMetadata, i, i+1)
			return usage
		}
	}
	return nil
}

// StatisticsDigest returns the digest of a blob with what a command used, as
// BuildBox's runners report it with --collect-execution-stats: it is the first
// entry of auxiliary_metadata. nil if that is something else.
func StatisticsDigest(m *repb.ExecutedActionMetadata) *repb.Digest {
	entries := m.GetAuxiliaryMetadata()
	d := new(repb.Digest)
	if len(entries) == 0 || !entries[0].MessageIs(d) || entries[0].UnmarshalTo(d) != nil {
		return nil
	}
	return d
}

// Statistics returns what such a blob says, as TakeUsage does.
func Statistics(blob []byte) ([]Attribute, error) {
	packed, statistics := new(anypb.Any), new(executionstats.ExecutionStatistics)
	if err := proto.Unmarshal(blob, packed); err != nil {
		return nil, err
	}
	if err := packed.UnmarshalTo(statistics); err != nil {
		return nil, err
	}
	u := statistics.CommandRusage
	if u == nil {
		return nil, nil
	}
	const kilo = 1024 // maxrss is in kB on Linux
	return []Attribute{
		Number(semconv.AttrUserTime, int64(u.Utime.AsDuration())), Number(semconv.AttrSystemTime, int64(u.Stime.AsDuration())),
		Number(semconv.AttrMaxRSS, u.Maxrss*kilo), Number(semconv.AttrMajorFaults, u.Majflt),
		Number(semconv.AttrBlockInput, u.Inblock), Number(semconv.AttrBlockOutput, u.Oublock),
		Number(semconv.AttrVoluntarySwitches, u.Nvcsw), Number(semconv.AttrInvoluntarySwitches, u.Nivcsw),
	}, nil
}

func usageOf(entry *anypb.Any) []Attribute {
	record := new(structpb.Struct)
	if !entry.MessageIs(record) || entry.UnmarshalTo(record) != nil {
		return nil
	}
	var usage []Attribute
	for _, key := range usageKeys {
		// What a double can't hold exactly is no count of ours.
		const exact = 1 << 53
		if n, ok := record.Fields[key].GetKind().(*structpb.Value_NumberValue); ok && n.NumberValue >= 0 && n.NumberValue <= exact {
			usage = append(usage, Number(key, int64(n.NumberValue)))
		}
	}
	return usage
}
