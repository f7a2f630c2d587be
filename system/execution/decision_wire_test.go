package execution_test

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/admin"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/storage"
	"github.com/weir-build/weir/system/telemetry"
)

// Words of outcomes.
const (
	errorOfWorkers = "the worker has no room left"
	outcomeCached  = "cached"
	outcomeRefused = "refused"
)

func botName(worker int) string { return fmt.Sprintf("bot-%d", worker) }

// rootOf stands for an input root, of which nobody reads more than its digest.
func rootOf(root int) digest.Digest { return digest.Of(fmt.Append(nil, "root ", root)) }

// withoutWorker leaves out of an outcome whose it was, which not everybody is told.
func withoutWorker(outcome string) string {
	text, _, _ := strings.Cut(outcome, " by worker ")
	return text
}

// explained is what is known of an operation that hasn't ended.
type explained struct {
	executing                                bool
	attempt, ahead, queued, resting, running int
	merged                                   opIndex
}

func (e explained) text() string {
	text := fmt.Sprintf("queued as attempt %d, %d ahead", e.attempt, e.ahead)
	if e.executing {
		text = fmt.Sprintf("executing attempt %d", e.attempt)
	}
	if e.merged > 0 {
		text += fmt.Sprintf(" of op %d", e.merged)
	}
	return text + fmt.Sprintf(", of %d queued, %d resting, %d executing", e.queued, e.resting, e.running)
}

func attemptText(worker string, leased, ended int64, reason string) string {
	if ended == 0 {
		return fmt.Sprintf("; on %s since %d", worker, leased)
	}
	return fmt.Sprintf("; on %s from %d to %d: %s", worker, leased, ended, reason)
}

// wire is the execution-server behind gRPC, on a storage-server behind gRPC, on the clock
// of synctest. Whatever it is asked, it waits until all goroutines do.
type wire struct {
	t       *testing.T
	tape    *tape
	epoch   time.Time
	agenda  agenda
	counter uuidCounter
	byUUID  map[uint64]opIndex
	actions []digest.Digest // by key

	execution  repb.ExecutionClient
	operations longrunningpb.OperationsClient
	bots       bots.BotsClient
	admin      admin.AdminClient

	names    []string             // of operations
	streams  []context.CancelFunc // by operation
	sessions []string             // names, by worker
	polls    []*wirePoll          // under way, by worker

	config  queue.Config
	folder  string // of the journal; empty if there is none
	storage *remote.Client
	stop    func() // ends the server

	some chan struct{} // holds a token when there are news
	// mu guards told.
	mu   sync.Mutex
	told []news
}

// wirePoll is an UpdateBotSession under way.
type wirePoll struct {
	cancel context.CancelFunc
	quiet  bool // hung up: nobody wants its reply. mu guards it
}

// uuidCounter makes UUIDs that count, so that operations and leases have names that are
// known beforehand, and in an order.
type uuidCounter struct{ n uint64 }

func (c *uuidCounter) Read(b []byte) (int, error) {
	if len(b) != 16 {
		return 0, fmt.Errorf("want a UUID's 16 bytes, not %d", len(b))
	}
	c.n++
	clear(b)
	binary.BigEndian.PutUint32(b[12:], uint32(c.n))
	return len(b), nil
}

// agenda is what is to come on the world's side, in the order of a simulation.
type agenda struct {
	events []agendaEvent
	made   uint64
}

type agendaEvent struct {
	des.Event
	number uint64
}

func (a *agenda) Len() int { return len(a.events) }
func (a *agenda) Less(i, j int) bool {
	x, y := &a.events[i], &a.events[j]
	return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Class, y.Class), cmp.Compare(x.number, y.number)) < 0
}
func (a *agenda) Swap(i, j int) { a.events[i], a.events[j] = a.events[j], a.events[i] }
func (a *agenda) Push(e any)    { a.events = append(a.events, e.(agendaEvent)) }
func (a *agenda) Pop() any {
	last := a.events[len(a.events)-1]
	a.events = a.events[:len(a.events)-1]
	return last
}

