package execution_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	spb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/execution"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/storage"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/otlpfile"
)

// cluster is an execution-server on a real storage-server, both on loopback.
type cluster struct {
	t          *testing.T
	storage    string // address
	folder     string // of the journal
	server     *execution.Server
	blobs      *remote.Client
	executions *remote.Client // of the execution-server; it reconnects, as real ones do
	conn       *grpc.ClientConn
	execution  repb.ExecutionClient
	bots       bots.BotsClient
	ops        longrunningpb.OperationsClient
	metrics    *prometheus.Registry
	spans      *spanFile
	pages      map[string]http.Handler
	halt       func() // ends Run
	flush      func() // ends everything; then spans are complete
}

// start starts a cluster of two instances, "" and "other".
func start(t *testing.T, q queue.Config, change ...func(*execution.Config)) *cluster {
	t.Helper()
	return startWith(t, q, func(c actioncache.Cache) actioncache.Cache { return c }, change...)
}

// startWith starts a cluster whose action cache is wrapped.
func startWith(t *testing.T, q queue.Config, wrap func(actioncache.Cache) actioncache.Cache, change ...func(*execution.Config)) *cluster {
	t.Helper()
	return startAll(t, q, nil, wrap, change...)
}

// startSampled starts a cluster with a sampler, which it closes.
func startSampled(t *testing.T, q queue.Config, sampler *telemetry.Sampler, change ...func(*execution.Config)) *cluster {
	t.Helper()
	return startAll(t, q, sampler, func(c actioncache.Cache) actioncache.Cache { return c }, change...)
}

