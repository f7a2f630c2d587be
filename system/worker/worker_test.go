package worker_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/system/worker"
	"github.com/weir-build/weir/traces/tracecontext"
)

// rig is a worker with its server.
type rig struct {
	*fakeBots
	cfg      worker.Config
	registry *prometheus.Registry
	stop     context.CancelFunc
	ended    chan error
}

// newRig starts a worker and answers its first call.
func newRig(t *testing.T, change func(*worker.Config)) *rig {
	t.Helper()
	r := startRig(t, change)
	first := r.next()
	if !first.create {
		t.Fatal("the first call doesn't create a session")
	}
	first.reply()
	return r
}

func startRig(t *testing.T, change func(*worker.Config)) *rig {
	t.Helper()
	r := &rig{registry: prometheus.NewRegistry(), ended: make(chan error, 1)}
	r.fakeBots = startBots(t, func(address string) *grpc.ClientConn {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.cfg = worker.Config{
		BotID: "bot-1", Name: "host/bot-1", Instance: "main", Bots: r.conn,
		CAS:        remote.Config{URL: "grpc://127.0.0.1:1", Instance: "main", RetryLimit: -1},
		RunnerPath: self, RunnerArgs: []string{"--extra=1"}, Path: "/some/bin",
		Platform: []worker.Property{{Key: "OSFamily", Value: "linux"}, {Key: "pool", Value: "a"}, {Key: "pool", Value: "b"}},
		Slots:    2, WorkDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Registerer: r.registry,
	}
	if change != nil {
		change(&r.cfg)
	}
	w, err := worker.New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		// Whatever the worker still tells is taken.
		for {
			select {
			case err := <-r.ended:
				if err != nil {
					t.Errorf("the worker ended with %v", err)
				}
				if entries, err := os.ReadDir(r.cfg.WorkDir); err != nil || len(entries) > 0 {
					t.Errorf("left in the work directory: %v, %v", entries, err)
				}
				return
			case p := <-r.polls:
				p.reply()
			}
		}
	})
	return r
}

// leave takes an ended worker's error, so that the clean-up doesn't.
func (r *rig) leave() error {
	err := <-r.ended
	r.ended <- nil
	return err
}

// result returns the result of the one lease a poll reports.
func result(t *testing.T, p *poll) *repb.ActionResult {
	t.Helper()
	l := p.session.Leases[0]
	if l.Status.GetCode() != 0 || l.Result == nil {
		t.Fatalf("lease ended with %v, result %v", l.Status, l.Result)
	}
	a := new(repb.ActionResult)
	if err := l.Result.UnmarshalTo(a); err != nil {
		t.Fatal(err)
	}
	return a
}

// BuildGrid's offers are ACTIVE from the beginning.
func TestOffersMayBeActive(t *testing.T) {
	r := newRig(t, nil)
	lease := offer(t, "a", "describe")
	lease.State = bots.LeaseState_ACTIVE
	r.nextUpdate().reply(lease)
	result(t, r.nextCompleted(lease))
}

// BuildGrid counts a session's states with the version, and refuses what it didn't say.
func TestVersionOfTheSessionIsTheServers(t *testing.T) {
	r := newRig(t, nil)
	for _, want := range []string{"+", "++", "+++"} {
		p := r.nextUpdate()
		if p.session.Version != want {
			t.Errorf("version %q, want %q", p.session.Version, want)
		}
		p.reply()
	}
	r.nextUpdate().fail(status.Error(codes.NotFound, "no such session"))
	if p := r.next(); !p.create || p.session.Version != "" {
		t.Errorf("a new session begins with version %q", p.session.Version)
	}
}

func TestSessionDescribesTheWorker(t *testing.T) {
	r := startRig(t, nil)
	p := r.next()
	s := p.session
	if !p.create || s.BotId != "bot-1" || s.Version != "" || s.Status != bots.BotStatus_OK || s.Name != "" {
		t.Errorf("session %v", s)
	}
	var properties []string
	for _, property := range s.Worker.Devices[0].Properties {
		properties = append(properties, property.Key+"="+property.Value)
	}
	if got, want := strings.Join(properties, " "), "OSFamily=linux pool=a pool=b"; got != want {
		t.Errorf("properties %q, want %q", got, want)
	}
	if c := s.Worker.Configs[0]; c.Key != "capacity" || c.Value != "2" {
		t.Errorf("config %v, want capacity 2", c)
	}
	p.reply()
	if next := r.nextUpdate(); next.session.Name != "main/bots/1" || next.session.BotId != "bot-1" {
		t.Errorf("update of %v", next.session)
	}
}

