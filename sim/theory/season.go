package theory

import "math"

// Season is how many are in service in Mt/M/∞ whose arrivals have the rate
// λ(t) = λ̄ + A·sin γt: Mean + Amplitude·sin γ(t − Lag).
type Season struct{ Mean, Amplitude, Lag float64 }

// SeasonOf takes λ̄, A, γ and the rate μ of service, in one unit of time, which is the lag's
// too. All is NaN unless A ≤ λ̄ and γ, μ > 0.
//
// Source: Eick, Massey, Whitt, Mt/G/∞ queues with sinusoidal arrival rates (1993).
func SeasonOf(mean, amplitude, gamma, mu float64) Season {
	if senseless(mean, amplitude, gamma, mu) || amplitude > mean || gamma == 0 || mu == 0 {
		return Season{math.NaN(), math.NaN(), math.NaN()}
	}
	return Season{mean / mu, amplitude / mu / math.Hypot(1, gamma/mu), math.Atan(gamma/mu) / gamma}
}