func startAll(t *testing.T, q queue.Config, sampler *telemetry.Sampler, wrap func(actioncache.Cache) actioncache.Cache, change ...func(*execution.Config)) *cluster {
	t.Helper()
	store, err := storage.New(storage.Config{Instances: map[string]storage.Instance{
		"":      {CAS: memory(t), AC: wrap(results(t))},
		"other": {CAS: memory(t), AC: results(t)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return startOn(t, serve(t, grpc.NewServer(grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes)), store), q, sampler, change...)
}

// observed are services that are registered as stack.NewExecution does.
type observed struct {
	*execution.Server
	by *telemetry.Telemetry
}

func (o observed) Register(r grpc.ServiceRegistrar) { o.Server.Register(o.by.Observed(r)) }

// startOn starts an execution-server on a storage-server that is there.
func startOn(t *testing.T, storageAddress string, q queue.Config, sampler *telemetry.Sampler, change ...func(*execution.Config)) *cluster {
	t.Helper()
	spans := new(spanFile)
	tel, err := telemetry.New(t.Context(), telemetry.Config{Role: "execution-server", Spans: otlpfile.NewWriter(spans), LogWriter: io.Discard, Sampler: sampler})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := remote.Dial(remote.Config{URL: "grpc://" + storageAddress, RetryDelay: time.Millisecond}, grpc.WithStatsHandler(tel.ClientHandler()))
	if err != nil {
		t.Fatal(err)
	}
	config := execution.Config{
		Instances: []string{"", "other"}, Storage: blobs, Queue: q,
		Logger: slog.New(slog.DiscardHandler), Registerer: tel.Registerer, Record: tel.Record, NewHolder: tel.NewHolder,
	}
	for _, f := range change {
		f(&config)
	}
	server, err := execution.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	g := grpc.NewServer(grpc.UnknownServiceHandler(tel.UnknownMethods()), grpc.ForceServerCodecV2(execution.Codec()))
	address := serve(t, g, observed{server, tel})
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	executions, err := remote.Dial(remote.Config{URL: "grpc://" + address, RetryLimit: -1})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		t: t, storage: storageAddress, folder: config.Journal.Dir, server: server, blobs: blobs, executions: executions, conn: conn, execution: repb.NewExecutionClient(conn), bots: bots.NewBotsClient(conn),
		ops: longrunningpb.NewOperationsClient(conn), metrics: tel.Registry, spans: spans, pages: server.Pages(),
	}
	c.halt = sync.OnceFunc(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	var once sync.Once
	c.flush = func() {
		once.Do(func() {
			c.halt()
			conn.Close()
			executions.Close()
			g.Stop()
			if sampler != nil {
				if err := sampler.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}
			if err := tel.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			blobs.Close()
		})
	}
	t.Cleanup(c.flush)
	return c
}

func memory(t *testing.T) cas.Store {
	t.Helper()
	return cas.NewMemory(cas.MemoryConfig{QuotaBytes: 64 << 20})
}

func results(t *testing.T) actioncache.Cache {
	t.Helper()
	return actioncache.NewMemory(actioncache.MemoryConfig{QuotaBytes: 16 << 20})
}

type registrar interface{ Register(grpc.ServiceRegistrar) }

func serve(t *testing.T, g *grpc.Server, services registrar) string {
	t.Helper()
	services.Register(g)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	return listener.Addr().String()
}

// upload stores an action that echoes a word, changed as wanted.
func (c *cluster) upload(word string, change ...func(*repb.Action, *repb.Command)) digest.Digest {
	c.t.Helper()
	command := &repb.Command{Arguments: []string{"/bin/echo", word}}
	action := &repb.Action{InputRootDigest: digest.Empty.Proto()}
	for _, f := range change {
		f(action, command)
	}
	data, d := message(c.t, command)
	if action.CommandDigest == nil {
		action.CommandDigest = d.Proto()
	}
	actionData, actionDigest := message(c.t, action)
	if err := c.blobs.WriteBlobs(c.t.Context(), map[digest.Digest][]byte{d: data, actionDigest: actionData}); err != nil {
		c.t.Fatal(err)
	}
	return actionDigest
}

func message(t *testing.T, m proto.Message) ([]byte, digest.Digest) {
	t.Helper()
	data, d, err := digest.OfMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	return data, d
}

func noCache(a *repb.Action, _ *repb.Command) { a.DoNotCache = true }

// stream is an Execute or WaitExecution under way.
type stream struct {
	t      *testing.T
	recv   func() (*longrunningpb.Operation, error)
	cancel context.CancelFunc
	name   string
}

func (c *cluster) execute(action digest.Digest, change ...func(*repb.ExecuteRequest)) *stream {
	c.t.Helper()
	return c.executeIn(c.t.Context(), action, change...)
}

func (c *cluster) executeIn(ctx context.Context, action digest.Digest, change ...func(*repb.ExecuteRequest)) *stream {
	c.t.Helper()
	request := &repb.ExecuteRequest{ActionDigest: action.Proto(), SkipCacheLookup: true}
	for _, f := range change {
		f(request)
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.execution.Execute(ctx, request)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cancel)
	return &stream{t: c.t, recv: s.Recv, cancel: cancel}
}

func (c *cluster) wait(name string) *stream {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	s, err := c.execution.WaitExecution(ctx, &repb.WaitExecutionRequest{Name: name})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cancel)
	return &stream{t: c.t, recv: s.Recv, cancel: cancel}
}

func lookup(r *repb.ExecuteRequest) { r.SkipCacheLookup = false }

// next returns the stage of the next message and, if that is the last, the
// response.
func (s *stream) next() (repb.ExecutionStage_Value, *repb.ExecuteResponse) {
	s.t.Helper()
	op, err := s.recv()
	if err != nil {
		s.t.Fatalf("receive: %v", err)
	}
	s.name = op.Name
	return parse(s.t, op)
}

func parse(t *testing.T, op *longrunningpb.Operation) (repb.ExecutionStage_Value, *repb.ExecuteResponse) {
	t.Helper()
	m := new(repb.ExecuteOperationMetadata)
	if err := op.Metadata.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	if op.Done != (m.Stage == repb.ExecutionStage_COMPLETED) {
		t.Fatalf("done is %v in stage %v", op.Done, m.Stage)
	}
	if !op.Done {
		return m.Stage, nil
	}
	response := new(repb.ExecuteResponse)
	if err := op.GetResponse().UnmarshalTo(response); err != nil {
		t.Fatal(err)
	}
	return m.Stage, response
}

// until reads up to a stage.
func (s *stream) until(stage repb.ExecutionStage_Value) *repb.ExecuteResponse {
	s.t.Helper()
	for {
		got, response := s.next()
		if got == stage {
			return response
		}
		if response != nil {
			s.t.Fatalf("done before stage %v: %v", stage, response)
		}
	}
}

func (s *stream) failure() *status.Status {
	s.t.Helper()
	op, err := s.recv()
	if err == nil {
		s.t.Fatalf("got %v, want an error", op)
	}
	return status.Convert(err)
}

// bot is a worker under the test's control.
type bot struct {
	t       *testing.T
	client  bots.BotsClient
	session *bots.BotSession
	trailer metadata.MD
}

func (c *cluster) bot(id string, properties ...string) *bot {
	c.t.Helper()
	return c.botIn("", id, bots.BotStatus_OK, properties...)
}

func (c *cluster) botIn(instance, id string, state bots.BotStatus, properties ...string) *bot {
	c.t.Helper()
	device := new(bots.Device)
	for i := 0; i+1 < len(properties); i += 2 {
		device.Properties = append(device.Properties, &bots.Device_Property{Key: properties[i], Value: properties[i+1]})
	}
	b := &bot{t: c.t, client: c.bots, session: &bots.BotSession{BotId: id, Status: state, Worker: &bots.Worker{
		Devices: []*bots.Device{device},
		Configs: []*bots.Worker_Config{{Key: bots.InterruptibleConfig, Value: "true"}},
	}}}
	ctx, cancel := context.WithTimeout(c.t.Context(), patiently)
	defer cancel()
	reply, err := c.bots.CreateBotSession(ctx, &bots.CreateBotSessionRequest{Parent: instance, BotSession: b.session}, grpc.Trailer(&b.trailer))
	if err != nil {
		c.t.Fatal(err)
	}
	b.session = reply
	return b
}

// Polls of tests: briefly where nothing is expected, patiently where it is.
const (
	briefly   = 200 * time.Millisecond
	patiently = 20 * time.Second
)

// update polls with the given leases.
func (b *bot) update(within time.Duration, leases ...*bots.Lease) (*bots.BotSession, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), within)
	defer cancel()
	session := proto.Clone(b.session).(*bots.BotSession)
	session.Leases = leases
	return b.client.UpdateBotSession(ctx, &bots.UpdateBotSessionRequest{Name: session.Name, BotSession: session}, grpc.Trailer(&b.trailer))
}

