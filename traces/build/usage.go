package build

import (
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

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
