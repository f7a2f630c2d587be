package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// A reader walks a YAML document and notes what is wrong with it, each with its line.
type reader struct {
	problems []problem
	assumed  []string
}

type problem struct {
	line int
	text string
}

// maxProblems is how many are told: the rest follow from the first, mostly.
const maxProblems = 20

func (r *reader) wrong(n *yaml.Node, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	r.problems = append(r.problems, problem{line, fmt.Sprintf(format, args...)})
}

// err returns all problems, in the order of their lines.
func (r *reader) err() error {
	slices.SortStableFunc(r.problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var all []error
	for i, p := range r.problems {
		if i == maxProblems {
			all = append(all, fmt.Errorf("and %d more", len(r.problems)-i))
			break
		}
		all = append(all, fmt.Errorf("line %d: %s", p.line, p.text))
	}
	return errors.Join(all...)
}

// object is a mapping whose values are asked for by key.
type object struct {
	r     *reader
	node  *yaml.Node
	what  string
	known []string
	found map[string]*yaml.Node
}

// object reads a mapping. A key that isn't asked for by the time of end is unknown.
func (r *reader) object(n *yaml.Node, what string) *object {
	o := &object{r: r, node: n, what: what, found: make(map[string]*yaml.Node)}
	if n == nil {
		return o
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "%s: want a mapping of keys to values, got %s", what, describe(n))
		return o
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if o.found[key.Value] != nil {
			r.wrong(key, "%s: key %q twice", what, key.Value)
		}
		o.found[key.Value] = n.Content[i+1]
	}
	return o
}

// get returns the value of a key, nil if it isn't there.
func (o *object) get(key string) *yaml.Node {
	if !slices.Contains(o.known, key) {
		o.known = append(o.known, key)
	}
	n := o.found[key]
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// end reports keys that nobody asked for.
func (o *object) end() {
	if o.node == nil || o.node.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(o.node.Content); i += 2 {
		key := o.node.Content[i]
		if slices.Contains(o.known, key.Value) {
			continue
		}
		hint := ""
		if near := nearest(key.Value, o.known); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		o.r.wrong(key, "%s: unknown key %q%s There are: %s", o.what, key.Value, cmp.Or(hint, "."), strings.Join(o.known, ", "))
	}
}

// require reports a key that is missing.
func (o *object) require(keys ...string) bool {
	for _, key := range keys {
		if o.found[key] == nil {
			o.known = append(o.known, key)
			o.r.wrong(o.node, "%s: key %q is missing", o.what, key)
			return false
		}
	}
	return true
}

// only returns the one key of a mapping that must have exactly one of several.
func (o *object) only(keys ...string) string {
	one := ""
	for _, key := range keys {
		if o.get(key) == nil {
			continue
		}
		if one != "" {
			o.r.wrong(o.node, "%s: both %s and %s; want one", o.what, one, key)
		}
		one = key
	}
	if one == "" {
		o.r.wrong(o.node, "%s: want one of %s", o.what, strings.Join(keys, ", "))
	}
	return one
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	case yaml.ScalarNode:
		return strconv.Quote(n.Value)
	}
	return "nothing"
}

func (r *reader) list(n *yaml.Node, what string) []*yaml.Node {
	if n == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, "%s: want a list, got %s", what, describe(n))
		return nil
	}
	return n.Content
}

func (r *reader) text(n *yaml.Node, what, otherwise string) string {
	if n == nil {
		return otherwise
	}
	if n.Kind != yaml.ScalarNode {
		r.wrong(n, "%s: want a word, got %s", what, describe(n))
		return otherwise
	}
	return n.Value
}

// choice reads one of several words; the first is the default.
func (r *reader) choice(n *yaml.Node, what string, words ...string) string {
	got := r.text(n, what, words[0])
	if !slices.Contains(words, got) {
		r.wrong(n, "%s: %q is none of %s", what, got, strings.Join(words, ", "))
		return words[0]
	}
	return got
}

