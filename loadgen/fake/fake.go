// Package fake is a REAPI server in memory: it keeps blobs and results, and executes the
// synthetic commands of scenarios by waiting. Scripts try themselves on it, tests have it
// do wrong, and `weir doctor` finds out by it how fast a machine can generate load, since
// it does the least that each call allows.
//
//	server, err := fake.Start(fake.Config{})
//	defer server.Stop()
//	… server.URL …
//
// It is no storage for anything else: nothing is ever evicted, and a restart forgets all.
package fake

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/bazelbuild/remote-apis/build/bazel/semver"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/remote/zstd"
)

// Config says how a server behaves. Zero is a good one, as fast as it can.
type Config struct {
	// Latency is waited in each call.
	Latency time.Duration
	// Slots is how many actions it executes at a time; 0 is no bound.
	Slots int
	// Token, if set, is the bearer token that clients must show.
	Token string
	// Faults are the shares of calls in which it does wrong.
	Faults map[Fault]float64
	// Seed draws which.
	Seed uint64
	// Compression has it announce zstd, and take and give blobs so.
	Compression bool
	// Functions are the digest functions it announces and takes; nil is all.
	Functions []digest.Func
}

// A Fault is something that servers do wrong.
type Fault string

// The faults.
const (
	// Unavailable answers with UNAVAILABLE.
	Unavailable Fault = "unavailable"
	// Exhausted answers with RESOURCE_EXHAUSTED.
	Exhausted Fault = "exhausted"
	// Corrupt changes a byte of a blob that is read.
	Corrupt Fault = "corrupt"
	// Shuffled answers a batch in another order than it was asked, as is allowed.
	Shuffled Fault = "shuffled"
	// Forgets says of blobs that are stored that they are missing.
	Forgets Fault = "forgets"
	// BreaksStream ends an Execute stream with UNAVAILABLE after its first message, so that
	// the client has to take it up by WaitExecution.
	BreaksStream Fault = "breaks_stream"
	// BreaksUpload ends a Write stream with UNAVAILABLE after its first message, if there is
	// to be another, so that the client has to take it up by QueryWriteStatus.
	BreaksUpload Fault = "breaks_upload"
	// ForgetsOperation answers a WaitExecution with NOT_FOUND, as a server that was
	// restarted, so that the client has to execute again.
	ForgetsOperation Fault = "forgets_operation"
	// NeverEnds never ends an Execute.
	NeverEnds Fault = "never_ends"
	// DoneTwice sends the last message of an Execute twice.
	DoneTwice Fault = "done_twice"
	// NoResult ends an Execute with OK and without a result.
	NoResult Fault = "no_result"
	// Incomplete names an output in a result that it doesn't store.
	Incomplete Fault = "incomplete"
)

// maxMessageBytes is as much as clients of ours send.
const maxMessageBytes = 16 << 20

// Server is a server that runs.
type Server struct {
	// URL is its address, for clients.
	URL string

	repb.UnimplementedContentAddressableStorageServer
	repb.UnimplementedActionCacheServer
	repb.UnimplementedCapabilitiesServer
	repb.UnimplementedExecutionServer
	bspb.UnimplementedByteStreamServer

	config  Config
	grpc    *grpc.Server
	serving sync.WaitGroup
	blobs   sync.Map // digest.Digest → []byte
	results sync.Map // digest.Digest → *repb.ActionResult
	slots   chan struct{}

	// mu guards what follows.
	mu         sync.Mutex
	random     *rand.Rand
	operations map[string]*operation
	uploads    map[string][]byte // that broke, by name: what has come

	calls, compressed atomic.Int64
	zstd              remote.Compressor
}

// Start starts a server on a free port of this machine.
func Start(c Config) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL: "grpc://" + listener.Addr().String(), config: c,
		zstd: zstd.New(), random: rand.New(rand.NewPCG(c.Seed, 1)), operations: make(map[string]*operation), uploads: make(map[string][]byte),
	}
	if len(c.Functions) == 0 {
		s.config.Functions = digest.Funcs()
	}
	if c.Slots > 0 {
		s.slots = make(chan struct{}, c.Slots)
	}
	s.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(maxMessageBytes), grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))
	repb.RegisterContentAddressableStorageServer(s.grpc, s)
	repb.RegisterActionCacheServer(s.grpc, s)
	repb.RegisterCapabilitiesServer(s.grpc, s)
	repb.RegisterExecutionServer(s.grpc, s)
	bspb.RegisterByteStreamServer(s.grpc, s)
	s.serving.Go(func() { s.grpc.Serve(listener) }) // an error is that of Stop
	return s, nil
}

