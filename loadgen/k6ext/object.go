package k6ext

import (
	"slices"

	"github.com/grafana/sobek"
)

// A class says what JavaScript sees of a Go value. Each property is made when a script
// first asks for it, once for each object: of what the module has, a script uses little,
// and thousands of virtual users would have all of it. Functions take a FunctionCall:
// methods found by reflection cost twice what they do, at each call.
type class[T any] struct {
	names      []string // in order
	properties map[string]property[T]
}

// A property makes what the runtime can convert.
type property[T any] func(T) any

// method is the property that is a function of the value and its arguments.
func method[T any](f func(T, sobek.FunctionCall) sobek.Value) property[T] {
	return func(of T) any { return func(call sobek.FunctionCall) sobek.Value { return f(of, call) } }
}

func newClass[T any](properties map[string]property[T]) *class[T] {
	c := &class[T]{properties: properties}
	for name := range properties {
		c.names = append(c.names, name)
	}
	slices.Sort(c.names)
	return c
}

// of returns the object of a value.
func (c *class[T]) of(rt *sobek.Runtime, value T) *sobek.Object {
	return rt.NewDynamicObject(&object[T]{class: c, rt: rt, value: value})
}

// constructed makes an object one of those of a constructor that scripts call, or of a class of
// theirs that extends it: instanceof tells, and methods of such a class are found.
func constructed(call sobek.ConstructorCall, o *sobek.Object) *sobek.Object {
	if err := o.SetPrototype(call.This.Prototype()); err != nil {
		panic(err) // an error of JavaScript, which the script gets
	}
	return o
}

// object is the sobek.DynamicObject of a value of a class. It can't be changed.
type object[T any] struct {
	class *class[T]
	rt    *sobek.Runtime
	value T
	made  []made
}

// made is a property that was asked for. Scripts ask for few, so that they are searched.
type made struct {
	name  string
	value sobek.Value
}

// Get returns a property, nil if there is none of that name.
func (o *object[T]) Get(name string) sobek.Value {
	for i := range o.made {
		if o.made[i].name == name {
			return o.made[i].value
		}
	}
	make, ok := o.class.properties[name]
	if !ok {
		return nil
	}
	value := o.rt.ToValue(make(o.value))
	o.made = append(o.made, made{name, value})
	return value
}

// Has tells whether there is a property.
func (o *object[T]) Has(name string) bool { return o.class.properties[name] != nil }

// Keys returns all names.
func (o *object[T]) Keys() []string { return o.class.names }

// Set refuses.
func (o *object[T]) Set(string, sobek.Value) bool { return false }

// Delete refuses.
func (o *object[T]) Delete(name string) bool { return !o.Has(name) }