func TestLeaseIsAcknowledgedRunAndReported(t *testing.T) {
	r := newRig(t, nil)
	r.nextUpdate().replyWith(metadata.Pairs(tracecontext.LeasePrefix+"a", someContext.String()), offer(t, "a", "describe"))
	// Whether the runner ends before or while its lease is acknowledged is luck.
	p := r.next()
	if summary(p.session.Leases) == "a:ACTIVE" {
		p.reply(active("a"))
		p = r.nextCompleted(active("a"))
	}
	got := result(t, p)
	if got.ExecutionMetadata.Worker != "host/bot-1" {
		t.Errorf("worker %q, want host/bot-1", got.ExecutionMetadata.Worker)
	}
	text := string(got.StdoutRaw)
	env, args, _ := strings.Cut(text, "\n--action=")
	if want := "PATH=/some/bin\nTRACEPARENT=" + someContext.String(); env != want {
		t.Errorf("environment %q, want %q", env, want)
	}
	dir, _, _ := strings.Cut(args, "/action\n")
	want := strings.ReplaceAll("D/action\n--action-result=D/result\n--stdout-file=D/stdout\n--stderr-file=D/stderr\n", "D", dir) +
		"--remote=grpc://127.0.0.1:1\n--instance=main\n--retry-limit=0\n--extra=1"
	if args != want {
		t.Errorf("arguments %q, want %q", args, want)
	}
	p.reply()
	r.nextUpdate()
}

