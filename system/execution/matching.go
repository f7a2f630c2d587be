package execution

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Matching says what of an action's platform chooses its workers. The zero value
// takes every property as it is: a worker serves the action if it offers all of them.
//
// A worker may offer AnyValue as the value of a key: then it has every value of it.
type Matching struct {
	// Ignore are keys that choose no worker, whatever their value: of properties for
	// another system, say. The worker still sees them in the action.
	Ignore []string
	// Unknown is what becomes of a key that is in none of Known and Defaults.
	Unknown UnknownKeys
	Known   []string
	// Defaults are properties of actions that don't have the key. They come after
	// Ignore, which can't name them.
	Defaults map[string]string
}

// AnyValue is offered by a worker that takes any value of a key.
const AnyValue = "*"

// UnknownKeys is what becomes of properties with a key that wasn't told of.
type UnknownKeys uint8

const (
	// MatchUnknown matches them as all others: where no worker has such a key, the
	// action finds none.
	MatchUnknown UnknownKeys = iota
	// IgnoreUnknown lets them choose no worker.
	IgnoreUnknown
	// RefuseUnknown refuses the action.
	RefuseUnknown
)

var unknownWords = [...]string{"match", "ignore", "refuse"}

func (u UnknownKeys) String() string { return unknownWords[u] }

// UnmarshalText reads match, ignore or refuse.
func (u *UnknownKeys) UnmarshalText(text []byte) error {
	i := slices.Index(unknownWords[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown_keys %q: want one of %s", text, strings.Join(unknownWords[:], ", "))
	}
	*u = UnknownKeys(i)
	return nil
}

// problems says what contradicts itself.
func (m *Matching) problems() (list []error) {
	add := func(format string, args ...any) { list = append(list, fmt.Errorf("platform: "+format, args...)) }
	switch known := len(m.Known) > 0; {
	case known && m.Unknown == MatchUnknown:
		add("known keys mean nothing while unknown ones are matched too: ignore or refuse those")
	case !known && m.Unknown != MatchUnknown:
		add("unknown keys can't be told (%v them) without a list of the known ones", m.Unknown)
	}
	for _, key := range m.Ignore {
		if _, ok := m.Defaults[key]; ok || slices.Contains(m.Known, key) {
			add("key %q is ignored, and known or has a default: only one can be", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.Defaults)) {
		if key == "" || m.Defaults[key] == "" {
			add("the default %s=%s needs a key and a value", key, m.Defaults[key])
		}
	}
	return list
}

// choose returns those of an action's properties that choose its worker, sorted.
func (m *Matching) choose(list []property) ([]property, error) {
	chosen := make([]property, 0, len(list)+len(m.Defaults))
	for _, p := range list {
		if slices.Contains(m.Ignore, p.key) {
			continue
		}
		if _, ok := m.Defaults[p.key]; m.Unknown != MatchUnknown && !ok && !slices.Contains(m.Known, p.key) {
			if m.Unknown == RefuseUnknown {
				return nil, invalid("platform property %s=%s is refused: the key %q is unknown here, only %s are allowed", p.key, p.value, p.key, m.allowed())
			}
			continue
		}
		chosen = append(chosen, p)
	}
	for key, value := range m.Defaults {
		if !has(chosen, key) {
			chosen = append(chosen, property{key, value})
		}
	}
	slices.SortFunc(chosen, compareProperties)
	return chosen, nil
}

// allowed lists the keys that an action may have.
func (m *Matching) allowed() string {
	keys := slices.Concat(m.Known, m.Ignore, slices.Collect(maps.Keys(m.Defaults)))
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), ", ")
}

func has(list []property, key string) bool {
	return slices.ContainsFunc(list, func(p property) bool { return p.key == key })
}

func compareProperties(a, b property) int {
	return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.value, b.value))
}

// offers tells whether what a worker offers has a property: by its value, or by
// taking any.
func offers(offered []property, want property) bool {
	for _, have := range offered {
		if have.key == want.key && (have.value == want.value || have.value == AnyValue) {
			return true
		}
	}
	return false
}