func (r *reader) boolean(n *yaml.Node, what string) bool {
	switch r.text(n, what, "false") {
	case "true":
		return true
	case "false":
		return false
	}
	r.wrong(n, "%s: want true or false, got %s", what, describe(n))
	return false
}

// whole reads a whole number between two bounds.
func (r *reader) whole(n *yaml.Node, what string, otherwise, least, most int) int {
	if n == nil {
		return otherwise
	}
	v, err := strconv.Atoi(r.text(n, what, ""))
	if err != nil || v < least || v > most {
		r.wrong(n, "%s: %s is not a whole number from %d to %d", what, describe(n), least, most)
		return otherwise
	}
	return v
}

// A measure says how a number is written.
type measure struct {
	name  string
	parse func(string) (float64, bool)
}

var (
	factors = measure{"a number from 1 up, such as 3", func(s string) (float64, bool) {
		v, err := strconv.ParseFloat(s, 64)
		return v, err == nil && v >= 1
	}}
	counts = measure{"a number from 0 up, such as 20", func(s string) (float64, bool) {
		v, err := strconv.ParseFloat(s, 64)
		return v, err == nil
	}}
	durations = measure{"a duration, such as 300ms, 2s or 1m30s", func(s string) (float64, bool) {
		d, err := time.ParseDuration(s)
		return float64(d), err == nil
	}}
	sizes = measure{"a size, such as 400, 16k or 4M (powers of 1000; Ki and Mi of 1024)", parseSize}
	// shares are from 0 to 1, as percent or not.
	shares = measure{"a share from 0% to 100%", ParseShare}
)

// ParseShare reads a share from 0 to 1, as percent or not.
func ParseShare(s string) (share float64, ok bool) {
	v, ok := parseRatio(s)
	return v, ok && v >= 0 && v <= 1
}

// parseRatio reads a number, as percent or not.
func parseRatio(s string) (float64, bool) {
	percent, ok := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(percent, 64)
	if ok {
		v /= 100
	}
	return v, err == nil
}

func parseSize(s string) (float64, bool) {
	digits := strings.TrimRight(s, "kKMGTiB")
	scale, ok := map[string]float64{
		"": 1, "B": 1, "k": 1e3, "K": 1e3, "kB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12,
		"Ki": 1 << 10, "KiB": 1 << 10, "Mi": 1 << 20, "MiB": 1 << 20, "Gi": 1 << 30, "GiB": 1 << 30, "Ti": 1 << 40, "TiB": 1 << 40,
	}[s[len(digits):]]
	v, err := strconv.ParseFloat(digits, 64)
	return v * scale, ok && err == nil
}

// number reads a number in a measure; it is finite and not negative.
func (r *reader) number(n *yaml.Node, what string, m measure, otherwise float64) float64 {
	if n == nil {
		return otherwise
	}
	v, ok := m.parse(r.text(n, what, ""))
	if !ok || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		r.wrong(n, "%s: %s is not %s", what, describe(n), m.name)
		return otherwise
	}
	return v
}

func (r *reader) duration(n *yaml.Node, what string, otherwise time.Duration) time.Duration {
	return time.Duration(r.number(n, what, durations, float64(otherwise)))
}

func (r *reader) share(n *yaml.Node, what string, otherwise float64) float64 {
	return r.number(n, what, shares, otherwise)
}

// words reads a mapping of words to words.
func (r *reader) words(n *yaml.Node, what string) map[string]string {
	if n == nil {
		return nil
	}
	o := r.object(n, what)
	all := make(map[string]string, len(o.found))
	for key, value := range o.found {
		all[key] = r.text(value, what+"."+key, "")
	}
	return all
}

// nearest returns the word that differs from another by the fewest edits, at most two.
func nearest(word string, among []string) string {
	best, least := "", 3
	for _, candidate := range among {
		if d := distance(word, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
