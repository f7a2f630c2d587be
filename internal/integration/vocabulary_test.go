//go:build integration

package integration

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"

	"github.com/weir-build/weir/traces/semconv"
)

// method is what the name of an RPC's span looks like.
var method = regexp.MustCompile(`^[a-z][a-zA-Z0-9_.]*\.[A-Z]\w*/[A-Z]\w*$`)

// checkVocabulary fails the test if a span, an attribute or a value was written
// that semconv doesn't declare.
func (r *record) checkVocabulary(t *testing.T) {
	t.Helper()
	names := make(map[string]bool)
	for _, s := range semconv.Spans() {
		names[s.Name] = true
	}
	attributes := make(map[string]semconv.Attribute)
	for _, a := range semconv.Attributes() {
		attributes[a.Key] = a
	}
	strange := make(map[string]bool) // each problem once
	check := func(span string, list []*commonpb.KeyValue) {
		for _, kv := range list {
			a, ok := attributes[kv.Key]
			_, isInt := kv.Value.GetValue().(*commonpb.AnyValue_IntValue)
			text := kv.Value.GetStringValue()
			switch {
			case !ok:
				strange[fmt.Sprintf("span %s has attribute %s", span, kv.Key)] = true
			case isInt != (a.Type == semconv.Int):
				strange[fmt.Sprintf("span %s has attribute %s with a %T, want a %s", span, kv.Key, kv.Value.GetValue(), a.Type)] = true
			case len(a.Values) > 0 && !slices.Contains(a.Values, text):
				strange[fmt.Sprintf("span %s has attribute %s with value %q", span, kv.Key, text)] = true
			}
		}
	}
	for _, resource := range r.spans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				if !names[span.Name] && !method.MatchString(span.Name) {
					strange["span "+span.Name] = true
				}
				check(span.Name, span.Attributes)
				for _, link := range span.Links {
					check("link of "+span.Name, link.Attributes)
				}
			}
		}
	}
	for _, problem := range slices.Sorted(maps.Keys(strange)) {
		t.Errorf("not declared in semconv: %s", problem)
	}
}
