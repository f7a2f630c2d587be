package k6ext

import (
	"errors"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"

	"github.com/weir-build/weir/loadgen/workload"
)

// pace calls a function at the moments of an arrival process, whether or not earlier calls
// have ended: an open loop within one virtual user. What is due when maxInFlight promises
// are open is dropped, and counted. It resolves when all have ended.
//
// The function is given the number of the call, and by how many milliseconds it is late.
func (m *instance) pace(params, f sobek.Value) *sobek.Promise {
	rt := m.vu.Runtime()
	o := m.read("pace", params)
	rate, kind := o.number("rate", 0, 0, 1e6), o.text("distribution", "poisson")
	length, most := o.duration("duration", 10*time.Second), int64(o.number("maxInFlight", 100, 1, 1e6))
	seed := uint64(o.number("seed", 1, 0, 1<<53))
	var arrivals workload.Arrivals
	switch kind {
	case "poisson":
		arrivals = workload.Poisson(rate)
	case "constant":
		arrivals = workload.Even(rate)
	default:
		o.wrong("distribution", o.get("distribution"), "poisson or constant")
	}
	if err := arrivals.Validate(); err != nil && len(o.problems) == 0 {
		o.problems = append(o.problems, errors.New("pace: "+err.Error()))
	}
	o.end()
	call, ok := sobek.AssertFunction(f)
	if !ok {
		common.Throw(rt, errors.New("pace(options, function): the function is missing"))
	}
	if m.vu.State() == nil {
		common.Throw(rt, common.NewInitContextError("pace in the init context is not possible"))
	}
	observer, err := m.observe(nil)
	if err != nil {
		common.Throw(rt, err)
	}
	p := &pacer{
		m: m, call: call, observer: observer, begin: time.Now(), length: length, most: most,
		times: arrivals.Times(workload.NewRand(seed, "pace")), ours: segment(m.vu.State().Options.ExecutionSegment).Has, seed: seed,
	}
	promise, resolve, reject := rt.NewPromise()
	p.resolve, p.reject = resolve, reject
	p.next()
	return promise
}

// pacer lives on the event loop but for its timer.
type pacer struct {
	m        *instance
	call     sobek.Callable
	observer *pusher
	begin    time.Time
	length   time.Duration
	times    func() (time.Duration, bool)
	ours     func(seed uint64, number int) bool
	seed     uint64
	number   int

	most, open, ended, dropped int64
	done                       bool // no more come
	resolve                    func(any) error
	reject                     func(any) error
	settled                    bool // the promise is
}

// next waits for the next arrival, off the loop.
func (p *pacer) next() {
	if p.settled {
		return
	}
	at, ok := p.times()
	for ok && !p.ours(p.seed, p.number) {
		p.number++
		at, ok = p.times()
	}
	if !ok || at >= p.length || p.m.vu.Context().Err() != nil {
		p.done = true
		p.finish()
		return
	}
	intended := p.begin.Add(at)
	enqueue := p.m.vu.RegisterCallback()
	ctx := p.m.vu.Context()
	go func() {
		timer := time.NewTimer(time.Until(intended))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		enqueue(func() error {
			err := p.begun(intended)
			p.next()
			return err
		})
	}()
}

func (p *pacer) begun(intended time.Time) error {
	number := p.number
	p.number++
	if p.open >= p.most {
		p.dropped++
		p.observer.Dropped(intended)
		return nil
	}
	rt := p.m.vu.Runtime()
	late := time.Since(intended)
	p.observer.one(p.m.metrics.scheduleDelay, time.Now(), milliseconds(late))
	value, err := p.call(sobek.Undefined(), rt.ToValue(number), rt.ToValue(milliseconds(late)))
	if err != nil {
		return p.fail(err)
	}
	if _, promised := value.Export().(*sobek.Promise); !promised {
		p.ended++
		return nil
	}
	p.open++
	then, _ := sobek.AssertFunction(value.ToObject(rt).Get("then"))
	_, err = then(value, rt.ToValue(func(sobek.Value) { p.one() }), rt.ToValue(func(reason sobek.Value) {
		p.fail(reason) // before the last one that ends resolves
		p.one()
	}))
	return err
}

func (p *pacer) one() {
	p.open--
	p.ended++
	p.finish()
}

// fail has the script's await throw; only the first failure can.
func (p *pacer) fail(reason any) error {
	if p.settled {
		return nil
	}
	p.settled = true
	return p.reject(reason)
}

func (p *pacer) finish() {
	if p.done && p.open == 0 && !p.settled {
		p.settled = true
		p.resolve(map[string]any{"ended": p.ended, "dropped": p.dropped})
	}
}
