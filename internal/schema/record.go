package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	// The services whose methods a cluster serves or calls.
	_ "cloud.google.com/go/longrunning/autogen/longrunningpb"
	_ "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	_ "google.golang.org/genproto/googleapis/bytestream"
	_ "google.golang.org/grpc/health/grpc_health_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/weir-build/weir/system/proto/bots"
	_ "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/traces/semconv"
)

// A Record is what has been emitted. It isn't safe for concurrent use.
type Record struct {
	problems map[string]bool
	emitted  map[Name]bool

	spans      map[string]semconv.Span
	attributes map[string]semconv.Attribute
	resources  map[string]semconv.Attribute
	links      map[string]semconv.Link
	events     map[string]semconv.Event
	metrics    map[string]metric
	labels     map[string]semconv.Label

	// What spans point to may come after them.
	seen  map[spanID]string // names
	later []pointer
}

// A Name is something that has a declaration: a kind, such as "span", and the
// name.
type Name struct{ Kind, Name string }

func (n Name) String() string { return n.Kind + " " + n.Name }

// NewRecord returns a record of nothing.
func NewRecord() *Record {
	r := &Record{
		problems: make(map[string]bool), emitted: make(map[Name]bool), seen: make(map[spanID]string),
		spans:      byName(semconv.Spans(), func(s semconv.Span) string { return s.Name }),
		attributes: byName(semconv.Attributes(), func(a semconv.Attribute) string { return a.Key }),
		resources:  byName(semconv.ResourceAttributes(), func(a semconv.Attribute) string { return a.Key }),
		links:      byName(semconv.Links(), func(l semconv.Link) string { return l.Kind }),
		events:     byName(semconv.Events(), func(e semconv.Event) string { return e.Name }),
		labels:     byName(semconv.Labels(), func(l semconv.Label) string { return l.Name }),
		metrics:    make(map[string]metric),
	}
	for _, area := range semconv.Areas() {
		for _, m := range area.Metrics {
			r.metrics[m.Name] = metric{m, area.Roles}
		}
	}
	return r
}

func byName[T any](list []T, name func(T) string) map[string]T {
	m := make(map[string]T, len(list))
	for _, one := range list {
		m[name(one)] = one
	}
	return m
}

// Problems returns what was emitted otherwise than it is declared, each once.
func (r *Record) Problems() []string {
	for _, p := range r.later {
		// What a client or a process that was killed has written isn't there.
		if got, ok := r.seen[p.to]; ok && got != p.want {
			r.problem("%s is span %s, declared as %s", p.what, got, p.want)
		}
	}
	return slices.Sorted(maps.Keys(r.problems))
}

// Silent returns what is declared and hasn't been emitted, in the order of the
// declarations.
func (r *Record) Silent() []Name {
	return slices.DeleteFunc(Declared(), func(n Name) bool { return r.emitted[n] })
}

// Declared returns everything that has a declaration, in order.
func Declared() []Name {
	var all []Name
	for _, s := range semconv.Spans() {
		all = append(all, Name{"span", s.Name})
	}
	for _, a := range semconv.Attributes() {
		all = append(all, Name{"attribute", a.Key})
	}
	for _, l := range semconv.Links() {
		all = append(all, Name{"link", l.Kind})
	}
	for _, e := range semconv.Events() {
		all = append(all, Name{"event", e.Name})
	}
	for _, a := range semconv.ResourceAttributes() {
		all = append(all, Name{"resource attribute", a.Key})
	}
	for _, m := range semconv.All() {
		all = append(all, Name{"metric", m.Name})
	}
	for _, l := range semconv.Labels() {
		all = append(all, Name{"label", l.Name})
	}
	return all
}

func (r *Record) problem(format string, args ...any) { r.problems[fmt.Sprintf(format, args...)] = true }

// isMethod reports whether the program links a method, named service/method, or
// the name stands for those that it doesn't.
func isMethod(name string) bool {
	if name == semconv.OtherMethod {
		return true
	}
	service, method, ok := strings.Cut(name, "/")
	if !ok || !protoreflect.FullName(service).IsValid() {
		return false
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return false
	}
	s, ok := d.(protoreflect.ServiceDescriptor)
	return ok && s.Methods().ByName(protoreflect.Name(method)) != nil
}
