package theory

import (
	"fmt"
	"math"
)

// A Question is what one knows of a queue before it has run.
type Question struct {
	Servers int
	// Load of all that comes, in Erlang.
	Load float64
	// ArrivalSCV is of the time between arrivals, of batches if there are: 1 for independent
	// ones (Poisson). ServiceSCV is of service times.
	ArrivalSCV, ServiceSCV float64
	// Batch is how many come at once. Zero means one.
	Batch Batch
}

// An Answer is in units of the mean service time.
type Answer struct {
	// Waits is the share that waits at all.
	Waits float64
	// Wait is the mean over all, P95 and P99 are what 95 and 99 % don't exceed.
	Wait, P95, P99 float64
	// Exact is whether the mean is, and not an approximation.
	Exact bool
}

// FirstAnswer answers at once, before a simulation does. It is exact for batches by Poisson
// with exponential service. To that it adds what arrivals and services that vary more, or
// less, add to the mean in heavy traffic (Kingman 1962; Allen and Cunneen):
//
//	W = W(M^X/M/c) + W(M/M/c)·((SCV of service − 1) + E[X]·(SCV of arrivals − 1))/2
//
// which is Allen and Cunneen's formula for single arrivals, is exact for M^X/G/1, and right in
// the limit of heavy traffic, where only arrivals' index of dispersion counts, which is
// Var[X]/E[X] + E[X]·SCV. The tail is that of M^X/M/c, stretched to that mean.
//
// Errors are parameters without meaning, and batches too large to compute with. What can't be
// served is no error: its waits are infinite.
func FirstAnswer(q Question) (Answer, error) {
	if q.Batch.mean == 0 {
		q.Batch = Batch{mean: 1, second: 1, beyond: []float64{1}}
	}
	if senseless(q.ArrivalSCV, q.ServiceSCV) || math.IsInf(q.ArrivalSCV+q.ServiceSCV, 1) {
		return Answer{}, fmt.Errorf("SCV of arrivals %v, of service %v: must be 0 at least, and finite", q.ArrivalSCV, q.ServiceSCV)
	}
	base, err := BatchStation(q.Servers, q.Load, q.Batch)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Waits: base.Waits, Wait: base.Wait, Exact: q.ArrivalSCV == 1 && (q.ServiceSCV == 1 || q.Servers == 1)}
	stretch := 1.0
	if !math.IsInf(base.Wait, 1) && base.Wait > 0 {
		extra := MMcWait(q.Servers, q.Load) * (q.ServiceSCV - 1 + q.Batch.mean*(q.ArrivalSCV-1)) / 2
		a.Wait = math.Max(0, base.Wait+extra)
		stretch = a.Wait / base.Wait
	}
	a.P95, a.P99 = stretch*base.Quantile(0.95), stretch*base.Quantile(0.99)
	return a, nil
}
