package execution

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// What is written and read by hand as it goes over the wire, and the messages around it.

// Numbers of fields.
var (
	anyType  = fieldNumber(new(anypb.Any), "type_url")
	anyValue = fieldNumber(new(anypb.Any), "value")
)

// fieldNumber returns the number of a message's field, of which there must be one.
func fieldNumber(m proto.Message, name protoreflect.Name) protowire.Number {
	return m.ProtoReflect().Descriptor().Fields().ByName(name).Number()
}

// typeURL names a kind of message in an Any.
func typeURL(m proto.Message) string {
	return "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())
}

// marshal returns a message on the wire, which is not nil.
func marshal(m proto.Message) []byte { return appendMarshaled([]byte{}, m) }

// appendMarshaled appends a message.
func appendMarshaled(b []byte, m proto.Message) []byte {
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		// Only strings that aren't UTF-8 could cause it; ours are made here or
		// have been decoded, which checks them.
		panic("marshal " + string(m.ProtoReflect().Descriptor().FullName()) + ": " + err.Error())
	}
	return b
}

// appendAny appends an Any of what value appends, appendPacked one of what is there.
func appendAny(b []byte, typeURL string, value func([]byte) []byte) []byte {
	return appendNested(appendText(b, anyType, typeURL), anyValue, value)
}

func appendPacked(b []byte, typeURL string, value []byte) []byte {
	b = appendText(b, anyType, typeURL)
	return protowire.AppendBytes(protowire.AppendTag(b, anyValue, protowire.BytesType), value)
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}

func appendVarint(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

// appendSeconds appends a Timestamp or a Duration, whose fields are the same.
func appendSeconds(b []byte, seconds int64, nanos int) []byte {
	return appendVarint(appendVarint(b, 1, uint64(seconds)), 2, uint64(nanos))
}

// textField returns a text of a message on the wire, empty if it isn't there or the
// message can't be read.
func textField(message string, field protowire.Number) (text string) {
	f := fields{rest: []byte(message)}
	for f.next() {
		if f.is(field, protowire.BytesType) {
			text = f.text()
		}
	}
	if f.broken {
		return ""
	}
	return text
}

// fields goes over the fields of a message on the wire.
type fields struct {
	rest   []byte
	field  protowire.Number
	kind   protowire.Type
	bytes  []byte // of the field, if it has bytes
	number uint64 // of it, if it has a number
	broken bool
}

// next goes to the next field, and returns false behind the last one and where the
// message can't be read.
func (f *fields) next() bool {
	if len(f.rest) == 0 || f.broken {
		return false
	}
	var n, size int
	f.field, f.kind, n = protowire.ConsumeTag(f.rest)
	if n < 0 {
		f.broken = true
		return false
	}
	value := f.rest[n:]
	switch f.kind {
	case protowire.BytesType:
		f.bytes, size = protowire.ConsumeBytes(value)
	case protowire.VarintType:
		f.number, size = protowire.ConsumeVarint(value)
	case protowire.Fixed64Type:
		f.number, size = protowire.ConsumeFixed64(value)
	default:
		size = protowire.ConsumeFieldValue(f.field, f.kind, value)
	}
	if size < 0 {
		f.broken = true
		return false
	}
	f.rest = value[size:]
	return true
}

func (f *fields) is(field protowire.Number, kind protowire.Type) bool {
	return f.field == field && f.kind == kind
}

// text returns the field's bytes as a text, which must be UTF-8.
func (f *fields) text() string {
	if !utf8.Valid(f.bytes) {
		f.broken = true
	}
	return string(f.bytes)
}

// nestedSize is how many bytes the length of a nested message takes: as many as the
// longest needs, so that it can be filled in afterwards.
const nestedSize = 4

// appendNested appends a message in a field.
func appendNested(b []byte, field protowire.Number, message func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	at := len(b)
	b = message(append(b, 0, 0, 0, 0))
	n := len(b) - at - nestedSize
	for i := range nestedSize {
		b[at+i] = byte(n>>(7*i))&0x7f | 0x80
	}
	b[at+nestedSize-1] &= 0x7f
	return b
}
