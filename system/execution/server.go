// Package execution is the execution-server: Execution, Operations and Bots
// around the queue.
//
// The decisions are the queue's (package queue). This package is its shell: it
// holds the lock and the clock, turns calls into inputs and outputs into
// messages, and keeps by handle what the queue doesn't know: names, protocol
// buffers, digests, traces.
//
//	execute.go     Execute: look up, load, enqueue, and stream what happens
//	instance.go    what is asked of the storage, for many at once
//	follow.go      the streams of operations
//	progress.go    what their messages tell
//	partial.go     what of it a worker tells
//	operations.go  google.longrunning.Operations over the same operations
//	codec.go       sends what is encoded already
//	bots.go        Bots: the workers' calls
//	session.go     a worker, connected
//	lease.go       one attempt at a task: offered, reported, lost, revoked
//	shell.go       the lock; inputs in, outputs out
//	explain.go     why something waits
//	waits.go       warnings of what waits for long
//	matching.go    which properties of an action choose its workers
//	sizes.go       on how large a worker an action runs
//	tenant.go      whose an action is, and what share of the workers they get
//	admission.go   what is told a tenant that has queued all it may
//	state.go       what is queued and executing, and for whom
//	drain.go       which workers get no more
//	publish.go     a result's way to the action cache and to its clients
//	spans.go       the span tree of an operation, once it is over
//	held.go        the same where the build isn't sampled: it may yet be kept
//	journal.go     what is written down, and when, so that a kill loses nothing
//	notes.go       what of it is the shell's
//	noted.go       reading that, by hand
//	recover.go     taking over from it
//
// An operation is kept for a while after its end, so that a client that lost its
// stream still gets the result.
package execution

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/segments"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/build"
)

// Defaults and limits.
const (
	// defaultTimeout is what an action gets that names no timeout: long enough
	// for any sane test, short enough to free the slot of one that hangs within
	// the hour.
	defaultTimeout = time.Hour
	// defaultMaxTimeout is the longest timeout an action may ask for. REAPI says
	// a longer one must be refused.
	defaultMaxTimeout = 24 * time.Hour
	// defaultResultTTL is how long an ended operation can still be asked for: a
	// client that reconnects does so within minutes.
	defaultResultTTL = 10 * time.Minute
	// defaultLongWait is long enough for machines of a cloud to be started, and
	// short enough that the build still waits when somebody looks.
	defaultLongWait = 5 * time.Minute
	// defaultHeartbeat is half of the minute after which proxies and load balancers
	// commonly end a stream on which nothing comes.
	defaultHeartbeat = 30 * time.Second
	// maxEnded bounds the ended operations kept, at a few hundred bytes each.
	maxEnded = 200_000
	// maxEndedBytes bounds their responses, which hold inlined output.
	maxEndedBytes = 512 << 20
	// maxOpen bounds the open ones: at a few kB each, some GB. Buildfarm's
	// deepest queue is a million too.
	maxOpen = 1_000_000
	// maxPlatforms bounds the platform queues, which live as long as the server.
	maxPlatforms = 10_000
	// maxSessions bounds the worker sessions.
	maxSessions = 100_000
	// maxActionBytes and maxCommandBytes bound what is read before it is known
	// to be worth it. A Command carries its argv, which Linux bounds near 2 MiB.
	maxActionBytes  = 1 << 20
	maxCommandBytes = 16 << 20
)

