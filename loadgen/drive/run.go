// Package drive makes a workload real: it sends the builds and calls of a scenario to a
// REAPI server, each at its time, and has everything observed.
//
//	outcome, err := drive.Run(ctx, drive.Config{Scenario: s, Remote: remote.Config{URL: target}})
//
// Calls are observed below the client, each attempt that gRPC makes of one, so that a build,
// a mix and a script are measured in one way. What is due is begun at its intended time
// whether or not what came before has ended; the moment it was intended for is where its
// response time begins. Beyond a bound of what is in flight it is dropped, and counted.
//
// The package knows nothing of k6, which loadgen/k6ext puts on top.
package drive

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/remote/zstd"
)

// Config is what Run runs, and against what.
type Config struct {
	Scenario *scenario.Scenario
	// Remote is the target; its instance is that of demands that name none.
	Remote remote.Config
	// Run is the id of the run.
	Run string
	// Observer is told of everything, beside the result. It may be nil.
	Observer Observer
	// Tracer makes the client's spans; nil makes none.
	Tracer trace.Tracer
	// Progress is called now and then with how far it is. It may be nil.
	Progress func(Progress)
	// Segment is the part of the whole load that this generator makes, of several beside
	// each other; zero is all.
	Segment Segment
	// SharesMachine says that the target runs on this machine.
	SharesMachine bool
	// Notes are for the reader of the result.
	Notes []string
	// Environment is added to what the result says of what measured.
	Environment map[string]string
}

// A Segment is the part from From up to, but not, To, of a load that is 1.
type Segment struct{ From, To float64 }

// Has tells whether an arrival is of the segment, by its number: each is of exactly one of
// segments that make up the whole, and a Poisson process remains one.
func (s Segment) Has(seed uint64, number int) bool {
	if s == (Segment{}) {
		return true
	}
	at := workload.Spread(seed, uint64(number))
	return at >= s.From && at < s.To
}

// connectTimeout bounds the first call to the target.
const connectTimeout = 10 * time.Second

type run struct {
	Config
	client   *Client
	recorder *Recorder
	observer Observer
	builders []*Builder // by demand
	progress progress
	slots    chan struct{} // of what may be in flight
	actions  atomic.Int64  // under way
}

// Run runs a scenario to its end, or until ctx is done: then the result says so. An error
// is a run that couldn't begin.
func Run(ctx context.Context, c Config) (*result.Result, error) {
	r := &run{Config: c, recorder: c.newRecorder(), slots: make(chan struct{}, c.Scenario.Client.MaxInFlight)}
	all := Observers{r.recorder, &r.progress}
	if c.Observer != nil {
		all = append(all, c.Observer)
	}
	r.observer = all
	if c.Scenario.Client.Compression == "zstd" {
		c.Remote.Compressor = zstd.New()
	}
	client, err := Dial(c.Remote, c.Scenario.Client.Connections, r.observer)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	r.client = client
	stopProgress := r.showProgress()
	defer stopProgress()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	r.makeBuilders()
	if err := r.prepare(ctx); err != nil && ctx.Err() == nil {
		return nil, err
	}
	health := WatchHealth()
	begin := time.Now()
	r.recorder.Begin(begin)
	r.progress.begin(begin)
	r.perform(ctx, begin)
	r.progress.phase.Store(phaseDone)
	generator := health.Stop()
	generator.SharesMachine = c.SharesMachine
	out := r.recorder.Finish(time.Now(), generator)
	out.Run.Interrupted = ctx.Err() != nil
	out.Judge(c.Scenario.Objectives)
	return out, nil
}

func (c *Config) newRecorder() *Recorder {
	r := NewRecorder(result.Run{
		ID: c.Run, Scenario: c.Scenario.Name, Seed: c.Scenario.Seed, Target: c.Remote.URL, Environment: c.Environment,
	})
	for _, key := range c.Scenario.SimulatedOnly() {
		r.Note(key + " of the scenario is left out: only the simulator goes by it")
	}
	for _, preset := range c.Scenario.Assumed {
		r.Note(fmt.Sprintf("preset %q is assumed: nobody has published such figures", preset))
	}
	for _, note := range c.Notes {
		r.Note(note)
	}
	if c.SharesMachine {
		r.Note("the target shares this machine with the generator: they take each other's CPU, and times are those of both together")
	}
	return r
}

