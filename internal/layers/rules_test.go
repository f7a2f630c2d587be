package layers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// words may be imported by everybody.
var words = []string{
	"system/digest", "system/proto/admin", "system/proto/batch", "system/proto/bots", "system/proto/localcas", "system/proto/executionstats", "system/proto/notes",
	"traces/semconv", "traces/tracecontext", "reports/result",
}

// A rule is what one package may import.
type rule struct {
	imports []string
	planned bool // the package may not be there yet
}

// parseRules reads the language that layers.Rules is written in.
func parseRules(text string) (map[string]rule, error) {
	rules := make(map[string]rule)
	var order []string
	for number, line := range strings.Split(text, "\n") {
		fail := func(format string, args ...any) (map[string]rule, error) {
			return nil, fmt.Errorf("rule %d, %q: %s", number, line, fmt.Sprintf(format, args...))
		}
		line := strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		line, planned := strings.CutPrefix(line, "planned ")
		below, above, ok := strings.Cut(line, " < ")
		if !ok {
			return fail("want a, b < c, d")
		}
		var imports []string
		switch below {
		case "NONE":
		case "ALL":
			imports = slices.Clone(order)
		default:
			imports = strings.Split(below, ", ")
		}
		for _, path := range imports {
			if _, ok := rules[path]; !ok {
				return fail("%q has no line above this one", path)
			}
			if slices.Contains(words, path) && below != "ALL" {
				return fail("%s is a word: everybody may import it", path)
			}
		}
		for path := range strings.SplitSeq(above, ", ") {
			if _, ok := rules[path]; ok {
				return fail("%s has a line above this one", path)
			}
			if path == "" || strings.ContainsAny(path, " \t<,") {
				return fail("%q is no package", path)
			}
			rules[path] = rule{imports, planned}
			order = append(order, path)
		}
	}
	return rules, nil
}

// allows reports whether the package at path may import another of the module.
func allows(rules map[string]rule, path, imported string) bool {
	if slices.Contains(words, imported) {
		return !slices.Contains(words, path)
	}
	return slices.Contains(rules[path].imports, imported)
}

func TestRulesAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"a":                      "want a, b < c, d",
		"a < b":                  `"a" has no line above`,
		"NONE < a\nNONE < a":     "a has a line above",
		"NONE < a\na < b\nb < a": "a has a line above",
		"NONE < a, a":            "a has a line above",
		"NONE < a b":             "is no package",
		"NONE < a,b":             "is no package",
		"NONE < ":                "want a, b < c, d",
		"NONE < traces/semconv\ntraces/semconv < a": "is a word",
	} {
		if rules, err := parseRules(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, error %v, want one about %q", text, rules, err, want)
		}
	}
	rules, err := parseRules("# comment\nNONE < traces/semconv, a\na < b\nplanned b < c\n\nALL < d")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, imported string
		want           bool
	}{
		{"b", "a", true}, {"c", "b", true}, {"c", "a", false}, {"a", "b", false}, {"d", "a", true}, {"d", "c", true},
		{"b", "traces/semconv", true}, {"traces/semconv", "a", false}, {"traces/semconv", "system/digest", false}, {"b", "x", false},
	} {
		if got := allows(rules, c.path, c.imported); got != c.want {
			t.Errorf("%s may import %s: %v, want %v", c.path, c.imported, got, c.want)
		}
	}
	if !rules["c"].planned || rules["b"].planned {
		t.Errorf("planned are %v", rules)
	}
}
