package scenario

import (
	"time"

	"gopkg.in/yaml.v3"
)

// Autoscaler says by which rule, and of which metrics, a fleet gets more workers and fewer.
type Autoscaler struct {
	Rule Rule
	// Min and Max bound the number of workers, whatever the rule says.
	Min, Max int
	// Every is how often the rule is asked.
	Every time.Duration
	// Scrape is how often metrics are sampled, Lag how old the latest sample is at least
	// that the rule sees.
	Scrape, Lag time.Duration
	// Cooldown is how long the number stays after a change.
	Cooldown time.Duration
	// Window is how far back the rule looks; 0 is at the latest sample alone.
	Window time.Duration

	// Of the rule hpa: the metric and what it is to be, each deviation within Tolerance
	// being none; for how long the highest number that it said counts; and how fast the
	// fleet may grow and shrink.
	Metric        Metric
	Target        float64
	Tolerance     float64
	Stabilization time.Duration
	Up, Down      Limit

	Quantile float64 // of the rule quantile
	Beta     float64 // of the rule square-root
}

// Rule names a rule of autoscaling.
type Rule string

// The rules.
const (
	HPA        Rule = "hpa"         // Kubernetes' HorizontalPodAutoscaler
	Quantile   Rule = "quantile"    // Buildbarn's bb-autoscaler
	SquareRoot Rule = "square-root" // square-root staffing
)

// Metric names what the rule hpa goes by.
type Metric string

// The metrics.
const (
	// Utilization is the share of slots that are busy, of the workers that are there.
	Utilization Metric = "utilization"
	// Load is how many actions wait or run for each slot.
	Load Metric = "load"
)

// Limit bounds how many workers may come or go in a period: so many, or such a share of
// those that were there at its beginning, whichever is more. None of both is no bound.
type Limit struct {
	Workers int
	Share   float64
	Period  time.Duration
}

// Defaults of an autoscaler.
const (
	// Kubernetes': --horizontal-pod-autoscaler-sync-period, -tolerance and
	// -downscale-stabilization, and scaleUp's and scaleDown's default policies.
	defaultEvery         = 15 * time.Second
	defaultTolerance     = 0.1
	defaultStabilization = 5 * time.Minute
	defaultUpWorkers     = 4
	defaultUpShare       = 1.0
	defaultLimitPeriod   = 15 * time.Second
	// defaultTarget leaves room for what comes while workers boot.
	defaultTarget = 0.8
	// The resolution of Kubernetes' metrics-server, and as much until a rule sees it.
	defaultScrape = 15 * time.Second
	defaultLag    = 15 * time.Second
	// Those of the query that bb_autoscaler.proto gives as an example.
	defaultQuantile       = 0.95
	defaultQuantileWindow = 4 * time.Hour
	// defaultBeta lets two actions of nine wait (Halfin and Whitt 1981).
	defaultBeta         = 1
	defaultSquareWindow = 5 * time.Minute
)

// maxSamples bounds a rule's window, so that a fleet's metrics take a few megabytes.
const maxSamples = 100_000

// ratios may be above 1.
var ratios = measure{"a ratio above 0, such as 80% or 1.5", func(s string) (float64, bool) {
	v, ok := parseRatio(s)
	return v, ok && v > 0
}}

func (r *reader) autoscaler(n *yaml.Node, what string) *Autoscaler {
	o := r.object(n, what)
	defer o.end()
	a := &Autoscaler{
		Min:      r.whole(o.get("min"), what+".min", 1, 0, maxWorkers),
		Max:      r.whole(o.get("max"), what+".max", maxWorkers, 1, maxWorkers),
		Every:    r.period(o.get("every"), what+".every", defaultEvery),
		Scrape:   r.period(o.get("scrape"), what+".scrape", defaultScrape),
		Lag:      r.duration(o.get("lag"), what+".lag", defaultLag),
		Cooldown: r.duration(o.get("cooldown"), what+".cooldown", 0),
	}
	if a.Min > a.Max {
		r.wrong(o.get("min"), "%s: min is %d, which is more than max, %d", what, a.Min, a.Max)
	}
	window := o.get("window")
	rule := o.get("rule")
	if o.require("max", "rule") {
		a.Rule = Rule(r.choice(rule, what+".rule", string(HPA), string(Quantile), string(SquareRoot)))
	}
	switch a.Rule {
	case HPA:
		a.Window = r.duration(window, what+".window", 0)
		r.hpa(o, what, a)
	case Quantile:
		a.Window = r.period(window, what+".window", defaultQuantileWindow)
		a.Quantile = r.share(o.get("quantile"), what+".quantile", defaultQuantile)
	case SquareRoot:
		a.Window = r.period(window, what+".window", defaultSquareWindow)
		a.Beta = r.number(o.get("beta"), what+".beta", counts, defaultBeta)
	default:
		// Which keys it may have depends on the rule that it hasn't.
		for key := range o.found {
			o.known = append(o.known, key)
		}
	}
	if a.Window/a.Scrape > maxSamples {
		r.wrong(window, "%s.window: %v has %d samples of %v, more than %d", what, a.Window, a.Window/a.Scrape, a.Scrape, maxSamples)
	}
	return a
}

func (r *reader) hpa(o *object, what string, a *Autoscaler) {
	a.Metric = Metric(r.choice(o.get("metric"), what+".metric", string(Utilization), string(Load)))
	a.Target = r.number(o.get("target"), what+".target", ratios, defaultTarget)
	a.Tolerance = r.share(o.get("tolerance"), what+".tolerance", defaultTolerance)
	a.Stabilization = r.duration(o.get("stabilization"), what+".stabilization", defaultStabilization)
	a.Up = Limit{defaultUpWorkers, defaultUpShare, defaultLimitPeriod}
	if n := o.get("up"); n != nil {
		a.Up = r.limit(n, what+".up")
	}
	if n := o.get("down"); n != nil {
		a.Down = r.limit(n, what+".down")
	}
	if a.Metric == Utilization && a.Min == 0 {
		r.wrong(o.get("min"), "%s: min is 0, and of no workers there is no utilization: the fleet would never come back; want min: 1, or metric: load", what)
	}
}

func (r *reader) limit(n *yaml.Node, what string) Limit {
	o := r.object(n, what)
	defer o.end()
	l := Limit{
		Workers: r.whole(o.get("workers"), what+".workers", 0, 1, maxWorkers),
		Share:   r.number(o.get("share"), what+".share", ratios, 0),
		Period:  r.period(o.get("period"), what+".period", defaultLimitPeriod),
	}
	if l.Workers == 0 && l.Share == 0 && o.node.Kind == yaml.MappingNode {
		r.wrong(n, "%s: want workers, or share, or both", what)
	}
	return l
}

// period reads a duration that isn't 0.
func (r *reader) period(n *yaml.Node, what string, otherwise time.Duration) time.Duration {
	d := r.duration(n, what, otherwise)
	if d == 0 {
		r.wrong(n, "%s: 0: want a duration above it", what)
		return otherwise
	}
	return d
}