func (r *run) makeBuilders() {
	for i := range r.Scenario.Demand {
		d := &r.Scenario.Demand[i]
		r.builders = append(r.builders, &Builder{
			Client: r.client.ForInstance(r.instanceOf(d)), Classes: d.Classes, Command: r.Scenario.Client.Command, Download: d.Download, SkipCache: d.SkipCache,
			Timeout: r.Scenario.Client.Timeout, Verify: r.Scenario.Client.Verify, Run: r.Config.Run, Tracer: r.Tracer,
			Trace:    r.Scenario.Traced,
			InFlight: func(delta int64) { r.observer.InFlight(time.Now(), r.actions.Add(delta)) },
		})
	}
}

// connect asks the target what it is.
func (r *run) connect(ctx context.Context) error {
	l := labelOf(ctx)
	l.phase = preparePhase
	ctx, cancel := context.WithTimeout(l.on(ctx), connectTimeout)
	defer cancel()
	for i, instance := range r.instances() {
		answer, err := r.client.ForInstance(instance).Capabilities(ctx)
		if err != nil {
			return fmt.Errorf("target %s: %w", r.Remote.URL, explain(err))
		}
		if i == 0 {
			r.recorder.SetServer(facts(answer))
		}
		builds := slices.ContainsFunc(r.Scenario.Demand, func(d scenario.Demand) bool { return r.instanceOf(&d) == instance })
		if builds && !answer.GetExecutionCapabilities().GetExecEnabled() {
			return fmt.Errorf("target %s: it says that it executes nothing (capabilities of instance %q); use a scenario with calls only, or another instance", r.Remote.URL, instance)
		}
		function, err := functionOf(answer, r.Scenario.Client.DigestFunction, builds)
		if err != nil {
			return fmt.Errorf("target %s, instance %q: %w", r.Remote.URL, instance, err)
		}
		if i > 0 && function != r.client.Function() {
			return fmt.Errorf("target %s: its instances take different digest functions, %v and %v: name one by client.digest_function", r.Remote.URL, r.client.Function(), function)
		}
		r.client.SetFunction(function)
	}
	if f := r.client.Function(); f != digest.SHA256 {
		r.recorder.Note(fmt.Sprintf("blobs are named by %v", f))
	}
	return nil
}

