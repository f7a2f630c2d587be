package lifecycle

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// errCutShort is a message that ends within a field.
var errCutShort = errors.New("the message ends within a field")

// A fieldError says where in a record decoding stopped.
type fieldError struct {
	offset int // in bytes from the record's start
	err    error
}

func (e *fieldError) Error() string {
	return fmt.Sprintf("at byte %d of the record: %v", e.offset, e.err)
}

func (e *fieldError) Unwrap() error { return e.err }

// A tag is a field's number and its wire type, as they are on the wire: a field of
// another type than its own is an unknown one.
type tag uint64

// What is added to eight times a field's number to make its tag.
const (
	varintField = tag(protowire.VarintType)
	fixed64     = tag(protowire.Fixed64Type)
	bytesField  = tag(protowire.BytesType)
)

// each calls f with the fields of a serialized message (Protocol Buffers,
// Encoding): value is that of strings, bytes and messages, number that of the
// other types. text begins at byte at of the record; f is told where value begins.
// Groups, which nobody writes any more, are an error.
//
// It reads strings, so that what is taken out of a record needs no copy.
func each(text string, at int, f func(field tag, at int, value string, number uint64) error) error {
	for i := 0; i < len(text); {
		start := i
		key, n := varint(text[i:])
		if n == 0 {
			return &fieldError{at + start, errCutShort}
		}
		i += n
		if key>>3 == 0 || key>>3 > uint64(protowire.MaxValidNumber) {
			return &fieldError{at + start, fmt.Errorf("%d is no field number", key>>3)}
		}
		var value string
		var number uint64
		switch protowire.Type(key & 7) {
		case protowire.VarintType:
			if number, n = varint(text[i:]); n == 0 {
				return &fieldError{at + start, errCutShort}
			}
			i += n
		case protowire.Fixed64Type:
			if len(text)-i < 8 {
				return &fieldError{at + start, errCutShort}
			}
			number, i = fixed(text[i:i+8]), i+8
		case protowire.Fixed32Type:
			if len(text)-i < 4 {
				return &fieldError{at + start, errCutShort}
			}
			number, i = fixed(text[i:i+4]), i+4
		case protowire.BytesType:
			length, n := varint(text[i:])
			if i += n; n == 0 || length > uint64(len(text)-i) {
				return &fieldError{at + start, errCutShort}
			}
			value, i = text[i:i+int(length)], i+int(length)
		default:
			return &fieldError{at + start, fmt.Errorf("field %d has the wire type %d", key>>3, key&7)}
		}
		if err := f(tag(key), at+i-len(value), value, number); err != nil {
			return err
		}
	}
	return nil
}

// varint returns a number and how many bytes it has, 0 if it is cut short or
// longer than any.
func varint(text string) (x uint64, n int) {
	for n = 0; n < len(text) && n < 10; n++ {
		b := text[n]
		if n == 9 && b > 1 {
			return 0, 0
		}
		x |= uint64(b&0x7f) << (7 * n)
		if b < 0x80 {
			return x, n + 1
		}
	}
	return 0, 0
}

// fixed returns a little-endian number.
func fixed(text string) (x uint64) {
	for i := len(text) - 1; i >= 0; i-- {
		x = x<<8 | uint64(text[i])
	}
	return x
}

// double writes the number whose bits are given.
func double(bits uint64) string { return strconv.FormatFloat(math.Float64frombits(bits), 'g', -1, 64) }
