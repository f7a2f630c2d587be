package scenario

import (
	"fmt"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/loadgen/workload"
)

// dist reads a distribution: a number alone is always that number.
func (r *reader) dist(n *yaml.Node, what string, m measure, otherwise workload.Dist) workload.Dist {
	if n == nil {
		return otherwise
	}
	if n.Kind != yaml.MappingNode {
		return workload.Constant(r.number(n, what, m, 0))
	}
	o := r.object(n, what)
	defer o.end()
	d := r.distKind(o, what, m)
	if at := o.get("max"); at != nil {
		d = d.AtMost(r.number(at, what+".max", m, 0))
	}
	if err := d.Validate(); err != nil {
		r.wrong(n, "%s: %v", what, err)
		return otherwise
	}
	return d
}

func (r *reader) distKind(o *object, what string, m measure) workload.Dist {
	key := o.only("constant", "uniform", "exponential", "lognormal", "pareto", "histogram", "preset")
	if key == "" {
		return workload.Dist{}
	}
	n := o.get(key)
	what += "." + key
	switch key {
	case "constant":
		return workload.Constant(r.number(n, what, m, 0))
	case "exponential":
		return workload.Exponential(r.number(n, what, m, 0))
	case "uniform":
		bounds := r.list(n, what)
		if len(bounds) != 2 {
			r.wrong(n, "%s: want [FROM, TO]", what)
			return workload.Dist{}
		}
		return workload.Uniform(r.number(bounds[0], what, m, 0), r.number(bounds[1], what, m, 0))
	case "lognormal":
		p := r.object(n, what)
		defer p.end()
		p.require("median", "sigma")
		return workload.Lognormal(r.number(p.get("median"), what+".median", m, 0), r.number(p.get("sigma"), what+".sigma", counts, 0))
	case "pareto":
		p := r.object(n, what)
		defer p.end()
		p.require("min", "shape")
		return workload.Pareto(r.number(p.get("min"), what+".min", m, 1), r.number(p.get("shape"), what+".shape", counts, 1))
	case "histogram":
		return workload.Empirical(r.bins(n, what, m))
	}
	return r.preset(n, what)
}

// bins reads [[FROM, TO, SHARE], …].
func (r *reader) bins(n *yaml.Node, what string, m measure) []workload.Bin {
	var bins []workload.Bin
	for _, one := range r.list(n, what) {
		parts := r.list(one, what)
		if len(parts) != 3 {
			r.wrong(one, "%s: want [FROM, TO, WEIGHT]", what)
			continue
		}
		bins = append(bins, workload.Bin{From: r.number(parts[0], what, m, 0), To: r.number(parts[1], what, m, 0), Share: r.number(parts[2], what, counts, 0)})
	}
	return bins
}

func (r *reader) preset(n *yaml.Node, what string) workload.Dist {
	name := r.text(n, what, "")
	p, ok := workload.FindPreset(name)
	if !ok {
		var names []string
		for _, p := range workload.Presets() {
			names = append(names, p.Name)
		}
		r.wrong(n, "%s: %q is none of %s", what, name, strings.Join(names, ", "))
	}
	if p.Assumed {
		r.assumed = append(r.assumed, p.Name)
	}
	return p.Dist
}

// arrivals reads the key arrivals of a stream.
func (r *reader) arrivals(of *object, what string) workload.Arrivals {
	what += ".arrivals"
	n := of.get("arrivals")
	if !of.require("arrivals") {
		return workload.Arrivals{}
	}
	o := r.object(n, what)
	defer o.end()
	a := r.arrivalKind(o, what)
	a.Limit = r.whole(o.get("limit"), what+".limit", 0, 1, 1<<31-1)
	if err := a.Validate(); err != nil && o.node.Kind == yaml.MappingNode && len(o.found) > 0 {
		r.wrong(n, "%s: %v", what, err)
	}
	return a
}

func (r *reader) arrivalKind(o *object, what string) workload.Arrivals {
	key := o.only("poisson", "constant", "on_off", "diurnal", "ramp", "trace", "burst", "closed")
	if key == "" {
		return workload.Arrivals{}
	}
	n := o.get(key)
	what += "." + key
	if key == "burst" {
		return workload.Burst(r.whole(n, what, 1, 1, maxInFlight))
	}
	if key == "trace" {
		var times []time.Duration
		for i, one := range r.list(n, what) {
			times = append(times, r.duration(one, fmt.Sprintf("%s[%d]", what, i), 0))
		}
		return workload.Trace(times)
	}
	p := r.object(n, what)
	defer p.end()
	rate := func(key string) float64 {
		p.require(key)
		return r.number(p.get(key), what+"."+key, counts, 0)
	}
	length := func(key string) time.Duration {
		p.require(key)
		return r.duration(p.get(key), what+"."+key, 0)
	}
	switch key {
	case "poisson":
		return workload.Poisson(rate("rate"))
	case "constant":
		return workload.Even(rate("rate"))
	case "on_off":
		return workload.OnOff(rate("rate"), length("on"), length("off"))
	case "diurnal":
		return workload.Diurnal(rate("rate"), r.share(p.get("amplitude"), what+".amplitude", 0.5), length("period"), r.duration(p.get("peak"), what+".peak", 0))
	case "ramp":
		return workload.Ramp(rate("from"), rate("to"), length("over"))
	}
	return workload.Closed(r.whole(p.get("clients"), what+".clients", 1, 1, maxInFlight))
}
