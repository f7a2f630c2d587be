package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/stats"
)

// Limits of what goes through the proxy.
const (
	// MaxMessageBytes bounds one message in either direction. A batch may hold
	// 4 MiB of blobs (the storage-server's max_batch_total_size_bytes) and a
	// digest of about 75 bytes beside each, which for very small blobs is more
	// than the blobs; foreign servers allow batches of up to 8 MiB. gRPC's own
	// default is 4 MiB and refuses a batch that is exactly full.
	MaxMessageBytes = 16 << 20

	// MaxHeaderBytes bounds the metadata of a call or an answer. RequestMetadata
	// is a few hundred bytes; a Bots answer may offer a lease for each of a
	// hundred slots, with a trailer for each.
	MaxHeaderBytes = 256 << 10
)

// Retries of idempotent methods: gRPC's own (gRFC A6), with its jitter of a
// fifth. The tokens are the budget: of a hundred each failure takes one and each
// success gives a tenth back, and below half of them nothing is tried again. So
// a backend that is down sees no multiple of its load.
const (
	retryAttempts   = 3
	retryFirst      = "0.05s"
	retryMost       = "1s"
	retryMultiplier = 2
	retryTokens     = 100
	retryTokenRatio = 0.1
)

// Keepalive of backend connections. gRPC servers close connections that ping
// more often than every 5 minutes unless they are told otherwise, and foreign
// backends aren't. A dead peer is found sooner where data is under way: with
// keepalive gRPC sets TCP_USER_TIMEOUT to the timeout.
const (
	backendPing        = 5*time.Minute + 10*time.Second
	backendPingTimeout = 20 * time.Second
)

// A backend is a server's connections, used in turn.
type backend struct {
	name  string
	conns []*grpc.ClientConn
	next  atomic.Uint32
}

func (b *backend) conn() *grpc.ClientConn {
	return b.conns[int(b.next.Add(1))%len(b.conns)]
}

// routes say which backend serves what.
type routes struct {
	all       []*backend
	fallback  backendSet
	instances map[string]backendSet
}

type backendSet struct{ cas, actionCache, execution *backend }

// pick returns the backend of an instance, or a *noInstanceError.
func (r *routes) pick(instance string, of kind) (*backend, error) {
	set, ok := r.instances[instance]
	if !ok {
		set = r.fallback
	}
	var chosen *backend
	switch of {
	case kindCAS:
		chosen = set.cas
	case kindActionCache:
		chosen = set.actionCache
	case kindExecution:
		chosen = set.execution
	}
	if chosen == nil {
		return nil, &noInstanceError{instance}
	}
	return chosen, nil
}

// dialing is what every connection to a backend has in common.
type dialing struct {
	codec    codec
	stats    stats.Handler    // may be nil
	resolver resolver.Builder // nil: DNS
}

// dial makes the connections of every backend that is in use. Nothing is sent
// before the first call, so backends needn't be up.
func (d dialing) dial(c *Config) (*routes, error) {
	r := &routes{instances: make(map[string]backendSet)}
	byName := make(map[string]*backend)
	var problems []error
	find := func(name string) *backend {
		if name == "" {
			return nil
		}
		if b, ok := byName[name]; ok {
			return b
		}
		b, err := d.backend(name, c.Backends[name])
		if err != nil {
			problems = append(problems, fmt.Errorf("backend %s: %w", name, err))
			return nil
		}
		byName[name] = b
		r.all = append(r.all, b)
		return b
	}
	resolve := func(set Set) backendSet {
		return backendSet{cas: find(set.CAS), actionCache: find(set.ActionCache), execution: find(set.Execution)}
	}
	r.fallback = resolve(c.Default)
	for _, instance := range sortedKeys(c.PerInstance) {
		r.instances[instance] = resolve(c.PerInstance[instance])
	}
	if len(problems) > 0 {
		return nil, errors.Join(append(problems, r.close())...)
	}
	return r, nil
}

// reconnect is how a backend that went away is tried again: soon, since there is
// one connection to it for all clients, and no less than every few seconds. gRPC's own
// way would let them wait for two minutes after a long absence.
var reconnect = backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second}

// reconnectTimeout is gRPC's own.
const reconnectTimeout = 20 * time.Second

func (d dialing) backend(name string, config Backend) (*backend, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig()),
		// Neither DNS nor the environment changes how calls are passed on.
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithMaxHeaderListSize(MaxHeaderBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: backendPing, Timeout: backendPingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: reconnectTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(d.codec),
			grpc.MaxCallRecvMsgSize(MaxMessageBytes),
			grpc.MaxCallSendMsgSize(MaxMessageBytes),
		),
	}
	if d.stats != nil {
		options = append(options, grpc.WithStatsHandler(d.stats))
	}
	if d.resolver != nil {
		options = append(options, grpc.WithResolvers(d.resolver))
	}
	b := &backend{name: name}
	for range max(config.Connections, 1) {
		conn, err := grpc.NewClient("dns:///"+config.Address, options...)
		if err != nil {
			return nil, errors.Join(err, b.close())
		}
		b.conns = append(b.conns, conn)
	}
	return b, nil
}

func (b *backend) close() error {
	var errs []error
	for _, conn := range b.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

func (r *routes) close() error {
	var errs []error
	for _, b := range r.all {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

// serviceConfig returns gRPC's service config: round robin over the addresses,
// and retries of the idempotent methods.
func serviceConfig() string {
	type object = map[string]any
	var idempotent []object
	for _, m := range methodTable() {
		if m.idempotent {
			idempotent = append(idempotent, object{"service": m.service, "method": m.name})
		}
	}
	text, err := json.Marshal(object{
		"loadBalancingConfig": []object{{"round_robin": object{}}},
		"methodConfig": []object{{
			"name": idempotent,
			"retryPolicy": object{
				"maxAttempts":          retryAttempts,
				"initialBackoff":       retryFirst,
				"maxBackoff":           retryMost,
				"backoffMultiplier":    retryMultiplier,
				"retryableStatusCodes": []string{"UNAVAILABLE"},
			},
		}},
		"retryThrottling": object{"maxTokens": retryTokens, "tokenRatio": retryTokenRatio},
	})
	if err != nil {
		panic("the service config is plain data: " + err.Error())
	}
	return string(text)
}