// playWire plays a tape to a server.
func playWire(t *testing.T, tape *tape, config queue.Config) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		s := &wire{
			t: t, tape: tape, config: config, byUUID: make(map[uint64]opIndex), some: make(chan struct{}, 1),
			names: make([]string, len(tape.ops)+1), streams: make([]context.CancelFunc, len(tape.ops)+1),
			sessions: make([]string, len(tape.workers)), polls: make([]*wirePoll, len(tape.workers)),
		}
		uuid.SetRand(&s.counter)
		defer uuid.SetRand(nil)
		if len(tape.kills) > 0 {
			s.folder = t.TempDir()
		}
		defer s.startStorage()()
		s.epoch = time.Now()
		s.start()
		defer func() { s.stop() }()
		w = newWorld(t, tape, s)
		s.play(w)
	})
	return w
}

// play lets things happen until all has: what the tape has, and what the server does by
// its own clock.
func (s *wire) play(w *world) {
	w.begin()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !w.done() {
		timer.Reset(time.Hour)
		if len(s.agenda.events) > 0 {
			timer.Reset(time.Until(s.epoch.Add(time.Duration(s.agenda.events[0].At))))
		}
		select {
		case <-timer.C:
			if len(s.agenda.events) == 0 {
				s.t.Fatalf("nothing more happens, and %d things are to come", w.left)
			}
			w.happen(heap.Pop(&s.agenda).(agendaEvent).Event)
		case <-s.some:
			synctest.Wait()
			w.react()
		}
	}
}

