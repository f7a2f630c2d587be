package drive

import (
	"errors"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// observed is the name of the load-balancing policy round_robin that has the calls of a
// meter know of their attempts. gRPC repeats calls beneath interceptors; of what sees the
// attempts, a stats.Handler is told of every message and header, too, with copies made for
// it, which was a sixth of an Execute stream.
const observed = "weir_observed_round_robin"

func init() { balancer.Register(observedBuilder{balancer.Get(roundrobin.Name)}) }

type observedBuilder struct{ balancer.Builder }

func (observedBuilder) Name() string { return observed }

func (b observedBuilder) Build(conn balancer.ClientConn, o balancer.BuildOptions) balancer.Balancer {
	return b.Builder.Build(observedConn{conn}, o)
}

type observedConn struct{ balancer.ClientConn }

func (c observedConn) UpdateState(s balancer.State) {
	s.Picker = observedPicker{s.Picker}
	c.ClientConn.UpdateState(s)
}

// observedPicker tells a call of each attempt to send it.
type observedPicker struct{ balancer.Picker }

func (p observedPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	picked, err := p.Picker.Pick(info)
	r, ok := info.Ctx.Value(rpcKey{}).(*rpc)
	switch {
	case !ok || errors.Is(err, balancer.ErrNoSubConnAvailable): // it waits, and asks again
	case err != nil:
		// What isn't a status yet gRPC makes this one, if it is left as it is.
		failed := err
		if _, ok := status.FromError(err); !ok {
			failed = status.Error(codes.Unavailable, err.Error())
		}
		r.attempt()(balancer.DoneInfo{Err: failed})
	default:
		attempted, done := r.attempt(), picked.Done
		picked.Done = attempted
		if done != nil {
			picked.Done = func(info balancer.DoneInfo) { attempted(info); done(info) }
		}
	}
	return picked, err
}

// attempt begins an attempt, and returns what ends it.
func (r *rpc) attempt() func(balancer.DoneInfo) {
	sent := r.begun
	if r.attempts.Add(1) > 1 {
		sent = time.Now()
	}
	return func(info balancer.DoneInfo) {
		if info.Err == nil && !info.BytesSent {
			r.attempts.Add(-1) // its connection was gone, and it is given another
			return
		}
		r.ended(sent, info.Err)
	}
}
