package schema

import (
	"fmt"
	"slices"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weir-build/weir/traces/semconv"
)

type spanID struct{ trace, span string }

// pointer is a claim about the name of another span.
type pointer struct {
	to         spanID
	what, want string
}

// AddSpans adds the spans of one resource.
func (r *Record) AddSpans(rs *tracepb.ResourceSpans) {
	service := r.addResource(rs.GetResource().GetAttributes())
	for _, scope := range rs.ScopeSpans {
		for _, s := range scope.Spans {
			r.addSpan(service, s)
		}
	}
}

// addResource checks a resource's attributes and returns its service.name.
func (r *Record) addResource(attributes []*commonpb.KeyValue) (service string) {
	for _, kv := range attributes {
		a, ok := r.resources[kv.Key]
		if !ok {
			r.problem("resource attribute %s isn't declared", kv.Key)
			continue
		}
		r.emitted[Name{"resource attribute", kv.Key}] = true
		r.checkValue("resource", a, kv)
		if kv.Key == semconv.AttrServiceName {
			service = kv.Value.GetStringValue()
		}
	}
	return service
}

func (r *Record) addSpan(service string, s *tracepb.Span) {
	r.seen[spanID{string(s.TraceId), string(s.SpanId)}] = s.Name
	on := s.Name
	if declared, ok := r.spans[s.Name]; ok {
		r.emitted[Name{"span", s.Name}] = true
		if service != semconv.Import {
			r.checkPlace(service, s, declared)
		}
	} else {
		on = semconv.OnRPCs
		if !isMethod(s.Name) {
			r.problem("span %s isn't declared and is no method of a service that is linked", s.Name)
		}
	}
	r.addAttributes("span "+s.Name, on, s.Attributes)
	for _, l := range s.Links {
		r.addLink(service, s, l)
	}
	for _, e := range s.Events {
		declared, ok := r.events[e.Name]
		if !ok || !slices.Contains(declared.On, on) {
			r.problem("event %s of span %s isn't declared", e.Name, s.Name)
		}
		r.emitted[Name{"event", e.Name}] = ok
	}
}

// checkPlace checks who wrote a span, and what it hangs below.
func (r *Record) checkPlace(service string, s *tracepb.Span, declared semconv.Span) {
	if service != declared.Emitter && s.Name != semconv.SpanInvocation { // a client may write that itself
		r.problem("span %s is written by %s, declared for %s", s.Name, service, declared.Emitter)
	}
	switch {
	case declared.Parent != "":
		r.later = append(r.later, pointer{spanID{string(s.TraceId), string(s.ParentSpanId)}, "the parent of " + s.Name, declared.Parent})
	case len(s.ParentSpanId) > 0:
		r.problem("span %s has a parent, declared as a root", s.Name)
	}
}

func (r *Record) addLink(service string, s *tracepb.Span, l *tracepb.Span_Link) {
	r.addAttributes("link of "+s.Name, semconv.OnLinks, l.Attributes)
	kind := ""
	for _, kv := range l.Attributes {
		if kv.Key == semconv.AttrLinkKind {
			kind = kv.Value.GetStringValue()
		}
	}
	declared, ok := r.links[kind]
	if !ok {
		r.problem("link %q of span %s isn't declared", kind, s.Name)
		return
	}
	r.emitted[Name{"link", kind}] = true
	if service == semconv.Import {
		return
	}
	if s.Name != declared.From {
		r.problem("link %s is from span %s, declared from %s", kind, s.Name, declared.From)
	}
	r.later = append(r.later, pointer{spanID{string(l.TraceId), string(l.SpanId)}, "the end of link " + kind, declared.To})
}

// addAttributes checks the attributes of what is described by what and declared
// as on.
func (r *Record) addAttributes(what, on string, attributes []*commonpb.KeyValue) {
	had := make(map[string]bool)
	for _, kv := range attributes {
		a, ok := r.attributes[kv.Key]
		if !ok {
			r.problem("attribute %s of %s isn't declared", kv.Key, what)
			continue
		}
		r.emitted[Name{"attribute", kv.Key}] = true
		if !slices.Contains(a.On, on) {
			r.problem("attribute %s is on %s, declared on %s", kv.Key, what, strings.Join(a.On, ", "))
		}
		if had[kv.Key] {
			r.problem("attribute %s is twice on %s", kv.Key, what)
		}
		had[kv.Key] = true
		r.checkValue(what, a, kv)
	}
}

func (r *Record) checkValue(what string, a semconv.Attribute, kv *commonpb.KeyValue) {
	switch v := kv.Value.GetValue().(type) {
	case *commonpb.AnyValue_IntValue:
		if a.Type == semconv.Int {
			if a.Max > 0 && (v.IntValue < 0 || v.IntValue > a.Max) {
				r.problem("attribute %s of %s is %d, declared from 0 to %d", a.Key, what, v.IntValue, a.Max)
			}
			return
		}
	case *commonpb.AnyValue_StringValue:
		if a.Type == semconv.Text {
			if !allowed(a.Cardinality, a.Values, v.StringValue) {
				r.problem("attribute %s of %s is %q, which isn't among its values", a.Key, what, v.StringValue)
			}
			return
		}
	}
	r.problem("attribute %s of %s is a %s, declared as %s", a.Key, what, kind(kv.Value), a.Type)
}

// kind names the type of a value.
func kind(v *commonpb.AnyValue) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", v.GetValue()), "*v1.AnyValue_")
	return strings.ToLower(strings.TrimSuffix(name, "Value"))
}

// allowed reports whether a text may be a value of what has the given
// cardinality and values.
func allowed(c semconv.Cardinality, values []string, text string) bool {
	switch c {
	case semconv.PerProgram:
		return slices.Contains(values, text)
	case semconv.PerMethod:
		return isMethod(text)
	}
	return true
}
