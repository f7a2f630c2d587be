package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/telemetry"
)

// Execution configures an execution-server.
type Execution struct {
	// Instances are the instance names served.
	Instances []string `yaml:"instances"`
	// Storage is the URL of the storage-server.
	Storage string `yaml:"storage"`

	// Policy says which task a worker gets next: the name of a preset, and what
	// differs from it. See queue.ParsePolicy; default fifo.
	Policy queue.Policy `yaml:"policy"`
	// Tenant says whose an action is: instance, the default, makes a tenant of each
	// instance name; principal of each customer that the proxy has authenticated. The
	// execution-server must then be in reach of the proxy alone.
	Tenant execution.Tenancy `yaml:"tenant"`
	// Weights are of tenants, by name, where the policy shares workers among them:
	// one of 3 gets three times what one of 1 gets, the default.
	Weights map[string]int `yaml:"weights"`
	// MaxQueued bounds the actions of each tenant that wait. What comes beyond it is
	// refused with RESOURCE_EXHAUSTED and a time after which to come again, unless a
	// worker waits for it or an equal action is under way. Default 0: no bound.
	MaxQueued int `yaml:"max_queued"`

	// Platform says which properties of an action choose its worker.
	Platform Matching `yaml:"platform"`
	// Sizes says which workers are larger than others, so that actions that don't say
	// run on the smallest that is large enough.
	Sizes Sizes `yaml:"sizes"`
	// NoWorkerTimeout is how long an action waits while no worker serves its
	// platform, before it fails: a time, immediately or never. Default 10 min.
	NoWorkerTimeout Patience `yaml:"no_worker_timeout"`

	// The times of the scheduler; 0 means the default, see package queue.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	LeaseTimeout   time.Duration `yaml:"lease_timeout"`
	OrphanGrace    time.Duration `yaml:"orphan_grace"`
	// MaxAttempts bounds how often an action is given to a worker before it fails;
	// default 5. BackOff is how long it pauses after the first attempt came to
	// nothing, then twice as long each time, up to MaxBackOff; defaults 0 and 1 min.
	MaxAttempts int           `yaml:"max_attempts"`
	BackOff     time.Duration `yaml:"back_off"`
	MaxBackOff  time.Duration `yaml:"max_back_off"`

	// The timeout of actions that name none, and the longest one allowed.
	DefaultTimeout time.Duration `yaml:"default_timeout"`
	MaxTimeout     time.Duration `yaml:"max_timeout"`
	// ResultTTL is how long the result of an operation is kept.
	ResultTTL time.Duration `yaml:"result_ttl"`
	// LongWait is how long an action waits that is worth a warning; default 5 min,
	// negative: none is.
	LongWait time.Duration `yaml:"long_wait"`
	// Heartbeat is how long a stream of an operation may be silent before the
	// operation is sent again, so that nobody in between takes it for dead; default
	// 30 s, negative: it is never.
	Heartbeat time.Duration `yaml:"heartbeat"`

	// Journal keeps what is queued and executing for the next process: what it was
	// that a client was told of isn't lost when the server is killed.
	Journal Journal `yaml:"journal"`
}

// Matching configures which properties of an action choose its worker. Without it
// all do. A worker that offers * as the value of a key takes any value of it.
type Matching struct {
	// Ignore are keys that choose no worker.
	Ignore []string `yaml:"ignore"`
	// UnknownKeys says what becomes of keys that neither KnownKeys nor Defaults have:
	// match, the default, treats them as all others; ignore lets them choose no
	// worker; refuse ends the action with INVALID_ARGUMENT.
	UnknownKeys execution.UnknownKeys `yaml:"unknown_keys"`
	KnownKeys   []string              `yaml:"known_keys"`
	// Defaults are properties of actions that don't have the key.
	Defaults map[string]string `yaml:"defaults"`
}