// startStorage starts the storage, which has the tape's actions, and returns what ends it.
func (s *wire) startStorage() func() {
	store, err := storage.New(storage.Config{Instances: map[string]storage.Instance{
		"": {CAS: cas.NewMemory(cas.MemoryConfig{}), AC: actioncache.NewMemory(actioncache.MemoryConfig{})},
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	end, dial := serveInMemory(s.t, store)
	if s.storage, err = remote.Dial(remote.Config{URL: "grpc://127.0.0.1:1"}, dial); err != nil {
		s.t.Fatal(err)
	}
	s.upload()
	return func() {
		s.storage.Close()
		end()
		store.Close()
	}
}

// start starts the server.
func (s *wire) start() {
	t := s.t
	tel, err := telemetry.New(t.Context(), telemetry.Config{Role: "execution-server", LogWriter: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	server, err := execution.New(execution.Config{
		Instances: []string{""}, Storage: s.storage, Queue: s.config, Tenancy: execution.TenantIsPrincipal,
		Logger: slog.New(slog.DiscardHandler), Registerer: tel.Registerer, Heartbeat: -1, LongWait: -1,
		Journal: execution.Journal{Dir: s.folder},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	stop, dial := serveInMemory(t, server, grpc.StatsHandler(tel.ServerHandler()))
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()), dial)
	if err != nil {
		t.Fatal(err)
	}
	s.execution, s.operations = repb.NewExecutionClient(conn), longrunningpb.NewOperationsClient(conn)
	s.bots, s.admin = bots.NewBotsClient(conn), admin.NewAdminClient(conn)
	s.stop = func() {
		for worker := range s.polls {
			s.hangUp(worker)
		}
		for _, end := range s.streams {
			if end != nil {
				end()
			}
		}
		synctest.Wait()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		conn.Close()
		stop()
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// restart starts a server on a copy of the journal, as a kill would leave it: what the
// old one writes at its end isn't in it.
func (s *wire) restart(ended opIndex) {
	before := s.now()
	s.cancel(ended) // its answer is given when all before is written
	left := s.t.TempDir()
	if err := os.CopyFS(left, os.DirFS(s.folder)); err != nil {
		s.t.Fatal(err)
	}
	s.folder = left
	s.stop()
	s.take() // nobody hears it
	s.start()
	synctest.Wait()
	if s.now() != before {
		s.t.Fatalf("the restart took %v", time.Duration(s.now()-before))
	}
}

func (s *wire) attach(i opIndex) {
	ctx, cancel := context.WithCancel(context.Background())
	s.streams[i] = cancel
	stream, err := s.execution.WaitExecution(ctx, &repb.WaitExecutionRequest{Name: s.names[i]})
	if err != nil {
		s.t.Fatal(err)
	}
	go s.follow(i, stream)
	synctest.Wait()
}

// serveInMemory serves on connections within the process.
func serveInMemory(t *testing.T, services registrar, options ...grpc.ServerOption) (stop func(), dial grpc.DialOption) {
	// Goroutines that stay have grown their stacks already.
	g := grpc.NewServer(append(options, grpc.NumStreamWorkers(32), grpc.ForceServerCodecV2(execution.Codec()))...)
	services.Register(g)
	listener := bufconn.Listen(1 << 20)
	done := make(chan error, 1)
	go func() { done <- g.Serve(listener) }()
	return func() {
			g.Stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		})
}

// upload stores the actions of the tape.
func (s *wire) upload() {
	blobs := make(map[digest.Digest][]byte)
	for i, k := range s.tape.keys {
		data, command := message(s.t, &repb.Command{Arguments: []string{"/bin/command", strconv.Itoa(k.command)}})
		blobs[command] = data
		action := &repb.Action{
			CommandDigest: command.Proto(), InputRootDigest: rootOf(k.root).Proto(), DoNotCache: k.noCache, Salt: fmt.Append(nil, i),
			Platform: &repb.Platform{Properties: []*repb.Platform_Property{{Name: "kind", Value: strconv.Itoa(k.platform)}}},
		}
		if k.timeout > 0 {
			action.Timeout = durationpb.New(k.timeout)
		}
		data, d := message(s.t, action)
		blobs[d] = data
		s.actions = append(s.actions, d)
	}
	if err := s.storage.WriteBlobs(s.t.Context(), blobs); err != nil {
		s.t.Fatal(err)
	}
}

func (s *wire) now() int64 { return int64(time.Since(s.epoch)) }

func (s *wire) schedule(e des.Event) {
	s.agenda.made++
	heap.Push(&s.agenda, agendaEvent{e, s.agenda.made})
}

// tell passes news on to the world.
func (s *wire) tell(n news) {
	s.mu.Lock()
	s.told = append(s.told, n)
	s.mu.Unlock()
	select {
	case s.some <- struct{}{}:
	default:
	}
}

func (s *wire) take() []news {
	synctest.Wait()
	select {
	case <-s.some:
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.told
	s.told = nil
	return list
}

func (s *wire) execute(i opIndex) {
	said := &s.tape.ops[i-1]
	about := &repb.RequestMetadata{ToolInvocationId: fmt.Sprint("invocation-", said.invocation)}
	if said.correlated > 0 {
		about.CorrelatedInvocationsId = fmt.Sprint("pipeline-", said.correlated)
	}
	header, err := proto.Marshal(about)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(),
		execution.TenantHeader, fmt.Sprint("tenant-", said.tenant),
		"build.bazel.remote.execution.v2.requestmetadata-bin", string(header)))
	s.streams[i] = cancel
	id := s.counter.n + 1
	s.byUUID[id], s.names[i] = i, digest.OperationName("", nameOf(id))
	stream, err := s.execution.Execute(ctx, &repb.ExecuteRequest{
		ActionDigest: s.actions[said.key].Proto(), SkipCacheLookup: said.skipLookup,
		ExecutionPolicy: &repb.ExecutionPolicy{Priority: said.priority},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	go s.follow(i, stream)
	synctest.Wait()
	if s.counter.n != id {
		s.t.Fatalf("op %d: the server has made %d names, want %d", i, s.counter.n, id)
	}
}

// nameOf is the UUID that a counter made as its n-th.
func nameOf(n uint64) string {
	return fmt.Sprintf("00000000-0000-4000-8000-%012x", n)
}

// follow reads a stream to its end.
func (s *wire) follow(i opIndex, stream grpc.ServerStreamingClient[longrunningpb.Operation]) {
	var last *longrunningpb.Operation
	for {
		op, err := stream.Recv()
		switch {
		case err == io.EOF && last != nil:
			s.tell(s.endOf(i, last))
			return
		case status.Code(err) == codes.ResourceExhausted:
			s.tell(news{op: i, outcome: outcomeRefused})
			return
		case status.Code(err) == codes.Canceled:
			return // its client left
		case err != nil:
			s.tell(news{op: i, outcome: err.Error()})
			return
		}
		if last = nil; op.Done {
			last = op
		}
	}
}

// endOf is what the last message of an operation tells.
func (s *wire) endOf(i opIndex, op *longrunningpb.Operation) news {
	n := news{op: i}
	fail := func(err error) news {
		n.outcome = "its last message can't be read: " + err.Error()
		return n
	}
	if op.Name != s.names[i] {
		return fail(fmt.Errorf("it is of %q, want %q", op.Name, s.names[i]))
	}
	response := new(repb.ExecuteResponse)
	if err := op.GetResponse().UnmarshalTo(response); err != nil {
		return fail(err)
	}
	about := new(repb.ExecuteOperationMetadata)
	if err := op.Metadata.UnmarshalTo(about); err != nil {
		return fail(err)
	}
	if list := about.PartialExecutionMetadata.GetAuxiliaryMetadata(); len(list) > 0 {
		record := new(structpb.Struct)
		if err := list[len(list)-1].UnmarshalTo(record); err != nil {
			return fail(err)
		}
		if onto := record.Fields["deduplicated_onto"].GetStringValue(); onto != "" {
			n.merged = s.opOf(path.Base(onto))
		}
	}
	switch code := codes.Code(response.Status.GetCode()); {
	case code == codes.ResourceExhausted:
		n.outcome = outcomeRefused
	case code != codes.OK:
		n.outcome = fmt.Sprintf("%v: %s", code, response.Status.Message)
	case response.CachedResult:
		n.outcome = outcomeCached
	default:
		worker, _ := strings.CutPrefix(response.Result.GetExecutionMetadata().GetWorker(), botName(0)[:4])
		n.outcome = fmt.Sprintf("exit %d by worker %s", response.Result.GetExitCode(), worker)
	}
	return n
}

// opOf returns the operation with a UUID.
func (s *wire) opOf(id string) opIndex {
	n, err := strconv.ParseUint(id[strings.LastIndexByte(id, '-')+1:], 16, 64)
	if err != nil || nameOf(n) != id {
		panic(fmt.Sprintf("the UUID %q isn't one of the counter: %v", id, err))
	}
	return s.byUUID[n]
}

func (s *wire) cancel(i opIndex) {
	if _, err := s.operations.CancelOperation(context.Background(), &longrunningpb.CancelOperationRequest{Name: s.names[i]}); err != nil {
		s.t.Fatalf("cancel op %d: %v", i, err)
	}
}

func (s *wire) leave(i opIndex) {
	s.streams[i]()
	synctest.Wait()
}

func (s *wire) explain(i opIndex) string {
	e, err := s.admin.Explain(context.Background(), &admin.ExplainRequest{Name: s.names[i]})
	if err != nil {
		s.t.Fatalf("explain op %d: %v", i, err)
	}
	if e.State == "done" {
		return "ended with " + endedWith(e.Text)
	}
	c := e.Capacity
	known := explained{
		executing: e.State == "executing", attempt: int(e.Attempt), ahead: int(e.Ahead),
		queued: int(c.Queued), resting: int(c.Resting), running: int(c.Executing),
	}
	if e.Joined != "" {
		known.merged = s.opOf(path.Base(e.Joined))
	}
	text := known.text()
	for _, a := range e.Attempts {
		ended := int64(0)
		if a.Ended != nil {
			ended = int64(a.Ended.AsTime().Sub(s.epoch))
		}
		text += attemptText(a.Worker, int64(a.Leased.AsTime().Sub(s.epoch)), ended, a.Ending)
	}
	return text
}

// endedWith turns the sentence of an operation's end into an outcome.
func endedWith(sentence string) string {
	for begin, word := range map[string]string{
		"It ended with ":                        "",
		"It is done: the command exited with ":  "exit ",
		"It is done: the action cache had its ": outcomeCached + " ",
	} {
		if rest, ok := strings.CutPrefix(sentence, begin); ok {
			return word + strings.TrimSuffix(rest, ".")
		}
	}
	return sentence
}

// session is a worker as it tells of itself.
func (s *wire) session(worker int, leases []report) *bots.BotSession {
	said := &s.tape.workers[worker]
	device := new(bots.Device)
	for _, p := range said.platforms {
		device.Properties = append(device.Properties, &bots.Device_Property{Key: "kind", Value: strconv.Itoa(p)})
	}
	session := &bots.BotSession{
		Name: s.sessions[worker], BotId: botName(worker), Status: bots.BotStatus_OK,
		Worker: &bots.Worker{Devices: []*bots.Device{device}, Configs: []*bots.Worker_Config{
			{Key: bots.CapacityConfig, Value: strconv.Itoa(said.slots)}, {Key: bots.InterruptibleConfig, Value: "true"},
		}},
	}
	for i := range leases {
		session.Leases = append(session.Leases, s.lease(worker, &leases[i]))
	}
	return session
}

func (s *wire) lease(worker int, r *report) *bots.Lease {
	l := &bots.Lease{Id: path.Base(s.names[r.id.op]) + "-" + strconv.Itoa(int(r.id.attempt)), State: bots.LeaseState_ACTIVE}
	if !r.ended {
		return l
	}
	l.State = bots.LeaseState_COMPLETED
	switch r.fate.what {
	case fateRelease:
		if l.Status = (&spb.Status{Code: int32(codes.Unavailable), Message: "the worker is about to leave"}); r.fate.release {
			l.State = bots.LeaseState_CANCELLED
		}
	case fateError:
		l.Status = &spb.Status{Code: int32(codes.Internal), Message: errorOfWorkers}
	default:
		l.Status = new(spb.Status)
		from := time.Now().Add(-r.took)
		l.Result = &anypb.Any{}
		err := l.Result.MarshalFrom(&repb.ActionResult{ExitCode: r.fate.exits, ExecutionMetadata: &repb.ExecutedActionMetadata{
			Worker: botName(worker), ExecutionStartTimestamp: timestamppb.New(from), ExecutionCompletedTimestamp: timestamppb.New(from.Add(r.took)),
		}})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return l
}

func (s *wire) open(worker int, leases []report) {
	s.sessions[worker] = ""
	reply, err := s.bots.CreateBotSession(context.Background(), &bots.CreateBotSessionRequest{BotSession: s.session(worker, leases)})
	if err != nil {
		s.t.Fatalf("worker %d: %v", worker, err)
	}
	s.sessions[worker] = reply.Name
	s.tell(s.replyOf(worker, reply))
}

func (s *wire) update(worker int, leases []report) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &wirePoll{cancel: cancel}
	s.polls[worker] = p
	message := s.session(worker, leases)
	go func() {
		defer cancel()
		reply, err := s.bots.UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{Name: message.Name, BotSession: message})
		s.mu.Lock()
		quiet := p.quiet
		s.mu.Unlock()
		switch {
		case quiet:
		case status.Code(err) == codes.NotFound:
			s.tell(news{worker: worker, unknown: true})
		case err != nil:
			s.t.Errorf("worker %d: %v", worker, err)
		default:
			s.tell(s.replyOf(worker, reply))
		}
	}()
	synctest.Wait()
}

func (s *wire) replyOf(worker int, reply *bots.BotSession) news {
	n := news{worker: worker}
	for _, l := range reply.Leases {
		id := l.Id[:strings.LastIndexByte(l.Id, '-')]
		attempt, err := strconv.ParseUint(l.Id[len(id)+1:], 10, 32)
		if err != nil {
			s.t.Errorf("lease %q: %v", l.Id, err)
		}
		told := toldLease{id: leaseID{s.opOf(id), uint32(attempt)}, offered: l.State == bots.LeaseState_PENDING, stop: l.State == bots.LeaseState_CANCELLED}
		if told.offered {
			action := new(repb.Action)
			if err := l.Payload.UnmarshalTo(action); err != nil {
				s.t.Errorf("lease %q: %v", l.Id, err)
			}
			told.expected = told.id.op > 0 && string(action.Salt) == strconv.Itoa(s.tape.ops[told.id.op-1].key)
		}
		n.leases = append(n.leases, told)
	}
	return n
}

func (s *wire) hangUp(worker int) {
	p := s.polls[worker]
	if p == nil {
		return
	}
	s.mu.Lock()
	p.quiet = true
	s.mu.Unlock()
	p.cancel()
	synctest.Wait()
}

func (s *wire) drain(worker int, undo bool) bool {
	_, err := s.admin.Drain(context.Background(), &admin.DrainRequest{Which: &admin.DrainRequest_Worker{Worker: botName(worker)}, Undo: undo})
	if err != nil && status.Code(err) != codes.NotFound {
		s.t.Fatalf("drain worker %d: %v", worker, err)
	}
	return err == nil
}