// poll polls and returns the leases of the reply. A reply that a busy machine
// brings too late counts as one without.
func (b *bot) poll(within time.Duration, leases ...*bots.Lease) []*bots.Lease {
	b.t.Helper()
	reply, err := b.update(within, leases...)
	if status.Code(err) == codes.DeadlineExceeded {
		return nil
	}
	if err != nil {
		b.t.Fatalf("poll of %s: %v", b.session.BotId, err)
	}
	return reply.Leases
}

// take polls until it is offered one lease, and returns it.
func (b *bot) take(held ...*bots.Lease) *bots.Lease {
	b.t.Helper()
	for deadline := time.Now().Add(patiently); time.Now().Before(deadline); {
		leases := b.poll(patiently, held...)
		held = nil
		switch {
		case len(leases) == 0: // a poll is held for a while only
		case len(leases) == 1 && leases[0].State == bots.LeaseState_PENDING:
			return leases[0]
		default:
			b.t.Fatalf("got leases %v, want one offer", leases)
		}
	}
	b.t.Fatal("no lease is offered")
	return nil
}

func active(l *bots.Lease) *bots.Lease {
	return &bots.Lease{Id: l.Id, State: bots.LeaseState_ACTIVE}
}

// okLease is a lease completed with an empty result.
func okLease(l *bots.Lease) *bots.Lease {
	result, err := anypb.New(new(repb.ActionResult))
	if err != nil {
		panic(err)
	}
	return &bots.Lease{Id: l.Id, State: bots.LeaseState_COMPLETED, Status: new(spb.Status), Result: result}
}

// done is a lease completed with an exit code.
func done(t *testing.T, l *bots.Lease, exitCode int32) *bots.Lease {
	t.Helper()
	return completed(t, l, &repb.ActionResult{ExitCode: exitCode}, nil)
}

func completed(t *testing.T, l *bots.Lease, result *repb.ActionResult, s *spb.Status) *bots.Lease {
	t.Helper()
	if s == nil {
		s = new(spb.Status)
	}
	lease := &bots.Lease{Id: l.Id, State: bots.LeaseState_COMPLETED, Status: s}
	if result != nil {
		packed, err := anypb.New(result)
		if err != nil {
			t.Fatal(err)
		}
		lease.Result = packed
	}
	return lease
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

// spanFile keeps what is written, for reading after flush.
type spanFile struct {
	mu   sync.Mutex
	data []byte
}

func (f *spanFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = append(f.data, p...)
	return len(p), nil
}