// A worker's own PATH and working directory aren't its runners'.
func TestRunnersFindTheFilesOfTheirConnection(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PATH", dir)
	for _, name := range []string{"token", "helper"} {
		if err := os.WriteFile(name, []byte("secret"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for want, change := range map[string]func(*remote.Config){
		"--access-token=" + dir + "/token":       func(c *remote.Config) { c.AccessToken = "token" },
		"--credential-helper=" + dir + "/helper": func(c *remote.Config) { c.CredentialHelper = "helper" },
	} {
		r := newRig(t, func(c *worker.Config) { change(&c.CAS) })
		r.nextUpdate().reply(offerOf(t, "a", &repb.Action{Salt: []byte("describe")}))
		p := r.nextCompleted(active("a"))
		if got := string(result(t, p).StdoutRaw); !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("arguments %q, want %s", got, want)
		}
		p.reply()
		r.nextUpdate()
	}
}

// The folder of a lease that ended well is that of the next, which finds nothing in it
// that it could take for its own.
func TestFoldersAreUsedAgain(t *testing.T) {
	r := newRig(t, func(c *worker.Config) { c.Slots = 1 })
	next, dirs := r.nextUpdate(), make(map[string]bool)
	for i, salt := range []string{"describe", "describe", "nothing", "describe"} {
		id := string(rune('a' + i))
		next.reply(offerOf(t, id, &repb.Action{Salt: []byte(salt)}))
		p := r.nextCompleted(active(id))
		if lease := p.session.Leases[0]; salt == "nothing" {
			if lease.Result != nil || !strings.Contains(lease.Status.Message, "left no result") {
				t.Errorf("a runner that wrote nothing has the result %v, %v", lease.Result, lease.Status)
			}
		} else {
			_, args, _ := strings.Cut(string(result(t, p).StdoutRaw), "--action=")
			dir, _, _ := strings.Cut(args, "/action\n")
			dirs[dir] = true
		}
		p.reply()
		next = r.nextUpdate()
	}
	if len(dirs) != 1 {
		t.Errorf("the folders are %v, want one", dirs)
	}
}

// nextCompleted answers polls with leases until one reports that the first of
// them has ended.
func (r *rig) nextCompleted(leases ...*bots.Lease) *poll {
	for {
		p := r.next()
		for _, l := range p.session.Leases {
			if l.Id == leases[0].Id && l.State == bots.LeaseState_COMPLETED {
				return p
			}
		}
		p.reply(leases...)
	}
}

func TestForeignServersContextIsNone(t *testing.T) {
	for name, trailer := range map[string]metadata.MD{
		"none":    nil,
		"other's": metadata.Pairs(tracecontext.LeasePrefix+"b", someContext.String()),
		"broken":  metadata.Pairs(tracecontext.LeasePrefix+"a", "00-nonsense"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.nextUpdate().replyWith(trailer, offer(t, "a", "describe"))
			p := r.nextCompleted(active("a"))
			if text := string(result(t, p).StdoutRaw); strings.Contains(text, tracecontext.Env) {
				t.Errorf("the runner got %q", text)
			}
			p.reply()
		})
	}
}

func TestOutcomesOfRunners(t *testing.T) {
	casd := runnertest.Start(t)
	stored := casd.PutMessage(t, &repb.Action{Salt: []byte("named")})
	for _, test := range []struct {
		name    string
		lease   func(t *testing.T) *bots.Lease
		code    codes.Code
		message string
		result  string
	}{
		{"own name kept", func(t *testing.T) *bots.Lease { return offer(t, "a", "named") }, codes.OK, "", `worker:"itself"`},
		{"status and partial result", func(t *testing.T) *bots.Lease { return offer(t, "a", "timeout") }, codes.DeadlineExceeded, "too long", "exit_code:137"},
		{"exit without status", func(t *testing.T) *bots.Lease { return offer(t, "a", "crash") }, codes.Internal, "exited with 3 without saying why; its log ends with: ", ""},
		{"its last words", func(t *testing.T) *bots.Lease { return offer(t, "a", "crash") }, codes.Internal, "noise last words", ""},
		{"killed", func(t *testing.T) *bots.Lease { return offer(t, "a", "die") }, codes.Internal, "was ended by signal: killed", ""},
		{"no result", func(t *testing.T) *bots.Lease { return offer(t, "a", "nothing") }, codes.Internal, "exited with 0 and left no result", ""},
		{"bad result", func(t *testing.T) *bots.Lease { return offer(t, "a", "garbage") }, codes.Internal, "exited with 0 and left no result", ""},
		{"digest", func(t *testing.T) *bots.Lease { return offerOf(t, "a", stored) }, codes.OK, "", `worker:"itself"`},
		{"digest of nothing", func(t *testing.T) *bots.Lease { return offerOf(t, "a", digest.Of([]byte("gone")).Proto()) }, codes.FailedPrecondition, "is missing", ""},
		{"bad digest", func(t *testing.T) *bots.Lease { return offerOf(t, "a", &repb.Digest{Hash: "xy"}) }, codes.InvalidArgument, "malformed digest", ""},
		{"no payload", func(*testing.T) *bots.Lease { return &bots.Lease{Id: "a", State: bots.LeaseState_PENDING} }, codes.InvalidArgument, "no payload", ""},
		{"other payload", func(t *testing.T) *bots.Lease { return offerOf(t, "a", &repb.Directory{}) }, codes.InvalidArgument, "neither an Action nor its Digest", ""},
		{"undecodable", func(t *testing.T) *bots.Lease {
			l := offer(t, "a", "named")
			l.Payload.Value = []byte("\xff\xff")
			return l
		}, codes.InvalidArgument, "decode action of lease", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(c *worker.Config) { c.CAS.URL = casd.URL })
			r.nextUpdate().reply(test.lease(t))
			p := r.nextCompleted(active("a"))
			l := p.session.Leases[0]
			if got := codes.Code(l.Status.GetCode()); l.Status == nil || got != test.code || !strings.Contains(l.Status.Message, test.message) {
				t.Errorf("status %v, want %v with %q", l.Status, test.code, test.message)
			}
			if n := len(l.Status.GetMessage()); n > 5000 {
				t.Errorf("the message has %d bytes", n)
			}
			got := ""
			if l.Result != nil {
				a := new(repb.ActionResult)
				if err := l.Result.UnmarshalTo(a); err != nil {
					t.Fatal(err)
				}
				got = a.String()
			}
			if !strings.Contains(strings.ReplaceAll(got, "  ", " "), test.result) || (got == "") != (test.result == "") {
				t.Errorf("result %q, want %q", got, test.result)
			}
			p.reply()
		})
	}
}