// Config says what an execution-server serves and with what.
type Config struct {
	// Instances are the instance names served. Required.
	Instances []string
	// Storage reaches the CAS and the action cache, for any instance. Required.
	Storage *remote.Client
	// Queue configures the scheduler.
	Queue queue.Config
	// Matching says which properties of an action choose its worker.
	Matching Matching
	// Sizes says which workers are larger than others.
	Sizes Sizes
	// Tenancy says whose an action is, Weights what share of the workers a tenant
	// gets, where the policy shares them among tenants; 1 if it doesn't say.
	Tenancy Tenancy
	Weights map[string]int
	// DefaultTimeout is for actions that name none, MaxTimeout the longest that
	// is accepted. Zero means 1 h and 24 h.
	DefaultTimeout, MaxTimeout time.Duration
	// ResultTTL is how long ended operations are kept. Zero means 10 min.
	ResultTTL time.Duration
	// LongWait is how long an action waits for a worker that is worth a warning in
	// the log. Zero means 5 min, negative that none is.
	LongWait time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Record takes the span tree of each action that is over; nil means that
	// nobody wants it. It must not block.
	Record func([]build.Span)
	// NewHolder returns what holds the actions of traces that aren't sampled, as
	// telemetry.NewHolder does; nil, or a nil result, means that nobody wants them.
	NewHolder func(spans func(telemetry.Packed) []build.Span) *telemetry.Holder
	// Heartbeat is how long a stream may be silent before the operation is sent
	// again. Zero means 30 s; negative: it is never.
	Heartbeat time.Duration
	// Journal keeps what is queued for the next process.
	Journal Journal
	// Slow is how long an action takes that is a reason to keep its build; 0 is
	// none.
	Slow time.Duration
}

// Server is an execution-server. It is safe for concurrent use.
type Server struct {
	repb.UnimplementedExecutionServer
	repb.UnimplementedCapabilitiesServer
	longrunningpb.UnimplementedOperationsServer
	bots.UnimplementedBotsServer
	admin.UnimplementedAdminServer

	config    Config
	logger    *slog.Logger
	metrics   *metrics
	instances map[string]*instance

	// grouped and ranked say what the policy goes by: groups of tasks, priorities.
	grouped, ranked bool

	sizes *sizes // nil if nobody wants to know
	shell shell
	log   *segments.Log // the journal's; nil if there is none
	left  unfinished    // for Run to take up
	// broken holds an error of the journal, by which the server ends.
	broken chan error
	// maxHold bounds how long a poll is held.
	maxHold time.Duration

	holder   *telemetry.Holder // nil if nobody wants what isn't sampled
	held     atomic.Int64      // trees handed to it
	treeSize atomic.Int64      // the spans of one of them

	watchers atomic.Int64 // who look at the state

	// publishers takes results to the action cache; published holds a token when
	// the last one has arrived.
	publishers chan func()
	published  chan struct{}
	// stopping is closed when polls and streams should come to an end.
	stopping chan struct{}
}

// New returns a server, which has taken over what its journal tells of. Run must run
// for as long as it serves.
func New(c Config) (*Server, error) {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.DefaultTimeout, defaultTimeout}, {&c.MaxTimeout, defaultMaxTimeout}, {&c.ResultTTL, defaultResultTTL}, {&c.LongWait, defaultLongWait}, {&c.Heartbeat, defaultHeartbeat}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if len(c.Instances) == 0 {
		return nil, errors.New("no instance to serve")
	}
	s := &Server{
		config: c, logger: c.Logger,
		instances:  make(map[string]*instance),
		publishers: make(chan func()),
		published:  make(chan struct{}, 1),
		broken:     make(chan error, 1),
		stopping:   make(chan struct{}),
	}
	for _, name := range c.Instances {
		if err := digest.CheckInstance(name); err != nil {
			return nil, err
		}
		s.instances[name] = newInstance(name, c.Storage.ForInstance(name))
	}
	if err := errors.Join(slices.Concat(checkQueue(&c.Queue), c.Matching.problems(), c.Sizes.problems(&c.Matching), checkTenants(&c), c.Journal.problems())...); err != nil {
		return nil, err
	}
	s.maxHold = min(maxHold, cmp.Or(c.Queue.SessionTimeout, time.Minute)/3, cmp.Or(c.Queue.LeaseTimeout, time.Minute)/3)
	s.grouped, s.ranked = c.Queue.Policy.Groups(), c.Queue.Policy.Uses(queue.Priority)
	if s.config.Matching.Unknown != MatchUnknown && c.Sizes.Key != "" {
		s.config.Matching.Known = append(slices.Clone(s.config.Matching.Known), c.Sizes.Key)
	}
	s.sizes = newSizes(c.Sizes, c.Queue.Policy)
	s.shell.init(c.Queue)
	s.metrics = newMetrics(c.Registerer, s)
	if c.NewHolder != nil {
		s.holder = c.NewHolder(heldSpans)
	}
	if err := s.recover(); err != nil {
		return nil, err
	}
	s.locked(s.weigh)
	return s, nil
}

