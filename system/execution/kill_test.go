package execution_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-build/weir/internal/freeport"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/storage"
)

// The environment that makes the test binary the execution-server to be killed.
const (
	victimAddress = "EXECUTION_TEST_VICTIM_ADDRESS"
	victimStorage = "EXECUTION_TEST_VICTIM_STORAGE"
	victimJournal = "EXECUTION_TEST_VICTIM_JOURNAL"
)

// fairPolicy has groups, whose numbers must come back.
var fairPolicy = queue.Policy{Tenant: queue.Fair, Correlated: queue.Fair, Invocation: queue.Fair}

// killsWanted, in the environment, is how often TestKillsLoseNothing kills.
const killsWanted = "WEIR_PROOF_KILLS"

func TestMain(m *testing.M) {
	if address := os.Getenv(victimAddress); address != "" {
		if err := serveUntilKilled(address); err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// serveUntilKilled is an execution-server with a journal, in small segments.
func serveUntilKilled(address string) error {
	client, err := remote.Dial(remote.Config{URL: "grpc://" + os.Getenv(victimStorage)})
	if err != nil {
		return err
	}
	defer client.Close()
	server, err := execution.New(execution.Config{
		Instances: []string{""}, Storage: client, Queue: queue.Config{Policy: fairPolicy},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Registerer: prometheus.NewRegistry(),
		Journal: execution.Journal{Dir: os.Getenv(victimJournal), SegmentBytes: 256 << 10},
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	g := grpc.NewServer()
	server.Register(g)
	go g.Serve(listener)
	err = <-ran
	g.Stop()
	return err
}

// victim is that process.
type victim struct {
	t       *testing.T
	env     []string
	command *exec.Cmd
}

func (v *victim) start() {
	v.t.Helper()
	v.command = exec.Command(os.Args[0])
	v.command.Env = append(os.Environ(), v.env...)
	v.command.Stderr = os.Stderr
	if err := v.command.Start(); err != nil {
		v.t.Fatal(err)
	}
}

func (v *victim) end(s os.Signal) {
	v.t.Helper()
	if err := v.command.Process.Signal(s); err != nil {
		v.t.Error(err)
	}
	err := v.command.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		v.t.Error(err)
	} else if s == syscall.SIGKILL && exit.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		v.t.Fatalf("the server ended by itself: %v", err)
	}
}

// load is clients and workers that go on whatever becomes of the server.
type load struct {
	t       *testing.T
	conn    *grpc.ClientConn
	actions []digest.Digest
	next    atomic.Int64
	stop    atomic.Bool // no more actions
	leases  sync.Map    // by id, that were taken

	accepted, waited, ended atomic.Int64
}

func (l *load) fail(format string, args ...any) {
	l.t.Errorf(format, args...)
	l.stop.Store(true)
}

// client runs actions one after the other.
func (l *load) client(ctx context.Context) {
	client := repb.NewExecutionClient(l.conn)
	for !l.stop.Load() {
		i := l.next.Add(1) - 1
		if int(i) >= len(l.actions) {
			return
		}
		l.run(ctx, client, l.actions[i])
	}
}

// run runs one action to its end, over as many streams as that takes.
func (l *load) run(ctx context.Context, client repb.ExecutionClient, action digest.Digest) {
	name := ""
	for ctx.Err() == nil {
		var stream interface {
			Recv() (*longrunningpb.Operation, error)
		}
		var err error
		if name == "" {
			stream, err = client.Execute(ctx, &repb.ExecuteRequest{ActionDigest: action.Proto(), SkipCacheLookup: true})
		} else {
			l.waited.Add(1)
			stream, err = client.WaitExecution(ctx, &repb.WaitExecutionRequest{Name: name})
		}
		for err == nil {
			var op *longrunningpb.Operation
			if op, err = stream.Recv(); err != nil {
				break
			}
			if name == "" {
				name = op.Name
				l.accepted.Add(1)
			}
			if op.Name != name {
				l.fail("operation %q goes on as %q", name, op.Name)
			}
			if !op.Done {
				continue
			}
			_, response := parse(l.t, op)
			if got := string(response.GetResult().GetStdoutRaw()); got != action.String() || response.GetStatus().GetCode() != 0 {
				l.fail("operation %q of action %v came to %v with the output %q", name, action, response.GetStatus(), got)
			}
			l.ended.Add(1)
			return
		}
		if ctx.Err() != nil {
			l.fail("operation %q of action %v has no end: %v", name, action, err)
			return
		}
		if code := status.Code(err); code != codes.Unavailable {
			l.fail("operation %q: %v", name, err)
			return
		}
		l.pause()
	}
}

func (l *load) pause() { time.Sleep(2 * time.Millisecond) }

// worker takes leases and completes them, one at a time, until ctx is done.
func (l *load) worker(ctx context.Context, id string, random *rand.Rand) {
	client := bots.NewBotsClient(l.conn)
	var session *bots.BotSession
	var held []*bots.Lease
	for ctx.Err() == nil {
		if session == nil {
			made, err := client.CreateBotSession(ctx, &bots.CreateBotSessionRequest{BotSession: &bots.BotSession{BotId: id, Status: bots.BotStatus_OK}})
			if err != nil {
				l.pause()
				continue
			}
			session, held = made, l.take(made.Leases)
			continue
		}
		if len(held) > 0 && random.IntN(2) == 0 {
			// Sometimes it is only reported first.
			time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
		} else {
			for i, lease := range held {
				held[i] = l.complete(lease)
			}
		}
		poll, cancel := context.WithTimeout(ctx, time.Second)
		reply, err := client.UpdateBotSession(poll, &bots.UpdateBotSessionRequest{Name: session.Name, BotSession: &bots.BotSession{
			Name: session.Name, BotId: id, Status: bots.BotStatus_OK, Leases: held,
		}})
		cancel()
		switch {
		case status.Code(err) == codes.NotFound:
			l.fail("worker %s: %v", id, err)
			return
		case err != nil:
			l.pause()
		default:
			kept := held[:0]
			for _, lease := range held {
				if lease.State != bots.LeaseState_COMPLETED && lease.State != bots.LeaseState_CANCELLED {
					kept = append(kept, lease)
				}
			}
			for _, told := range reply.Leases {
				if told.State == bots.LeaseState_CANCELLED {
					l.fail("worker %s is told to stop lease %s", id, told.Id)
				}
			}
			held = append(kept, l.take(reply.Leases)...)
		}
	}
}

// take begins the leases that are offered.
func (l *load) take(told []*bots.Lease) (taken []*bots.Lease) {
	for _, lease := range told {
		if lease.State == bots.LeaseState_PENDING {
			if _, again := l.leases.LoadOrStore(lease.Id, true); again || !strings.HasSuffix(lease.Id, "-1") {
				l.fail("lease %s is given out, which is another attempt at what was run", lease.Id)
			}
			taken = append(taken, &bots.Lease{Id: lease.Id, State: bots.LeaseState_ACTIVE, Payload: lease.Payload})
		}
	}
	return taken
}

// complete runs a lease: the output of an action is its digest.
func (l *load) complete(lease *bots.Lease) *bots.Lease {
	if lease.State == bots.LeaseState_COMPLETED {
		return lease
	}
	action := new(repb.Action)
	if err := lease.Payload.UnmarshalTo(action); err != nil {
		l.fail("lease %s: %v", lease.Id, err)
		return lease
	}
	var n int
	if _, err := fmt.Sscanf(string(action.Salt), "%d", &n); err != nil {
		l.fail("lease %s has the salt %q", lease.Id, action.Salt)
		return lease
	}
	result, err := anypb.New(&repb.ActionResult{StdoutRaw: []byte(l.actions[n].String())})
	if err != nil {
		panic(err)
	}
	return &bots.Lease{Id: lease.Id, State: bots.LeaseState_COMPLETED, Result: result}
}

// TestKillsLoseNothing kills an execution-server under load, again and again, and
// starts another on its journal. Every operation that a client was told of comes to
// its result, by the name it had; no worker loses a session or a lease, and no
// operation's work is done twice.
func TestKillsLoseNothing(t *testing.T) {
	kills := 8
	if n, err := strconv.Atoi(os.Getenv(killsWanted)); err == nil {
		kills = n
	}
	const seed = 4
	random := rand.New(rand.NewPCG(seed, 0))
	store, err := storage.New(storage.Config{Instances: map[string]storage.Instance{"": {CAS: memory(t), AC: results(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	storageAddress := serve(t, grpc.NewServer(), store)
	blobs, err := remote.Dial(remote.Config{URL: "grpc://" + storageAddress})
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	c := &cluster{t: t, blobs: blobs} // to upload with
	l := &load{t: t}
	for i := range 300 * kills {
		l.actions = append(l.actions, c.upload("x", noCache, func(a *repb.Action, _ *repb.Command) { a.Salt = fmt.Append(nil, i) }))
	}
	address := freeport.Address(t)
	if l.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1.1, MaxDelay: 10 * time.Millisecond}, MinConnectTimeout: time.Second}),
	); err != nil {
		t.Fatal(err)
	}
	defer l.conn.Close()

	server := &victim{t: t, env: []string{
		victimAddress + "=" + address, victimStorage + "=" + storageAddress, victimJournal + "=" + t.TempDir(),
	}}
	server.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(kills)*3*time.Second)
	working, leave := context.WithCancel(ctx)
	var clients, workers sync.WaitGroup
	defer workers.Wait()
	defer clients.Wait()
	defer cancel()
	for range 16 {
		clients.Go(func() { l.client(ctx) })
	}
	for w := range 6 {
		r := rand.New(rand.NewPCG(seed, uint64(w)+1))
		workers.Go(func() { l.worker(working, fmt.Sprintf("bot-%d", w), r) })
	}
	for kill := range kills {
		before := l.ended.Load()
		time.Sleep(time.Duration(20+random.IntN(100)) * time.Millisecond)
		server.end(syscall.SIGKILL)
		server.start()
		for l.ended.Load() <= before && ctx.Err() == nil && !l.stop.Load() {
			l.pause() // each process is to get somewhere
		}
		if l.stop.Load() {
			t.Fatalf("after kill %d", kill+1)
		}
	}
	l.stop.Store(true)
	clients.Wait()
	leave()
	workers.Wait()
	server.end(syscall.SIGTERM)
	if l.accepted.Load() != l.ended.Load() || l.accepted.Load() == 0 {
		t.Errorf("%d operations were accepted and %d came to an end", l.accepted.Load(), l.ended.Load())
	}
	t.Logf("%d kills: %d operations, taken up again %d times", kills, l.accepted.Load(), l.waited.Load())
}
