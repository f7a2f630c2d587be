package k6ext

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"
)

// options reads the keys of an object that a script passes. As in k6's own modules, a key
// that isn't known is an error.
type options struct {
	rt       *sobek.Runtime
	what     string
	object   *sobek.Object
	known    []string
	problems []error
}

// read begins; no object is one without keys.
func (m *instance) read(what string, v sobek.Value) *options {
	o := &options{rt: m.vu.Runtime(), what: what}
	if common.IsNullish(v) {
		return o
	}
	object, ok := v.(*sobek.Object)
	if !ok {
		o.problems = append(o.problems, fmt.Errorf("%s: want an object of options, got %v", what, v))
		return o
	}
	o.object = object
	return o
}

// get returns the value of a key, nil if it isn't given.
func (o *options) get(key string) sobek.Value {
	o.known = append(o.known, key)
	if o.object == nil {
		return nil
	}
	if v := o.object.Get(key); !common.IsNullish(v) {
		return v
	}
	return nil
}

func (o *options) wrong(key string, v sobek.Value, want string) {
	o.problems = append(o.problems, fmt.Errorf("%s: option %s is %v, want %s", o.what, key, v, want))
}

func (o *options) text(key, otherwise string) string {
	v := o.get(key)
	if v == nil {
		return otherwise
	}
	s, ok := v.Export().(string)
	if !ok {
		o.wrong(key, v, "a string")
	}
	return s
}

func (o *options) boolean(key string) bool {
	v := o.get(key)
	if v == nil {
		return false
	}
	b, ok := v.Export().(bool)
	if !ok {
		o.wrong(key, v, "true or false")
	}
	return b
}

// number reads a number between two bounds.
func (o *options) number(key string, otherwise, least, most float64) float64 {
	v := o.get(key)
	if v == nil {
		return otherwise
	}
	var n float64
	switch x := v.Export().(type) {
	case int64:
		n = float64(x)
	case float64:
		n = x
	default:
		o.wrong(key, v, "a number")
		return otherwise
	}
	if !(n >= least && n <= most) {
		o.wrong(key, v, fmt.Sprintf("a number from %v to %v", least, most))
		return otherwise
	}
	return n
}

// duration reads "5s", or milliseconds.
func (o *options) duration(key string, otherwise time.Duration) time.Duration {
	v := o.get(key)
	if v == nil {
		return otherwise
	}
	var d time.Duration
	var err error
	switch x := v.Export().(type) {
	case string:
		d, err = time.ParseDuration(x)
	case int64:
		d = time.Duration(x) * time.Millisecond
	case float64:
		d = time.Duration(x * float64(time.Millisecond))
	default:
		err = errors.New("neither")
	}
	if err != nil || d < 0 {
		o.wrong(key, v, `a duration such as "5s", or milliseconds`)
		return otherwise
	}
	return d
}

// words reads an object of strings.
func (o *options) words(key string) map[string]string {
	v := o.get(key)
	if v == nil {
		return nil
	}
	object, ok := v.(*sobek.Object)
	if !ok {
		o.wrong(key, v, "an object of strings")
		return nil
	}
	out := make(map[string]string)
	for _, k := range object.Keys() {
		out[k] = object.Get(k).String()
	}
	return out
}

// list reads an array of strings.
func (o *options) list(key string) []string {
	v := o.get(key)
	if v == nil {
		return nil
	}
	var out []string
	if err := o.rt.ExportTo(v, &out); err != nil {
		o.wrong(key, v, "an array of strings")
	}
	return out
}

// end throws what was wrong, and what isn't known.
func (o *options) end() {
	if o.object != nil {
		for _, key := range o.object.Keys() {
			if !slices.Contains(o.known, key) {
				o.problems = append(o.problems, fmt.Errorf("%s: unknown option %q; there are %s", o.what, key, strings.Join(o.known, ", ")))
			}
		}
	}
	if err := errors.Join(o.problems...); err != nil {
		common.Throw(o.rt, err)
	}
}
