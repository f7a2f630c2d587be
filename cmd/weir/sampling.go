package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/weir-build/weir/system/proxy"
	"github.com/weir-build/weir/system/telemetry"
)

// OpenTelemetry's own settings of a sampler (OpenTelemetry specification,
// "Environment Variable Specification", General SDK Configuration).
const (
	samplerVariable    = "OTEL_TRACES_SAMPLER"
	samplerArgVariable = "OTEL_TRACES_SAMPLER_ARG"
)

// samplingOfEnvironment returns how builds are sampled as the environment says: all
// of them without a word.
func samplingOfEnvironment() (telemetry.Sampling, error) {
	name, arg := os.Getenv(samplerVariable), os.Getenv(samplerArgVariable)
	switch name {
	case "", "parentbased_always_on":
		return telemetry.Sampling{Ratio: 1}, nil
	case "parentbased_always_off":
		return telemetry.Sampling{}, nil
	case "always_on":
		return telemetry.Sampling{Ratio: 1, IgnoreClients: true}, nil
	case "always_off":
		return telemetry.Sampling{IgnoreClients: true}, nil
	case "traceidratio", "parentbased_traceidratio":
		s := telemetry.Sampling{Ratio: 1, IgnoreClients: name == "traceidratio"}
		if arg == "" {
			return s, nil
		}
		var err error
		if s.Ratio, err = strconv.ParseFloat(arg, 64); err != nil || s.Validate() != nil {
			return s, fmt.Errorf("%s=%q: want a number from 0 to 1", samplerArgVariable, arg)
		}
		return s, nil
	}
	return telemetry.Sampling{}, fmt.Errorf("%s=%q: want always_on, always_off or traceidratio, or one of them with parentbased_ before it", samplerVariable, name)
}

// samplingOf returns how builds are sampled by the environment and by a role's
// configuration, which wins.
func samplingOf(c proxy.Tracing) (telemetry.Sampling, error) {
	s, err := samplingOfEnvironment()
	if err != nil {
		return s, err
	}
	if c.SamplingProbability != nil {
		s.Ratio = *c.SamplingProbability
	}
	s.Slow = c.SlowAction
	if err := s.Validate(); err != nil {
		return s, fmt.Errorf("infra.tracing: %w", err)
	}
	return s, nil
}

// newSampler returns the sampler of a process, nil if all builds leave spans but
// those whose client says otherwise.
func newSampler(s telemetry.Sampling) (*telemetry.Sampler, error) {
	if s.Ratio == 1 && !s.IgnoreClients {
		return nil, nil
	}
	return telemetry.NewSampler(s)
}
