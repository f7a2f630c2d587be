package stack

import (
	"context"
	"errors"
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
	// The times of the scheduler; 0 means the default, see package queue.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	LeaseTimeout   time.Duration `yaml:"lease_timeout"`
	OrphanGrace    time.Duration `yaml:"orphan_grace"`
	MaxAttempts    int           `yaml:"max_attempts"`

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
			SessionTimeout: c.SessionTimeout, LeaseTimeout: c.LeaseTimeout, OrphanGrace: c.OrphanGrace, MaxAttempts: c.MaxAttempts,
		},
		DefaultTimeout: c.DefaultTimeout, MaxTimeout: c.MaxTimeout, ResultTTL: c.ResultTTL, LongWait: c.LongWait, Heartbeat: c.Heartbeat,
		Journal: execution.Journal{Dir: c.Journal.Dir, SegmentBytes: int64(c.Journal.SegmentSize), Keep: c.Journal.Keep},
		Logger:  t.Logger, Registerer: t.Registerer, Record: record, NewHolder: t.NewHolder, Slow: t.Slow(),
	})
	if err != nil {
		return nil, err
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
		err := serve(ctx, t, listener, server, func() {
			halt()
			broken = <-ended
		})
		return errors.Join(err, broken)
	}
	return &Role{Name: "execution-server", Telemetry: t, Addr: listener.Addr().String(), Pages: server.Pages(), run: run, close: client.Close}, nil
}
