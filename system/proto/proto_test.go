// Package proto_test checks our protocol files against the tables of the
// originals, and the generated code against the files.
package proto_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/batch"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/proto/executionstats"
	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/proto/notes"
)

func TestGeneratedCodeIsInSync(t *testing.T) {
	// go test repeats a cached success unless it has seen the test read the file
	// that changed; what the generator reads it doesn't see.
	sources, err := filepath.Glob("*/*.proto")
	if err != nil || len(sources) != len(files) {
		t.Fatalf("%d .proto files, error %v, want %d", len(sources), err, len(files))
	}
	for _, path := range append(sources, "generate/main.go") {
		if _, err := os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), "go", "run", "./system/proto/generate", "-check")
	command.Dir = "../.."
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

// files are the descriptors of what is generated, with the names they have on
// the wire.
var files = map[string]protoreflect.FileDescriptor{
	"google.devtools.remoteworkers.v1test2": bots.File_bots_bots_proto,
	"weir.notes.v1":                         notes.File_notes_notes_proto,
	"weir.admin.v1":                         admin.File_admin_admin_proto,
	"weir.batch.v1":                         batch.File_batch_batch_proto,
	"build.buildgrid":                       localcas.File_localcas_local_cas_proto,
	"build.buildbox":                        executionstats.File_executionstats_execution_stats_proto,
}

// TestMessagesAreThoseOfTheWire compares every message, enum and service with
// the tables in wire_test.go, in both directions.
func TestMessagesAreThoseOfTheWire(t *testing.T) {
	for pkg, want := range wire {
		t.Run(pkg, func(t *testing.T) {
			file := files[pkg]
			if got := string(file.Package()); got != pkg {
				t.Errorf("package %s, want %s", got, pkg)
			}
			if file.Syntax() != protoreflect.Proto3 {
				t.Errorf("syntax %v, want proto3", file.Syntax())
			}
			got := describe(file)
			for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
				line = strings.Join(strings.Fields(line), " ")
				if line == "" {
					continue
				}
				if i := slices.Index(got, line); i >= 0 {
					got = slices.Delete(got, i, i+1)
				} else {
					t.Errorf("lacks: %s", line)
				}
			}
			for _, line := range got {
				t.Errorf("has also: %s", line)
			}
		})
	}
}

// describe returns a line for each field, enum value and method of a file:
//
//	Message.field number type
//	Enum.VALUE number
//	Service.Method Request Response
func describe(file protoreflect.FileDescriptor) []string {
	var lines []string
	local := string(file.Package()) + "."
	name := func(d protoreflect.Descriptor) string { return strings.TrimPrefix(string(d.FullName()), local) }
	enums := func(list protoreflect.EnumDescriptors) {
		for e := range each(list) {
			for v := range each(e.Values()) {
				lines = append(lines, fmt.Sprintf("%s.%s %d", name(e), v.Name(), v.Number()))
			}
		}
	}
	var messages func(protoreflect.MessageDescriptors)
	messages = func(list protoreflect.MessageDescriptors) {
		for m := range each(list) {
			if m.Fields().Len()+m.Messages().Len() == 0 {
				lines = append(lines, name(m)+" is empty")
			}
			for f := range each(m.Fields()) {
				lines = append(lines, fmt.Sprintf("%s.%s %d %s", name(m), f.Name(), f.Number(), typeOf(f, name)))
			}
			for i := range m.ReservedRanges().Len() {
				lines = append(lines, fmt.Sprintf("%s reserved %d", name(m), m.ReservedRanges().Get(i)[0]))
			}
			enums(m.Enums())
			messages(m.Messages())
		}
	}
	messages(file.Messages())
	enums(file.Enums())
	for s := range each(file.Services()) {
		for m := range each(s.Methods()) {
			lines = append(lines, fmt.Sprintf("%s.%s %s%s %s%s", name(s), m.Name(),
				stream(m.IsStreamingClient()), name(m.Input()), stream(m.IsStreamingServer()), name(m.Output())))
		}
	}
	return lines
}

func typeOf(f protoreflect.FieldDescriptor, name func(protoreflect.Descriptor) string) string {
	text := f.Kind().String()
	switch {
	case f.Message() != nil:
		text = name(f.Message())
	case f.Enum() != nil:
		text = name(f.Enum())
	}
	if f.IsList() {
		text = "repeated " + text
	}
	return text
}

func stream(is bool) string {
	if is {
		return "stream "
	}
	return ""
}

// each ranges over one of protoreflect's lists.
func each[D any](list interface {
	Len() int
	Get(int) D
}) func(func(D) bool) {
	return func(yield func(D) bool) {
		for i := range list.Len() {
			if !yield(list.Get(i)) {
				return
			}
		}
	}
}

// checkWire marshals m and compares with bytes written by hand, and back.
func checkWire(t *testing.T, m proto.Message, want []byte) {
	t.Helper()
	got, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s marshals to\n% x, error %v, want\n% x", m.ProtoReflect().Descriptor().FullName(), got, err, want)
	}
	back := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(want, back); err != nil || !proto.Equal(back, m) {
		t.Errorf("% x unmarshals to %v, error %v, want %v", want, back, err, m)
	}
}
