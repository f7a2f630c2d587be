package worker_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"go.uber.org/goleak"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/traces/tracecontext"
)

// The test binary is also the runner: it is one when it is called like one. What
// it does stands in the Action's salt.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "--action=") {
		// Not os.Exit, in which the race detector sleeps for a second.
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(fakeRunner(os.Args[1:])), 0, 0)
	}
	goleak.VerifyTestMain(m)
}

func fakeRunner(args []string) int {
	flags := make(map[string]string)
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		flags[name] = value
	}
	if _, ok := flags["--refuse"]; ok {
		fmt.Fprintln(os.Stderr, "this option is refused")
		return 1
	}
	if _, ok := flags["--validate-parameters"]; ok {
		return 0
	}
	result := flags["--action-result"]
	write := func(path string, m proto.Message) {
		data, err := proto.Marshal(m)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			panic(err)
		}
	}
	data, err := os.ReadFile(flags["--action"])
	if err != nil {
		panic(err)
	}
	action := new(repb.Action)
	if err := proto.Unmarshal(data, action); err != nil {
		panic(err)
	}
	verb, argument, _ := strings.Cut(string(action.Salt), " ")
	meta := new(repb.ExecutedActionMetadata)
	switch verb {
	case "describe": // the environment and the arguments
		text := strings.Join(os.Environ(), "\n") + "\n" + strings.Join(args, "\n")
		write(result, &repb.ActionResult{StdoutRaw: []byte(text), ExecutionMetadata: meta})
	case "named":
		write(result, &repb.ActionResult{ExecutionMetadata: &repb.ExecutedActionMetadata{Worker: "itself"}})
	case "timeout":
		write(result, &repb.ActionResult{ExitCode: 137, ExecutionMetadata: meta})
		write(runner.ErrorStatusPath(result), &spb.Status{Code: int32(codes.DeadlineExceeded), Message: "too long"})
		return 1
	case "crash":
		fmt.Fprintln(os.Stderr, strings.Repeat("noise ", 2000)+"last words")
		return 3
	case "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "nothing":
	case "garbage":
		if err := os.WriteFile(result, []byte("\xff\xff"), 0o600); err != nil {
			panic(err)
		}
	case "leave": // at SIGTERM, a process that has the fifo open
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fifo, err := os.OpenFile(argument, os.O_RDWR, 0)
		if err != nil {
			panic(err)
		}
		orphan := exec.Command("sleep", "3600")
		orphan.ExtraFiles = []*os.File{fifo}
		if err := orphan.Start(); err != nil {
			panic(err)
		}
		if _, err := fifo.WriteString("runs\n"); err != nil {
			panic(err)
		}
		<-signals
		return int(syscall.SIGTERM)
	case "wait": // for the fifo to be opened for reading, then until SIGTERM or its end
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fifo, err := os.OpenFile(argument, os.O_RDWR, 0)
		if err != nil {
			panic(err)
		}
		if _, err := fifo.WriteString("runs\n"); err != nil {
			panic(err)
		}
		<-signals
		return int(syscall.SIGTERM)
	case "until": // the file holds something
		fifo, err := os.Open(argument)
		if err != nil {
			panic(err)
		}
		if _, err := fifo.Read(make([]byte, 1)); err != nil {
			panic(err)
		}
		write(result, &repb.ActionResult{ExitCode: 7, ExecutionMetadata: meta})
	default:
		panic("unknown salt " + verb)
	}
	return 0
}

// poll is a call that waits for the script's answer.
type poll struct {
	create  bool
	session *bots.BotSession
	ctx     context.Context
	answer  chan answer
}

type answer struct {
	session *bots.BotSession
	trailer metadata.MD
	err     error
}

// fakeBots is a Bots server whose every answer the test gives.
type fakeBots struct {
	bots.UnimplementedBotsServer
	t     *testing.T
	conn  *grpc.ClientConn
	polls chan *poll
}

func startBots(t *testing.T, conn func(address string) *grpc.ClientConn) *fakeBots {
	t.Helper()
	f := &fakeBots{t: t, polls: make(chan *poll)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	bots.RegisterBotsServer(server, f)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	f.conn = conn(listener.Addr().String())
	t.Cleanup(func() { f.conn.Close(); server.Stop(); <-served })
	return f
}

func (f *fakeBots) CreateBotSession(ctx context.Context, r *bots.CreateBotSessionRequest) (*bots.BotSession, error) {
	if r.Parent != "main" {
		f.t.Errorf("parent %q, want main", r.Parent)
	}
	return f.serve(ctx, &poll{create: true, session: r.BotSession})
}

func (f *fakeBots) UpdateBotSession(ctx context.Context, r *bots.UpdateBotSessionRequest) (*bots.BotSession, error) {
	if r.Name != r.BotSession.Name {
		f.t.Errorf("update of %q holds %q", r.Name, r.BotSession.Name)
	}
	return f.serve(ctx, &poll{session: r.BotSession})
}

func (f *fakeBots) serve(ctx context.Context, p *poll) (*bots.BotSession, error) {
	p.ctx, p.answer = ctx, make(chan answer, 1)
	if _, ok := ctx.Deadline(); !ok {
		f.t.Error("a poll has no deadline")
	}
	select {
	case f.polls <- p:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case a := <-p.answer:
		if err := grpc.SetTrailer(ctx, a.trailer); err != nil {
			f.t.Error(err)
		}
		return a.session, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// next returns the next poll that isn't given up before the test sees it.
func (f *fakeBots) next() *poll {
	f.t.Helper()
	select {
	case p := <-f.polls:
		return p
	case <-time.After(time.Minute):
		f.t.Fatal("no poll comes")
		return nil
	}
}

// nextUpdate returns the next poll and fails unless it is an update with these
// leases, written "id:STATE".
func (f *fakeBots) nextUpdate(leases ...string) *poll {
	f.t.Helper()
	p := f.next()
	if got := summary(p.session.Leases); p.create || got != strings.Join(leases, " ") {
		f.t.Fatalf("poll (create %v) with leases %q, want an update with %q", p.create, got, leases)
	}
	return p
}

func summary(leases []*bots.Lease) string {
	var all []string
	for _, l := range leases {
		all = append(all, l.Id+":"+l.State.String())
	}
	return strings.Join(all, " ")
}

// reply answers a poll with its own session and these leases.
func (p *poll) reply(leases ...*bots.Lease) { p.replyWith(nil, leases...) }

func (p *poll) replyWith(trailer metadata.MD, leases ...*bots.Lease) {
	s := &bots.BotSession{Name: p.session.Name, BotId: p.session.BotId, Leases: leases, Version: p.session.Version + "+"}
	if p.create {
		s.Name = "main/bots/1"
	}
	p.answer <- answer{session: s, trailer: trailer}
}

func (p *poll) fail(err error) { p.answer <- answer{err: err} }

// offer is a lease on an action with a salt.
func offer(t *testing.T, id, salt string) *bots.Lease {
	t.Helper()
	return offerOf(t, id, &repb.Action{Salt: []byte(salt)})
}

func offerOf(t *testing.T, id string, m proto.Message) *bots.Lease {
	t.Helper()
	payload, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return &bots.Lease{Id: id, State: bots.LeaseState_PENDING, Payload: payload}
}

func active(id string) *bots.Lease {
	return &bots.Lease{Id: id, State: bots.LeaseState_ACTIVE}
}

// fifo makes one.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var someContext = tracecontext.OfInvocation("a build").Child("worker", 0)
