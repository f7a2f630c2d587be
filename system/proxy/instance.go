package proxy

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weir-build/weir/system/digest"
)

// maxNameBytes bounds the name that is read from a message. An instance name
// has at most 255 bytes and a blob's name 150 more, but a write name may end in
// the path of a file, and Linux allows paths of 4096.
const maxNameBytes = 8 << 10

// maxGroupDepth bounds groups within groups, which only unknown fields can be.
const maxGroupDepth = 16

// plain is the instance of a field that holds nothing but an instance name.
func plain(name string) (string, error) { return name, digest.CheckInstance(name) }

func ofReadName(name string) (string, error) {
	instance, _, err := digest.ParseReadName(name)
	return instance, err
}

func ofWriteName(name string) (string, error) {
	instance, _, _, err := digest.ParseWriteName(name)
	return instance, err
}

// instanceOf returns the instance that a call of m is for, given its first
// message, and the name in which it was found.
func (m *method) instanceOf(message mem.BufferSlice) (instance, name string, err error) {
	name, present, err := field(message, m.field)
	if err != nil {
		return "", "", err
	}
	if !present && len(m.field) > 1 {
		// A string that isn't set is an empty string, but a message isn't an
		// empty message.
		return "", "", &badRequestError{"the message that holds its name is not set"}
	}
	if m.mustEqual != nil {
		other, present, err := field(message, m.mustEqual)
		if err != nil {
			return "", "", err
		}
		if present && other != "" && other != name {
			return "", "", &badRequestError{fmt.Sprintf("it has two names, %.200q and %.200q", other, name)}
		}
	}
	instance, err = m.instance(name)
	return instance, name, err
}

// field returns the string that message holds at path, as a protobuf parser
// would: of several the last counts, several messages of one field are merged,
// what is unknown or of another wire type is skipped. present is false if the
// field, or a message on the way to it, is not set at all; for a path of several
// numbers it says whether the outermost message is.
//
// It reads the message where it lies, without making it one piece: the first
// message of a batch may be megabytes.
func field(message mem.BufferSlice, path []protowire.Number) (value string, present bool, err error) {
	var s scanner
	s.r.Reset(message)
	defer s.r.Close()
	err = s.message(0, path)
	return s.value, s.present, err
}

type scanner struct {
	r       mem.Reader
	value   string
	present bool
}

// message scans a message that ends when rest bytes remain.
func (s *scanner) message(rest int, path []protowire.Number) error {
	for s.r.Remaining() > rest {
		number, wireType, err := s.tag(rest)
		if err != nil {
			return err
		}
		if number != path[0] || wireType != protowire.BytesType {
			if err := s.skip(number, wireType, rest, 0); err != nil {
				return err
			}
			continue
		}
		size, err := s.length(rest)
		if err != nil {
			return err
		}
		s.present = true
		if len(path) == 1 {
			s.value, err = s.text(size)
		} else {
			err = s.message(s.r.Remaining()-size, path[1:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) tag(rest int) (protowire.Number, protowire.Type, error) {
	v, err := s.varint(rest)
	if err != nil {
		return 0, 0, err
	}
	number, wireType := protowire.DecodeTag(v)
	if number < protowire.MinValidNumber {
		return 0, 0, &badRequestError{"it is not a protobuf message: a field number is out of range"}
	}
	return number, wireType, nil
}

func (s *scanner) varint(rest int) (uint64, error) {
	v, err := binary.ReadUvarint(&s.r)
	if err != nil || s.r.Remaining() < rest {
		return 0, errTruncated()
	}
	return v, nil
}

// length returns the length of the field that follows.
func (s *scanner) length(rest int) (int, error) {
	v, err := s.varint(rest)
	if err != nil {
		return 0, err
	}
	if v > uint64(s.r.Remaining()-rest) {
		return 0, errTruncated()
	}
	return int(v), nil
}

func (s *scanner) text(size int) (string, error) {
	if size > maxNameBytes {
		return "", &badRequestError{fmt.Sprintf("its name has %d bytes, more than %d", size, maxNameBytes)}
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(&s.r, b); err != nil {
		return "", errTruncated()
	}
	return string(b), nil
}

// skip passes over the value of a field.
func (s *scanner) skip(number protowire.Number, wireType protowire.Type, rest, depth int) error {
	switch wireType {
	case protowire.VarintType:
		_, err := s.varint(rest)
		return err
	case protowire.Fixed32Type:
		return s.discard(4, rest)
	case protowire.Fixed64Type:
		return s.discard(8, rest)
	case protowire.BytesType:
		size, err := s.length(rest)
		if err != nil {
			return err
		}
		return s.discard(size, rest)
	case protowire.StartGroupType:
		return s.skipGroup(number, rest, depth+1)
	}
	return &badRequestError{fmt.Sprintf("it is not a protobuf message: field %d has wire type %d", number, wireType)}
}

func (s *scanner) skipGroup(number protowire.Number, rest, depth int) error {
	if depth > maxGroupDepth {
		return &badRequestError{"it has groups nested too deeply"}
	}
	for {
		inner, wireType, err := s.tag(rest)
		if err != nil {
			return err
		}
		if wireType == protowire.EndGroupType {
			if inner != number {
				return &badRequestError{"it is not a protobuf message: a group ends that did not begin"}
			}
			return nil
		}
		if err := s.skip(inner, wireType, rest, depth); err != nil {
			return err
		}
	}
}

func (s *scanner) discard(size, rest int) error {
	if size > s.r.Remaining()-rest {
		return errTruncated()
	}
	if _, err := s.r.Discard(size); err != nil {
		return errTruncated()
	}
	return nil
}

func errTruncated() error { return &badRequestError{"it is not a protobuf message: it is cut short"} }
