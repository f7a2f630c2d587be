package telemetry_test

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/tracecontext"
)

// Whatever kind of ids a client gives its builds, the share that is sampled is the
// ratio. The tolerance is four standard deviations of a binomial distribution; the
// seed is fixed.
func TestShareOfBuildsIsTheRatio(t *testing.T) {
	const builds = 100_000
	random := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]func(i uint64) tracecontext.TraceID{
		"random": func(uint64) (id tracecontext.TraceID) {
			binary.BigEndian.PutUint64(id[:8], random.Uint64())
			binary.BigEndian.PutUint64(id[8:], random.Uint64())
			return id
		},
		"UUID, version 4": func(uint64) tracecontext.TraceID {
			var bytes [16]byte
			binary.BigEndian.PutUint64(bytes[:8], random.Uint64())
			binary.BigEndian.PutUint64(bytes[8:], random.Uint64())
			bytes[6], bytes[8] = bytes[6]&0x0f|0x40, bytes[8]&0x3f|0x80
			return tracecontext.TraceOf(uuid.UUID(bytes).String())
		},
		// The low half is that of the host, always.
		"UUID, version 1": func(i uint64) (id tracecontext.TraceID) {
			binary.BigEndian.PutUint64(id[:8], 0x1e0_1000_0000_0000|i)
			binary.BigEndian.PutUint64(id[8:], 0x9a7c_0242_ac11_0002)
			return id
		},
		"numbers": func(i uint64) (id tracecontext.TraceID) {
			binary.BigEndian.PutUint64(id[8:], i+1)
			return id
		},
	}
	for name, id := range kinds {
		for _, ratio := range []float64{0, 0.01, 0.3, 0.75, 1} {
			sampled := 0
			for i := range uint64(builds) {
				if telemetry.Samples(telemetry.Sampling{Ratio: ratio}, id(i)) {
					sampled++
				}
			}
			deviation := math.Sqrt(builds * ratio * (1 - ratio))
			if off := math.Abs(float64(sampled) - builds*ratio); off > 4*deviation {
				t.Errorf("%s: at %v, %d of %d are sampled, which is %.1f standard deviations off", name, ratio, sampled, builds, off/deviation)
			}
		}
	}
}

// Roles of different versions must agree, and so must a role and itself tomorrow.
func TestDecisionStaysTheSame(t *testing.T) {
	for text, want := range map[string]float64{ // the least ratio at which it is sampled, to three digits
		"0af7651916cd43dd8448eb211c80319c": 0.872,
		"4bf92f3577b34da6a3ce929d0e0e4736": 0.745,
	} {
		var id tracecontext.TraceID
		if _, err := hex.Decode(id[:], []byte(text)); err != nil {
			t.Fatal(err)
		}
		least := 0
		for ; least <= 1000 && !telemetry.Samples(telemetry.Sampling{Ratio: float64(least) / 1000}, id); least++ {
		}
		if got := float64(least) / 1000; got != want {
			t.Errorf("%s is sampled from %v on, want %v", text, got, want)
		}
		for ; least <= 1000; least++ {
			if !telemetry.Samples(telemetry.Sampling{Ratio: float64(least) / 1000}, id) {
				t.Errorf("%s is not sampled at %v, but at less", text, float64(least)/1000)
			}
		}
	}
}

func TestSamplingRefusesNonsense(t *testing.T) {
	for _, s := range []telemetry.Sampling{{Ratio: -0.1}, {Ratio: 1.1}, {Ratio: math.NaN()}, {Slow: -1}} {
		if _, err := telemetry.NewSampler(s); err == nil {
			t.Errorf("%+v: got no error", s)
		}
	}
}

// What a client says of its own trace is what happens, unless it is not asked.
func TestClientsFlagWins(t *testing.T) {
	rm := header(t, &repb.RequestMetadata{ToolInvocationId: invocationID})
	for _, c := range []struct {
		name     string
		sampling telemetry.Sampling
		headers  []string
		spans    int
	}{
		{"sampled by the client", telemetry.Sampling{}, []string{"traceparent", traceparent, longHeader, rm}, 1},
		{"not sampled by the client", telemetry.Sampling{Ratio: 1}, []string{"traceparent", unsampled, longHeader, rm}, 0},
		{"client not asked, none", telemetry.Sampling{IgnoreClients: true}, []string{"traceparent", traceparent}, 0},
		{"client not asked, all", telemetry.Sampling{Ratio: 1, IgnoreClients: true}, []string{"traceparent", unsampled}, 1},
		{"derived, none", telemetry.Sampling{}, []string{longHeader, rm}, 0},
		{"derived, all", telemetry.Sampling{Ratio: 1}, []string{longHeader, rm}, 1},
		{"root, none", telemetry.Sampling{}, nil, 0},
		{"root, all", telemetry.Sampling{Ratio: 1}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProcess(t, c.sampling)
			r := p.role("storage-server")
			p.call(r, c.headers, nil)
			p.close()
			if got := len(r.spans(t)[findMethod]); got != c.spans {
				t.Errorf("got %d spans, want %d", got, c.spans)
			}
		})
	}
}
