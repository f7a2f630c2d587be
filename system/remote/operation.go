package remote

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// operation is of a longrunning.Operation what a client of Execute needs. Most messages of
// a stream say no more than that it goes on: they are looked at as they came, and the
// response is the one message that is made of them.
type operation struct {
	Update
	response *repb.ExecuteResponse // of one that is done
	err      error                 // instead of it
}

// Tags of google.longrunning.Operation, and of the Any that its response is packed in: a
// field of another wire type than it should have is one that isn't known.
const (
	operationName     = 1<<3 | uint64(protowire.BytesType)
	operationDone     = 3<<3 | uint64(protowire.VarintType)
	operationError    = 4<<3 | uint64(protowire.BytesType)
	operationResponse = 5<<3 | uint64(protowire.BytesType)
	anyType           = 1<<3 | uint64(protowire.BytesType)
	anyValue          = 2<<3 | uint64(protowire.BytesType)
)

// read replaces what was read before. A response that can't be read is an operation's
// error, not one of read.
func (o *operation) read(data []byte) error {
	var name, failure, response []byte
	failed, answered, done := false, false, false
	err := eachField(data, func(tag uint64, value []byte, number uint64) {
		switch tag {
		case operationName:
			name = value
		case operationDone:
			done = number != 0
		// The two exclude each other, and the last one counts. One that comes in pieces is
		// the pieces together.
		case operationError:
			failure, failed = joined(failure, value), true
			response, answered = nil, false
		case operationResponse:
			response, answered = joined(response, value), true
			failure, failed = nil, false
		}
	})
	if err == nil && !utf8.Valid(name) {
		err = fmt.Errorf("the name of the operation is no UTF-8: %.100q", name)
	}
	if err != nil {
		return err
	}
	if string(name) != o.Name {
		o.Name = string(name)
	}
	o.Done, o.response, o.err = done, nil, nil
	switch {
	case !done:
	case failed:
		s := new(statuspb.Status)
		if o.err = proto.Unmarshal(failure, s); o.err == nil {
			o.err = status.ErrorProto(s)
		}
		if o.err == nil {
			o.err = errors.New("it ended with an error that has no code")
		}
		o.err = fmt.Errorf("operation %s: %w", o.Name, o.err)
	default:
		if o.response, o.err = unpack(response, answered); o.err != nil {
			o.err = fmt.Errorf("response of operation %s: %w", o.Name, o.err)
		}
	}
	return nil
}

// joined is one after the other, neither of which is changed.
func joined(first, second []byte) []byte {
	if len(first) == 0 {
		return second
	}
	return slices.Concat(first, second)
}

// responseType is the name of an ExecuteResponse.
var responseType = string(new(repb.ExecuteResponse).ProtoReflect().Descriptor().FullName())

// unpack reads the response out of its Any.
func unpack(data []byte, given bool) (*repb.ExecuteResponse, error) {
	var url, value []byte
	err := eachField(data, func(tag uint64, field []byte, _ uint64) {
		switch tag {
		case anyType:
			url = field
		case anyValue:
			value = field
		}
	})
	if err != nil {
		return nil, err
	}
	// A URL of any host, or of none.
	if !given {
		return nil, fmt.Errorf("there is none, want a %s", responseType)
	} else if string(url[bytes.LastIndexByte(url, '/')+1:]) != responseType {
		return nil, fmt.Errorf("it is a %.100q, want a %s", url, responseType)
	}
	return readExecuteResponse(value)
}

// eachField calls f with the fields of a message: the bytes of those that have a length,
// the number of varints. The bytes are data's.
func eachField(data []byte, f func(tag uint64, bytes []byte, number uint64)) error {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var bytes []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(field, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		f(protowire.EncodeTag(field, kind), bytes, number)
		data = data[n:]
	}
	return nil
}

// operationCodec is gRPC's for protobuf, but for operations.
type operationCodec struct{ protobufCodec }

var operationsRead = operationCodec{protobuf}

// Unmarshal reads an operation.
func (c operationCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if o, ok := v.(*operation); ok {
		return inOnePiece(data, o.read)
	}
	return c.CodecV2.Unmarshal(data, v)
}