// instances are those that something is asked of, each once.
func (r *run) instances() []string {
	var all []string
	if len(r.Scenario.Calls) > 0 || len(r.Scenario.Demand) == 0 {
		all = append(all, r.Remote.Instance)
	}
	for i := range r.Scenario.Demand {
		if name := r.instanceOf(&r.Scenario.Demand[i]); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// instanceOf returns the instance that a demand's builds are asked of.
func (r *run) instanceOf(d *scenario.Demand) string { return cmp.Or(d.Instance, r.Remote.Instance) }

// functionOf returns the digest function to use against a server: the one that is wanted
// or, by scenario.Auto, SHA-256 if the server has it, and else the first it names that is
// known here. A server that names none is taken at its client's word.
func functionOf(c *repb.ServerCapabilities, wanted string, executes bool) (digest.Func, error) {
	announced := c.GetCacheCapabilities().GetDigestFunctions()
	if executes {
		e := c.GetExecutionCapabilities()
		// REAPI: "consider the repeated digest_functions field first".
		of := e.GetDigestFunctions()
		if len(of) == 0 && e.GetDigestFunction() != repb.DigestFunction_UNKNOWN {
			of = []repb.DigestFunction_Value{e.GetDigestFunction()}
		}
		switch {
		case len(announced) == 0:
			announced = of
		case len(of) > 0:
			both := slices.DeleteFunc(slices.Clone(announced), func(v repb.DigestFunction_Value) bool { return !slices.Contains(of, v) })
			if len(both) == 0 {
				return 0, fmt.Errorf("it stores by the digest functions %v only, and executes by %v only; a scenario without builds, such as cas-mix, can use it", announced, of)
			}
			announced = both
		}
	}
	if wanted != scenario.Auto {
		f, err := digest.ParseFunc(wanted)
		if err == nil && len(announced) > 0 && !slices.Contains(announced, f.Value()) {
			err = fmt.Errorf("it doesn't take digest function %v%s, only %v", f, forActions(executes), announced)
			if executes && slices.Contains(c.GetCacheCapabilities().GetDigestFunctions(), f.Value()) {
				err = fmt.Errorf("%w; blobs it takes by that: a scenario without builds, such as cas-mix, can use it", err)
			}
		}
		return f, err
	}
	if len(announced) == 0 || slices.Contains(announced, repb.DigestFunction_SHA256) {
		return digest.SHA256, nil
	}
	for _, v := range announced {
		if f, err := digest.FuncOf(v); err == nil {
			return f, nil
		}
	}
	return 0, fmt.Errorf("it takes the digest functions %v only%s; known here are %s", announced, forActions(executes), digest.Join(digest.Funcs()))
}

func forActions(executes bool) string {
	if executes {
		return " for actions"
	}
	return ""
}

// facts is what is worth knowing of a server when its numbers are read.
func facts(c *repb.ServerCapabilities) map[string]string {
	out := map[string]string{}
	if v := c.GetHighApiVersion(); v != nil {
		out["api"] = fmt.Sprintf("%d.%d", v.Major, v.Minor)
	}
	cache := c.GetCacheCapabilities()
	out["digestFunctions"] = fmt.Sprint(cache.GetDigestFunctions())
	out["compressors"] = fmt.Sprint(cache.GetSupportedCompressors())
	out["maxBatchBytes"] = fmt.Sprint(cache.GetMaxBatchTotalSizeBytes())
	out["updatesActionCache"] = fmt.Sprint(cache.GetActionCacheUpdateCapabilities().GetUpdateEnabled())
	out["executes"] = fmt.Sprint(c.GetExecutionCapabilities().GetExecEnabled())
	return out
}

// explain adds what to do to an error of a target that can't be used.
func explain(err error) error {
	hint := ""
	switch status.Code(err) {
	case codes.Unavailable:
		hint = "is it running, and is this its address? weir up starts one here"
	case codes.DeadlineExceeded:
		hint = "it didn't answer in time; is there a firewall or a proxy between?"
	case codes.Unauthenticated, codes.PermissionDenied:
		hint = "it refuses this client; give a token that is valid and not expired (--token FILE)"
	case codes.Unimplemented:
		hint = "it doesn't speak the Remote Execution API; is the port right?"
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, hint)
}

// perform begins everything at its time, and returns when it has ended.
func (r *run) perform(ctx context.Context, begin time.Time) {
	// What is under way when the duration is over may end.
	starting, stop := context.WithDeadline(ctx, begin.Add(r.Scenario.Duration))
	defer stop()
	var pacers, work sync.WaitGroup
	for i := range r.Scenario.Demand {
		d := &r.Scenario.Demand[i]
		builder := r.builders[i]
		one := func(number int, intended time.Time) {
			r.progress.builds.Add(1)
			builder.Build(ctx, d.Build(r.Scenario.Seed, number), intended)
		}
		pacers.Go(func() {
			r.pace(starting, begin, d.Arrivals, d.Times(r.Scenario.Seed), &work, one)
		})
	}
	for i := range r.Scenario.Calls {
		m := &r.Scenario.Calls[i]
		one := func(number int, intended time.Time) {
			ctx := WithInvocation(ctx, r.Config.Run, invocationID(r.Config.Run, m.Name, number))
			r.client.Call(ctx, m.Call(r.Scenario.Seed, number), intended) // observed below
		}
		pacers.Go(func() {
			r.pace(starting, begin, m.Arrivals, m.Times(r.Scenario.Seed), &work, one)
		})
	}
	pacers.Wait()
	r.progress.drain()
	work.Wait()
}

// pace begins one thing after the other, each at its time, until starting is done.
func (r *run) pace(starting context.Context, begin time.Time, arrivals workload.Arrivals, times func() (time.Duration, bool), work *sync.WaitGroup, one func(number int, intended time.Time)) {
	if clients := arrivals.Clients(); clients > 0 {
		r.loop(starting, begin, clients, arrivals.Limit, one)
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for number := 0; ; number++ {
		at, ok := times()
		if !ok {
			return
		}
		if !r.Segment.Has(r.Scenario.Seed, number) {
			continue
		}
		intended := begin.Add(at)
		if wait := time.Until(intended); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-starting.Done():
				return
			}
		}
		if deadline, _ := starting.Deadline(); starting.Err() != nil || !intended.Before(deadline) {
			return
		}
		select {
		case r.slots <- struct{}{}:
		default:
			r.observer.Dropped(intended)
			continue
		}
		work.Go(func() {
			defer func() { <-r.slots }()
			one(number, intended)
		})
	}
}

// loop has so many clients do one thing after the other.
func (r *run) loop(starting context.Context, begin time.Time, clients, limit int, one func(number int, intended time.Time)) {
	var all sync.WaitGroup
	var next atomic.Int64
	for i := range clients {
		if !r.Segment.Has(r.Scenario.Seed, i) {
			continue
		}
		all.Go(func() {
			intended := begin
			for starting.Err() == nil {
				number := int(next.Add(1)) - 1
				if limit > 0 && number >= limit {
					return
				}
				one(number, intended)
				intended = time.Now()
			}
		})
	}
	all.Wait()
}
