package casd

import (
	"errors"
	"fmt"
	"sync"

	"github.com/weir-build/weir/system/digest"
)

// maxRegistered bounds the instances that clients cause to be, each of which may
// hold four connections. BuildStream registers one for each server of its
// configuration, a namespace takes one for each sandbox. They stay until casd ends:
// nobody says when a name isn't needed any more.
const maxRegistered = 1000

// instances are those of a casd, by name.
type instances struct {
	// adding orders those who add; it is locked before mu.
	adding sync.Mutex

	// mu guards the fields below.
	mu         sync.RWMutex
	byName     map[string]*instance
	registered int
	closers    []func() error // of the clients of registered instances
}

var errTooManyInstances = fmt.Errorf("%w: there are %d instances besides the configured ones, the most that one casd keeps; restart it", errExhausted, maxRegistered)

// find returns the instance of a request.
func (all *instances) find(name string) (*instance, error) {
	if err := digest.CheckInstance(name); err != nil {
		return nil, err
	}
	all.mu.RLock()
	defer all.mu.RUnlock()
	if in := all.byName[name]; in != nil {
		return in, nil
	}
	return nil, &inputError{fmt.Sprintf("unknown instance %q: it is neither configured here nor was it given out since casd started", name)}
}

// put makes a configured instance known.
func (all *instances) put(in *instance) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byName[in.name] = in
}

// register returns the instance of a name, and makes it if it isn't there: then
// the clients that make opened are closed with casd.
func (all *instances) register(name string, make func() (*instance, []func() error, error)) (*instance, error) {
	all.adding.Lock()
	defer all.adding.Unlock()
	all.mu.RLock()
	in, full := all.byName[name], all.registered >= maxRegistered
	all.mu.RUnlock()
	if in != nil {
		return in, nil
	}
	if full {
		return nil, errTooManyInstances
	}
	in, closers, err := make()
	if err != nil {
		for _, f := range closers {
			err = errors.Join(err, f())
		}
		return nil, err
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byName[name] = in
	all.registered++
	all.closers = append(all.closers, closers...)
	return in, nil
}

// close closes the clients of registered instances.
func (all *instances) close() error {
	all.mu.Lock()
	defer all.mu.Unlock()
	var errs []error
	for _, f := range all.closers {
		errs = append(errs, f())
	}
	all.closers = nil
	return errors.Join(errs...)
}
