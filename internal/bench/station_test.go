package bench

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// serveStation serves a worker and its casd, which has no remote, in one process: the
// address of the Bots server, the folder, the runner, the worker's slots and its pool
// (poolOf).
func serveStation(ctx context.Context, args []string) error {
	defer stack.KeepHeapFloor()()
	slots, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	pool, err := poolOf(args[4])
	if err != nil {
		return err
	}
	t, err := telemetry.New(ctx, telemetry.Config{Role: "station"})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	casd, err := stack.NewCasd(stack.Casd{Dir: filepath.Join(args[1], "casd")}, t, listener)
	if err != nil {
		return err
	}
	worker, err := stack.NewWorker(stack.Worker{
		BotID: "bot", Bots: stack.Remote{URL: "grpc://" + args[0]}, CAS: stack.Remote{URL: "grpc://" + listener.Addr().String()},
		Runner: args[2], RunnerPool: pool, Path: "/usr/bin:/bin", Slots: slots, WorkDir: filepath.Join(args[1], "work"),
	}, t)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	// The worker ends before the casd that it needs.
	casdCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- casd.Run(casdCtx) }()
	err = worker.Run(ctx)
	stop()
	if casdErr := <-ended; err == nil {
		err = casdErr
	}
	return err
}

// dispatcher is a Bots server that has a list of actions done as fast as its one worker
// can.
type dispatcher struct {
	bots.UnimplementedBotsServer
	address string
	slots   int

	mu      sync.Mutex
	changed chan struct{} // closed and made again when there is more to offer
	todo    []*bots.Lease
	given   map[string]*bots.Lease
	since   map[string]time.Time
	took    []time.Duration // from the reply with a lease to the call with its result
	left    int
	failed  error
	done    chan struct{} // closed when nothing is left
}

func startDispatcher(b *testing.B, slots int) *dispatcher {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	d := &dispatcher{
		address: listener.Addr().String(), slots: slots, changed: make(chan struct{}),
		given: make(map[string]*bots.Lease), since: make(map[string]time.Time),
	}
	server := grpc.NewServer()
	bots.RegisterBotsServer(server, d)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	b.Cleanup(func() { server.Stop(); serving.Wait() })
	return d
}

// run has actions done and returns when they are.
func (d *dispatcher) run(b *testing.B, actions []*anypb.Any) {
	b.Helper()
	d.mu.Lock()
	d.left, d.done, d.took = len(actions), make(chan struct{}), nil
	for i, a := range actions {
		d.todo = append(d.todo, &bots.Lease{Id: fmt.Sprintf("%d-%d", time.Now().UnixNano(), i), Payload: a, State: bots.LeaseState_PENDING})
	}
	close(d.changed)
	d.changed = make(chan struct{})
	done := d.done
	d.mu.Unlock()
	<-done
	if d.failed != nil {
		b.Fatal(d.failed)
	}
}

func (d *dispatcher) CreateBotSession(_ context.Context, r *bots.CreateBotSessionRequest) (*bots.BotSession, error) {
	r.BotSession.Name = "session"
	return r.BotSession, nil
}

func (d *dispatcher) UpdateBotSession(ctx context.Context, r *bots.UpdateBotSessionRequest) (*bots.BotSession, error) {
	arrived := time.Now()
	d.mu.Lock()
	// A worker that ends isn't kept waiting.
	news := d.report(r.BotSession.Leases, arrived) || r.BotSession.Status == bots.BotStatus_BOT_TERMINATING
	for !news && (len(d.todo) == 0 || len(d.given) >= d.slots) {
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(5 * time.Second):
			news = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		d.mu.Lock()
	}
	defer d.mu.Unlock()
	for len(d.todo) > 0 && len(d.given) < d.slots {
		l := d.todo[0]
		d.todo = d.todo[1:]
		d.given[l.Id], d.since[l.Id] = l, time.Now()
	}
	answer := &bots.BotSession{Name: "session", BotId: r.BotSession.BotId, Status: bots.BotStatus_OK}
	for _, l := range d.given {
		answer.Leases = append(answer.Leases, l)
	}
	return answer, nil
}

// report takes what has been completed, and reports whether there was any; mu is held.
func (d *dispatcher) report(leases []*bots.Lease, now time.Time) (news bool) {
	for _, l := range leases {
		given := d.given[l.Id]
		if given == nil {
			continue
		}
		if l.State != bots.LeaseState_COMPLETED {
			given.State = l.State
			continue
		}
		result := new(repb.ActionResult)
		if err := l.Result.UnmarshalTo(result); err != nil || l.Status.GetCode() != 0 || result.ExitCode != 0 {
			d.failed = fmt.Errorf("lease ended with %v, result %v: %v", l.Status, result, err)
		}
		d.took = append(d.took, now.Sub(d.since[l.Id]))
		delete(d.given, l.Id)
		delete(d.since, l.Id)
		news = true
		if d.left--; d.left == 0 {
			close(d.done)
		}
	}
	return news
}

// stationOfTrue has a worker run b.N actions of /bin/true, and returns what half of them took
// at most, from the server's offer to the worker's report.
func stationOfTrue(b *testing.B, runner, pool string, jobs int) time.Duration {
	d := startDispatcher(b, jobs)
	s := start(b, "station", d.address, runnertest.OpenDir(b), runner, strconv.Itoa(jobs), pool)
	payloads := func(n int) []*anypb.Any {
		list := make([]*anypb.Any, n)
		for i, p := range noops(b, s, n, true) {
			packed, err := anypb.New(p)
			if err != nil {
				b.Fatal(err)
			}
			list[i] = packed
		}
		return list
	}
	d.run(b, payloads(jobs))
	actions := payloads(b.N)
	own, tree := s.cpu(b), s.treeCPU(b)
	b.ResetTimer()
	d.run(b, actions)
	b.StopTimer()
	n := time.Duration(b.N)
	own, tree = (s.cpu(b)-own)/n, (s.treeCPU(b)-tree)/n
	b.ReportMetric(float64(own.Microseconds()), "station-cpu-µs/op")
	b.ReportMetric(float64((tree - own).Microseconds()), "runner-cpu-µs/op")
	return median(d.took)
}