// checkQueue returns what is wrong with the queue's configuration.
func checkQueue(c *queue.Config) (problems []error) {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"session timeout", int64(c.SessionTimeout)}, {"lease timeout", int64(c.LeaseTimeout)}, {"timeout slack", int64(c.TimeoutSlack)},
		{"number of attempts", int64(c.MaxAttempts)}, {"back-off", int64(c.BackOff)}, {"longest back-off", int64(c.MaxBackOff)},
		{"number of queued actions of a tenant", int64(c.MaxQueued)},
	} {
		if n.value < 0 {
			problems = append(problems, fmt.Errorf("the queue's %s can't be negative", n.name))
		}
	}
	if longest := cmp.Or(c.MaxBackOff, time.Minute); c.BackOff > longest {
		problems = append(problems, fmt.Errorf("the queue's back-off of %v is longer than the longest, %v", c.BackOff, longest))
	}
	return problems
}

// Register registers the services.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	repb.RegisterExecutionServer(r, s)
	repb.RegisterCapabilitiesServer(r, s)
	longrunningpb.RegisterOperationsServer(r, s)
	bots.RegisterBotsServer(r, s)
	admin.RegisterAdminServer(r, s)
}

// Run lets time pass for the queue until ctx is done, then ends all polls and
// waits for results that are being published. Streams of operations that aren't
// done end with UNAVAILABLE, at which clients reconnect. It returns an error, at once,
// if the journal can't be written any more.
func (s *Server) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	quit := make(chan struct{})
	serving.Go(func() { s.servePublishers(quit) })
	serving.Go(func() { s.tellRecent(ctx, quit) })
	defer serving.Wait()
	defer close(quit)
	s.takeUp(ctx, &serving)
	timer := time.NewTimer(0)
	defer timer.Stop()
	waits := time.NewTicker(warnInterval(s.config.LongWait))
	defer waits.Stop()
	for {
		select {
		case <-waits.C:
			s.warnOfWaits(ctx)
			continue
		case <-ctx.Done():
			// Nothing new is taken; results that are in reach their clients before
			// these are sent away.
			s.locked(func(time.Time) { s.shell.draining = true })
			s.awaitPublished()
			s.stop()
			for left := true; left; {
				giveUp := !s.awaitPublished()
				left = !s.recordOpen(giveUp)
			}
			return s.closeJournal()
		case err := <-s.broken:
			s.locked(func(time.Time) { s.shell.draining = true })
			s.stop()
			return errors.Join(err, s.closeJournal())
		case <-timer.C:
			s.apply(nil, queue.Input{Kind: queue.Tick})
		case <-s.shell.sooner:
		}
		timer.Reset(s.shell.untilDeadline(s.config.ResultTTL))
	}
}

// GetCapabilities tells the execution part; the cache part is the storage's.
func (s *Server) GetCapabilities(_ context.Context, request *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	if _, err := s.instance(request.InstanceName); err != nil {
		return nil, toStatus(err)
	}
	c := &repb.ServerCapabilities{
		ExecutionCapabilities: &repb.ExecutionCapabilities{
			DigestFunction:  function.Value(),
			DigestFunctions: []repb.DigestFunction_Value{function.Value()},
			ExecEnabled:     true,
		},
		LowApiVersion:  LowAPIVersion,
		HighApiVersion: HighAPIVersion,
	}
	if s.ranked {
		c.ExecutionCapabilities.ExecutionPriorityCapabilities = priorities
	}
	return c, nil
}

func (s *Server) instance(name string) (*instance, error) {
	if i, ok := s.instances[name]; ok {
		return i, nil
	}
	if err := digest.CheckInstance(name); err != nil {
		return nil, err
	}
	return nil, &unknownInstanceError{name}
}