func TestResultIsReportedAtOnceAndAgainUntilTaken(t *testing.T) {
	gate := fifo(t)
	r := newRig(t, nil)
	r.nextUpdate().reply(offer(t, "a", "until "+gate))
	held := r.nextUpdate("a:ACTIVE")
	if err := os.WriteFile(gate, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	// The poll that is held ends for the news, though nobody answers it.
	<-held.ctx.Done()
	p := r.nextUpdate("a:COMPLETED")
	if got := result(t, p).ExitCode; got != 7 {
		t.Errorf("exit code %d, want 7", got)
	}
	p.fail(status.Error(codes.Unavailable, "reply lost"))
	r.nextUpdate("a:COMPLETED").reply(active("a")) // not yet taken
	r.nextUpdate("a:COMPLETED").reply()
	r.nextUpdate()
}

// TestPollsTellWhenLeasesBegan, of those whose id can be in a header, as long as there
// is no result that tells.
func TestPollsTellWhenLeasesBegan(t *testing.T) {
	r := newRig(t, nil)
	gates := []string{fifo(t), fifo(t)}
	before := time.Now()
	r.nextUpdate().reply(offer(t, "a-1", "until "+gates[0]), offer(t, "a/b", "until "+gates[1]))
	p := r.nextUpdate("a-1:ACTIVE", "a/b:ACTIVE")
	told := func(p *poll) (headers []string) {
		md, _ := metadata.FromIncomingContext(p.ctx)
		for key := range md {
			if strings.HasPrefix(key, bots.PartialPrefix) {
				headers = append(headers, key)
			}
		}
		return headers
	}
	if got, want := told(p), []string{"partial-execution-metadata-a-1-bin"}; !slices.Equal(got, want) {
		t.Fatalf("the poll tells %q, want %q", got, want)
	}
	m := new(repb.ExecutedActionMetadata)
	if err := proto.Unmarshal([]byte(metadata.ValueFromIncomingContext(p.ctx, told(p)[0])[0]), m); err != nil {
		t.Fatal(err)
	}
	if at := m.WorkerStartTimestamp.AsTime(); at.Before(before.Truncate(0)) || at.After(time.Now()) {
		t.Errorf("the worker began at %v, want a time since %v", at, before)
	}
	for _, gate := range gates {
		if err := os.WriteFile(gate, []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	for p.session.Leases[0].State == bots.LeaseState_ACTIVE || p.session.Leases[1].State == bots.LeaseState_ACTIVE {
		p.reply(active("a-1"), active("a/b"))
		p = r.next()
	}
	if got := told(p); got != nil {
		t.Errorf("the poll with the results tells %q", got)
	}
	p.reply()
}

func TestOfferInALostReplyIsTakenWhenItComesAgain(t *testing.T) {
	r := newRig(t, nil)
	r.nextUpdate().fail(status.Error(codes.Unavailable, "reply lost"))
	r.nextUpdate().reply(offer(t, "a", "named"))
	// So is one that comes again though it was taken: it is the same.
	p := r.nextCompleted(offer(t, "a", "named"))
	p.reply()
	r.nextUpdate()
	if got := counter(t, r, "weir_worker_runners_total"); got != 1 {
		t.Errorf("%v runners ran, want 1", got)
	}
}

// counter returns the sum of a metric's series.
func counter(t *testing.T, r *rig, name string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.Metric {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// waiting offers a lease whose runner waits for SIGTERM and returns once it runs.
func (r *rig) waiting(t *testing.T, p *poll, id string) *bufio.Reader {
	t.Helper()
	return r.started(t, p, id, "wait")
}

// started is waiting for another salt that has a fifo.
func (r *rig) started(t *testing.T, p *poll, id, verb string) *bufio.Reader {
	t.Helper()
	path := fifo(t)
	p.reply(offer(t, id, verb+" "+path))
	end, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	reader := bufio.NewReader(end)
	if _, err := reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return reader
}

func TestLeaseThatIsNotWantedAnyMoreIsKilled(t *testing.T) {
	for name, answer := range map[string][]*bots.Lease{
		"absent":    nil,
		"cancelled": {{Id: "a", State: bots.LeaseState_CANCELLED}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			pipe := r.waiting(t, r.nextUpdate(), "a")
			r.nextUpdate("a:ACTIVE").reply(answer...)
			if _, err := io.ReadAll(pipe); err != nil { // until the runner is gone
				t.Fatal(err)
			}
			r.nextUpdate().reply()
		})
	}
}

// As BuildBox's bubblewrap runner leaves its sandbox, if it is told to end while
// that is starting.
func TestWhatRunnerLeavesWhenToldToEndIsKilled(t *testing.T) {
	r := newRig(t, func(c *worker.Config) { c.Path = "/usr/bin:/bin" })
	pipe := r.started(t, r.nextUpdate(), "a", "leave")
	r.nextUpdate("a:ACTIVE").reply()
	if _, err := io.ReadAll(pipe); err != nil { // until the orphan is gone
		t.Fatal(err)
	}
	r.nextUpdate().reply()
}

func TestUnknownSessionIsReplacedAndWorkGoesOn(t *testing.T) {
	for _, code := range []codes.Code{codes.NotFound, codes.InvalidArgument, codes.DataLoss} {
		t.Run(code.String(), func(t *testing.T) {
			gate := fifo(t)
			r := newRig(t, nil)
			r.nextUpdate().reply(offer(t, "a", "until "+gate))
			r.nextUpdate("a:ACTIVE").fail(status.Error(code, "no such session"))
			p := r.next()
			if got := summary(p.session.Leases); !p.create || p.session.Name != "" || got != "a:ACTIVE" {
				t.Fatalf("create %v of %q with %q, want a new session with the lease", p.create, p.session.Name, got)
			}
			p.reply(active("a"))
			p = r.nextUpdate("a:ACTIVE")
			if err := os.WriteFile(gate, []byte("x"), 0); err != nil {
				t.Fatal(err)
			}
			<-p.ctx.Done()
			p = r.nextUpdate("a:COMPLETED")
			if got := result(t, p).ExitCode; got != 7 {
				t.Errorf("exit code %d, want 7", got)
			}
			p.reply()
			if got := counter(t, r, "weir_worker_sessions_total"); got != 2 {
				t.Errorf("%v sessions, want 2", got)
			}
		})
	}
}

func TestOverloadedServerCostsNoWork(t *testing.T) {
	gate := fifo(t)
	r := newRig(t, nil)
	r.nextUpdate().reply(offer(t, "a", "until "+gate))
	for _, code := range []codes.Code{codes.ResourceExhausted, codes.Unavailable, codes.DeadlineExceeded} {
		r.nextUpdate("a:ACTIVE").fail(status.Error(code, "too much"))
	}
	p := r.nextUpdate("a:ACTIVE")
	if err := os.WriteFile(gate, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	<-p.ctx.Done()
	p = r.nextUpdate("a:COMPLETED")
	result(t, p)
	p.reply()
	r.nextUpdate()
	if got := counter(t, r, "weir_worker_poll_errors_total"); got != 3 {
		t.Errorf("%v errors counted, want 3: a poll given up for news is none", got)
	}
}

func TestNoMoreLeasesThanSlots(t *testing.T) {
	r := newRig(t, func(c *worker.Config) { c.Slots = 1 })
	gate := fifo(t)
	r.nextUpdate().reply(offer(t, "a", "until "+gate))
	r.nextUpdate("a:ACTIVE").reply(active("a"), offer(t, "b", "named"))
	p := r.nextUpdate("a:ACTIVE")
	if err := os.WriteFile(gate, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	<-p.ctx.Done()
	r.nextUpdate("a:COMPLETED").reply(offer(t, "b", "named"))
	r.nextCompleted(offer(t, "b", "named")).reply()
}

// endsWith lets the one lease of a worker that is stopping end, by its fifo: a poll under way
// makes room for its report, and then the worker ends.
func (r *rig) endsWith(t *testing.T, underWay *poll, gate string) {
	t.Helper()
	if err := os.WriteFile(gate, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	<-underWay.ctx.Done()
	p := r.nextUpdate("a:COMPLETED")
	result(t, p)
	p.reply()
	if err := r.leave(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestDrainWaitsForWhatRuns(t *testing.T) {
	gate := fifo(t)
	r := newRig(t, nil)
	r.nextUpdate().reply(offer(t, "a", "until "+gate))
	r.nextUpdate("a:ACTIVE").reply(active("a"))
	r.nextUpdate("a:ACTIVE")
	r.stop()
	p := r.nextUpdate("a:ACTIVE")
	if got := p.session.Status; got != bots.BotStatus_BOT_TERMINATING {
		t.Errorf("status %v, want BOT_TERMINATING", got)
	}
	p.reply(active("a"), offer(t, "b", "named")) // too late for b
	p = r.nextUpdate("a:ACTIVE")
	r.endsWith(t, p, gate)
}

func TestDrainKillsWhatTakesTooLongAndReportsIt(t *testing.T) {
	r := newRig(t, func(c *worker.Config) { c.GracefulShutdown = -1 })
	pipe := r.waiting(t, r.nextUpdate(), "a")
	r.nextUpdate("a:ACTIVE")
	r.stop()
	if _, err := io.ReadAll(pipe); err != nil { // until the runner is gone
		t.Fatal(err)
	}
	p := r.nextCompleted(active("a"))
	if got := codes.Code(p.session.Leases[0].Status.GetCode()); got != codes.Unavailable {
		t.Errorf("status %v, want UNAVAILABLE", p.session.Leases[0].Status)
	}
	p.reply()
	if err := r.leave(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestIdleWorkerSaysGoodbye(t *testing.T) {
	r := newRig(t, nil)
	r.nextUpdate()
	r.stop()
	p := r.nextUpdate()
	if got := p.session.Status; got != bots.BotStatus_BOT_TERMINATING {
		t.Errorf("status %v, want BOT_TERMINATING", got)
	}
	p.reply()
	if err := r.leave(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestWorkerWithoutServerCanStop(t *testing.T) {
	r := startRig(t, nil)
	r.next().fail(status.Error(codes.Unavailable, "not today"))
	r.next()
	r.stop()
	if err := r.leave(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestRunnerThatRefusesItsParametersEndsTheWorker(t *testing.T) {
	r := startRig(t, func(c *worker.Config) { c.RunnerArgs = []string{"--refuse"} })
	if err := r.leave(); err == nil || !strings.Contains(err.Error(), "exited with 1: this option is refused") {
		t.Errorf("ended with %v, want the runner's words", err)
	}
}

func TestRunnerThatDoesNotExistEndsTheWorker(t *testing.T) {
	r := startRig(t, func(c *worker.Config) { c.RunnerPath = "/no/such/runner" })
	if err := r.leave(); err == nil || !strings.Contains(err.Error(), "/no/such/runner") {
		t.Errorf("ended with %v", err)
	}
}

func TestConfigProblemsAreReportedTogether(t *testing.T) {
	_, err := worker.New(worker.Config{Slots: -1, Instance: "a//b", Platform: []worker.Property{{Value: "x"}}, PollTimeout: -time.Second})
	for _, want := range []string{"bot id", "Bots server", "path of a runner", "work directory", "logger", "slots", "empty part", "no key", "poll timeout", "remote"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v says nothing of %q", err, want)
		}
	}
}

func TestMetricsCountWhatHappened(t *testing.T) {
	r := newRig(t, nil)
	r.nextUpdate().reply(offer(t, "a", "named"), offer(t, "b", "crash"))
	r.nextCompleted(active("b"), active("a"))
	for name, want := range map[string]float64{
		"weir_worker_leases": 2, "weir_worker_sessions_total": 1, "weir_worker_poll_errors_total": 0,
	} {
		if got := counter(t, r, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
