package execution

import (
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-build/weir/system/proto/bots"
)

// ones are values that fields of a kind don't have unless they are set.
var ones = map[protoreflect.Kind]protoreflect.Value{
	protoreflect.StringKind: protoreflect.ValueOfString("1"), protoreflect.BoolKind: protoreflect.ValueOfBool(true),
	protoreflect.EnumKind: protoreflect.ValueOfEnum(1),
}

// A field that is set is sent, whatever else is there already encoded.
func TestCodecSendsEveryField(t *testing.T) {
	for _, empty := range []proto.Message{new(longrunningpb.Operation), new(bots.BotSession)} {
		fields := empty.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			m := empty.ProtoReflect().New()
			m.SetUnknown([]byte{0x98, 0x06, 0x01}) // field 99, which neither has
			field := fields.Get(i)
			switch {
			case field.IsList():
				list := m.Mutable(field).List()
				list.Append(list.NewElement())
			case field.Message() != nil:
				m.Set(field, m.NewField(field))
			default:
				m.Set(field, ones[field.Kind()])
			}
			got, err := Codec().Marshal(m.Interface())
			if err != nil {
				t.Fatal(err)
			}
			back := empty.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(got.Materialize(), back); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(back, m.Interface()) {
				t.Errorf("with %s set, got %v, want %v", field.Name(), back, m.Interface())
			}
		}
	}
}

// What is encoded already is sent from where it is.
func TestCodecDoesNotCopyWhatIsEncoded(t *testing.T) {
	op := &operation{name: "operations/x"}
	message := op.message(repb.ExecutionStage_QUEUED, nil, new(progress))
	got, err := Codec().Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if &got[0].ReadOnlyData()[0] != &message.ProtoReflect().GetUnknown()[0] {
		t.Error("the bytes of an operation were copied")
	}
}