// Sizes configures classes of larger and smaller workers.
type Sizes struct {
	// Key is the property by which a worker tells its class, Classes its values, the
	// smallest first.
	Key     string   `yaml:"key"`
	Classes []string `yaml:"classes"`
	// Percent is how long an action may take on a smaller class, of what it takes on
	// the largest; default 150.
	Percent int `yaml:"percent"`
	// Kinds is of how many kinds of actions it is remembered what they took; default
	// 100,000, at about 250 bytes each.
	Kinds int `yaml:"kinds"`
	// Rerun says after which failures on a smaller class an action runs again on a larger
	// one, without its client being told: killed, the default, if the command was killed by
	// a signal or ran into its timeout, or all attempts came to nothing; failed also if it
	// exited with another code than 0; never.
	Rerun execution.Rerun `yaml:"rerun"`
}

// Patience is how long something is waited for; 0 is the default, and what is
// negative not at all.
type Patience time.Duration

// UnmarshalText reads a time, immediately or never.
func (p *Patience) UnmarshalText(text []byte) error {
	switch word := string(text); word {
	case "immediately":
		*p = -1
	case "never":
		*p = Patience(queue.ForEver)
	default:
		d, err := time.ParseDuration(word)
		if err != nil {
			return fmt.Errorf("no_worker_timeout %q: want a time like 10m, or immediately, or never", word)
		}
		*p = Patience(d)
	}
	return nil
}

// Journal configures the journal of an execution-server.
type Journal struct {
	// Dir is its folder. Empty means that there is no journal.
	Dir string `yaml:"dir"`
	// SegmentSize is how large a file of it gets, about; default 64M.
	SegmentSize Size `yaml:"segment_size"`
	// Keep is how many older files are kept for `weir journal`, besides the one
	// that is needed.
	Keep int `yaml:"keep"`
}

// NewExecution returns an execution-server that will serve on a listener.
func NewExecution(c Execution, t *telemetry.Telemetry, listener net.Listener) (*Role, error) {
	client, err := remote.Dial(remote.Config{URL: c.Storage, RetryDelay: 100 * time.Millisecond}, grpc.WithStatsHandler(t.ClientHandler()))
	if err != nil {
		return nil, err
	}
	record := t.Record
	if !t.Recording() {
		record = nil
	}
	server, err := execution.New(execution.Config{
		Instances: c.Instances,
		Storage:   client,
		Queue: queue.Config{
			Policy:         c.Policy,
			SessionTimeout: c.SessionTimeout, LeaseTimeout: c.LeaseTimeout, OrphanGrace: c.OrphanGrace,
			MaxAttempts: c.MaxAttempts, BackOff: c.BackOff, MaxBackOff: c.MaxBackOff,
			MaxQueued: c.MaxQueued, NoWorkerTimeout: queue.NoWorkerTimeout(time.Duration(c.NoWorkerTimeout)),
		},
		Matching: execution.Matching{
			Ignore: c.Platform.Ignore, Unknown: c.Platform.UnknownKeys, Known: c.Platform.KnownKeys, Defaults: c.Platform.Defaults,
		},
		Sizes:   execution.Sizes{Key: c.Sizes.Key, Classes: c.Sizes.Classes, Percent: c.Sizes.Percent, Kinds: c.Sizes.Kinds, Rerun: c.Sizes.Rerun},
		Tenancy: c.Tenant, Weights: c.Weights,
		DefaultTimeout: c.DefaultTimeout, MaxTimeout: c.MaxTimeout, ResultTTL: c.ResultTTL, LongWait: c.LongWait, Heartbeat: c.Heartbeat,
		Journal: execution.Journal{Dir: c.Journal.Dir, SegmentBytes: int64(c.Journal.SegmentSize), Keep: c.Journal.Keep},
		Logger:  t.Logger, Registerer: t.Registerer, Record: record, NewHolder: t.NewHolder, Slow: t.Slow(),
	})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	run := func(ctx context.Context) error {
		// The queue's time goes on until the last call has been told to end.
		passing, halt := context.WithCancel(context.WithoutCancel(ctx))
		defer halt()
		// If it can't go on, neither can the server.
		ctx, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		ended := make(chan error, 1)
		go func() {
			err := server.Run(passing)
			ended <- err
			stop(err)
		}()
		var broken error
		err := serveSmall(ctx, t, listener, execution.Codec(), server, func() {
			halt()
			broken = <-ended
		})
		return errors.Join(err, broken)
	}
	return &Role{Name: "execution-server", Telemetry: t, Addr: listener.Addr().String(), Pages: server.Pages(), run: run, close: client.Close}, nil
}