// Stop ends the server and all calls under way.
func (s *Server) Stop() {
	s.grpc.Stop()
	s.serving.Wait()
}

// Compressed is how many blobs travelled as zstd, in either direction.
func (s *Server) Compressed() int64 { return s.compressed.Load() }

// Calls is how many were made.
func (s *Server) Calls() int64 { return s.calls.Load() }

// does tells whether a fault happens now.
func (s *Server) does(f Fault) bool {
	share := s.config.Faults[f]
	if share == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() < share
}

func (s *Server) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := s.before(ctx); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (s *Server) stream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := s.before(stream.Context()); err != nil {
		return err
	}
	return handler(server, stream)
}

// before is what each call goes through.
func (s *Server) before(ctx context.Context) error {
	s.calls.Add(1)
	if s.config.Token != "" {
		md, _ := metadata.FromIncomingContext(ctx)
		if values := md.Get("authorization"); len(values) != 1 || values[0] != "Bearer "+s.config.Token {
			return status.Error(codes.Unauthenticated, "the token has expired")
		}
	}
	if s.config.Latency > 0 {
		if err := wait(ctx, s.config.Latency); err != nil {
			return status.FromContextError(err).Err()
		}
	}
	if s.does(Unavailable) {
		return status.Error(codes.Unavailable, "fault: unavailable")
	}
	if s.does(Exhausted) {
		return status.Error(codes.ResourceExhausted, "fault: exhausted")
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// GetCapabilities says that it can do everything that scenarios need.
func (s *Server) GetCapabilities(context.Context, *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	functions := make([]repb.DigestFunction_Value, len(s.config.Functions))
	for i, f := range s.config.Functions {
		functions[i] = f.Value()
	}
	var compressors []repb.Compressor_Value
	if s.config.Compression {
		compressors = []repb.Compressor_Value{digest.Compressor}
	}
	return &repb.ServerCapabilities{
		LowApiVersion: &semver.SemVer{Major: 2}, HighApiVersion: &semver.SemVer{Major: 2, Minor: 3},
		CacheCapabilities: &repb.CacheCapabilities{
			DigestFunctions:               functions,
			ActionCacheUpdateCapabilities: &repb.ActionCacheUpdateCapabilities{UpdateEnabled: true},
			SupportedCompressors:          compressors, SupportedBatchUpdateCompressors: compressors,
		},
		ExecutionCapabilities: &repb.ExecutionCapabilities{DigestFunction: functions[0], DigestFunctions: functions, ExecEnabled: true},
	}, nil
}

// GetActionResult answers from memory.
func (s *Server) GetActionResult(_ context.Context, r *repb.GetActionResultRequest) (*repb.ActionResult, error) {
	d, err := s.digestOf(r.DigestFunction, r.ActionDigest)
	if err != nil {
		return nil, err
	}
	result, ok := s.results.Load(d)
	if !ok {
		return nil, status.Error(codes.NotFound, "no such result")
	}
	return result.(*repb.ActionResult), nil
}

// UpdateActionResult keeps a result.
func (s *Server) UpdateActionResult(_ context.Context, r *repb.UpdateActionResultRequest) (*repb.ActionResult, error) {
	d, err := s.digestOf(r.DigestFunction, r.ActionDigest)
	if err != nil {
		return nil, err
	}
	s.results.Store(d, r.ActionResult)
	return r.ActionResult, nil
}

// digestOf reads a digest of a request that names its function, or leaves it to the length
// of the hash.
func (s *Server) digestOf(value repb.DigestFunction_Value, p *repb.Digest) (digest.Digest, error) {
	f, _ := digest.Infer(len(p.GetHash()))
	if value != repb.DigestFunction_UNKNOWN {
		var err error
		if f, err = digest.FuncOf(value); err != nil {
			return digest.Digest{}, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	d, err := f.FromProto(p)
	if err != nil {
		return d, status.Error(codes.InvalidArgument, err.Error())
	}
	return d, s.check(d)
}

// check refuses a digest of a function that isn't announced.
func (s *Server) check(d digest.Digest) error {
	if !slices.Contains(s.config.Functions, d.Func()) {
		return status.Error(codes.InvalidArgument, (&digest.UnknownFuncError{Name: d.Func().String(), Allowed: s.config.Functions}).Error())
	}
	return nil
}

// An operation is an action under way, or one that was.
type operation struct {
	ended chan struct{}
	last  *longrunningpb.Operation // once ended is closed
}
