package build

import (
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of OTLP's trace.proto and common.proto, version 1.
const (
	spanTraceID    = 1
	spanID         = 2
	spanParentID   = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanLinks      = 13
	spanStatus     = 15
	spanFlags      = 16

	linkTraceID    = 1
	linkSpanID     = 2
	linkAttributes = 4

	statusMessage = 2
	statusCode    = 3
	statusError   = 2 // the value of STATUS_CODE_ERROR

	pairKey     = 1
	pairValue   = 2
	valueText   = 1
	valueNumber = 3
)

// AppendOTLP appends a span as bytes: the message that [OTLP] makes, serialized.
// Protobuf's own way there goes by reflection over six messages a span and took
// half of what recording one costs; a test holds the two together.
func AppendOTLP(dst []byte, s *Span) []byte {
	dst = appendBytes(dst, spanTraceID, s.ID.Trace[:])
	dst = appendBytes(dst, spanID, s.ID.Span[:])
	if s.Parent != ([8]byte{}) {
		dst = appendBytes(dst, spanParentID, s.Parent[:])
	}
	dst = appendText(dst, spanName, valid(s.Name))
	dst = protowire.AppendTag(dst, spanKind, protowire.VarintType)
	dst = protowire.AppendVarint(dst, uint64(kinds[s.Kind]))
	dst = protowire.AppendTag(dst, spanStart, protowire.Fixed64Type)
	dst = protowire.AppendFixed64(dst, uint64(s.Start.UnixNano()))
	dst = protowire.AppendTag(dst, spanEnd, protowire.Fixed64Type)
	dst = protowire.AppendFixed64(dst, uint64(s.End.UnixNano()))
	for i := range s.Attributes {
		dst = appendAttribute(dst, spanAttributes, &s.Attributes[i])
	}
	if s.Link.Valid() {
		kind := linkKind(s)
		dst = protowire.AppendTag(dst, spanLinks, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(2+len(s.Link.Trace)+2+len(s.Link.Span)+sizeOf(linkAttributes, &kind)))
		dst = appendBytes(dst, linkTraceID, s.Link.Trace[:])
		dst = appendBytes(dst, linkSpanID, s.Link.Span[:])
		dst = appendAttribute(dst, linkAttributes, &kind)
	}
	dst = protowire.AppendTag(dst, spanStatus, protowire.BytesType)
	if s.Error == "" {
		dst = protowire.AppendVarint(dst, 0)
	} else {
		message := valid(s.Error)
		dst = protowire.AppendVarint(dst, uint64(protowire.SizeTag(statusMessage)+protowire.SizeBytes(len(message))+2))
		dst = appendText(dst, statusMessage, message)
		dst = protowire.AppendTag(dst, statusCode, protowire.VarintType)
		dst = protowire.AppendVarint(dst, statusError)
	}
	dst = protowire.AppendTag(dst, spanFlags, protowire.Fixed32Type)
	return protowire.AppendFixed32(dst, sampledFlag)
}

func appendBytes(dst []byte, field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), b)
}

func appendText(dst []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(dst, field, protowire.BytesType), text)
}

// valueSize is the size of an AnyValue, pairSize of a KeyValue, and sizeOf of a
// field that holds one.
func valueSize(a *Attribute) int {
	if a.IsNumber {
		return protowire.SizeTag(valueNumber) + protowire.SizeVarint(uint64(a.Number))
	}
	return protowire.SizeTag(valueText) + protowire.SizeBytes(len(a.Text))
}

func pairSize(a *Attribute) int {
	return protowire.SizeTag(pairKey) + protowire.SizeBytes(len(a.Key)) + protowire.SizeTag(pairValue) + protowire.SizeBytes(valueSize(a))
}

func sizeOf(field protowire.Number, a *Attribute) int {
	return protowire.SizeTag(field) + protowire.SizeBytes(pairSize(a))
}

func appendAttribute(dst []byte, field protowire.Number, a *Attribute) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(pairSize(a)))
	dst = appendText(dst, pairKey, a.Key)
	dst = protowire.AppendTag(dst, pairValue, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(valueSize(a)))
	if a.IsNumber {
		dst = protowire.AppendTag(dst, valueNumber, protowire.VarintType)
		return protowire.AppendVarint(dst, uint64(a.Number))
	}
	return appendText(dst, valueText, a.Text)
}
