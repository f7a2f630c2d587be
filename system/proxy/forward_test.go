package proxy_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/proxy"
)

func TestMetadataToBackend(t *testing.T) {
	b := startBackend(t, nil, nil)
	p := startProxy(t, config(b, proxy.NoAuth))
	for _, method := range []string{findMissing, execute, updateBot, "/google.bytestream.ByteStream/Write", "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"} {
		request := rpcs[method].request("acme")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		ctx = metadata.AppendToOutgoingContext(ctx,
			"build.bazel.remote.execution.v2.requestmetadata-bin", "\x00raw",
			"requestmetadata-bin", "short",
			"tracestate", "vendor=1",
			"traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
			"partial-execution-metadata-lease-1-bin", "one",
			"partial-execution-metadata-lease-2", "not binary",
			"authorization", "Bearer secret",
			"weir-identity", "jwt:forged/h",
			"weir-tenant", "forged",
			"cookie", "x",
		)
		if err := invoke(ctx, p.conns[0], method, request); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		if err := invoke(t.Context(), p.conns[0], method, request); err != nil {
			t.Errorf("%s without metadata: %v", method, err)
		}
		cancel()
		calls := b.seen()
		with, without := calls[len(calls)-2], calls[len(calls)-1]
		if !with.deadline || without.deadline {
			t.Errorf("%s: backend saw deadlines %v and %v, want true and false", method, with.deadline, without.deadline)
		}
		got := with.md
		for _, transport := range []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"} {
			delete(got, transport)
		}
		want := metadata.MD{
			"build.bazel.remote.execution.v2.requestmetadata-bin": {"\x00raw"},
			"requestmetadata-bin":                    {"short"},
			"tracestate":                             {"vendor=1"},
			"partial-execution-metadata-lease-1-bin": {"one"},
			"weir-identity":                          {"dev_only_no_auth"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: metadata at the backend (-want +got):\n%s", method, diff)
		}
	}
}

// botsServer answers as an execution-server does when it offers a lease.
type botsServer struct {
	bots.UnimplementedBotsServer
}

func (botsServer) UpdateBotSession(ctx context.Context, r *bots.UpdateBotSessionRequest) (*bots.BotSession, error) {
	_ = grpc.SetHeader(ctx, metadata.Pairs("served-by", "bots"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("traceparent-lease1", "00-1-2-01", "partial-execution-metadata-lease1-bin", "\xff\x00"))
	return r.BotSession, nil
}

func TestTrailersToClient(t *testing.T) {
	b := startBackend(t, nil, func(r *grpc.Server) { bots.RegisterBotsServer(r, botsServer{}) })
	p := startProxy(t, config(b, proxy.NoAuth))
	session := &bots.BotSession{Name: digest.SessionName("acme", "1"), BotId: "bot", Leases: []*bots.Lease{{Id: "lease1"}}}
	var header, trailer metadata.MD
	got, err := bots.NewBotsClient(p.conns[0]).UpdateBotSession(t.Context(),
		&bots.UpdateBotSessionRequest{Name: session.Name, BotSession: session}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(session, got, protocmp.Transform()); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"bots"}, header["served-by"]); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	want := metadata.MD{"traceparent-lease1": {"00-1-2-01"}, "partial-execution-metadata-lease1-bin": {"\xff\x00"}}
	if diff := cmp.Diff(want, trailer); diff != "" {
		t.Errorf("trailer (-want +got):\n%s", diff)
	}
}

// executionServer sends its headers, waits to be told to go on, and fails.
type executionServer struct {
	repb.UnimplementedExecutionServer
	proceed chan struct{}
	ended   chan error // the context's end, if the client went first
}

func (s *executionServer) Execute(_ *repb.ExecuteRequest, stream grpc.ServerStreamingServer[longrunningpb.Operation]) error {
	if err := stream.SendHeader(metadata.Pairs("executeoperationmetadata-bin", "\x01")); err != nil {
		return err
	}
	select {
	case <-s.proceed:
	case <-stream.Context().Done():
		s.ended <- stream.Context().Err()
		return stream.Context().Err()
	}
	for _, name := range []string{"1", "2"} {
		if err := stream.Send(&longrunningpb.Operation{Name: name}); err != nil {
			return err
		}
	}
	stream.SetTrailer(metadata.Pairs("last", "words"))
	st, err := status.New(codes.FailedPrecondition, "missing inputs").WithDetails(
		&errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{Type: "MISSING", Subject: "blobs/" + blob.String()}}})
	if err != nil {
		return err
	}
	return st.Err()
}

func TestHeadersComeBeforeTheFirstMessage(t *testing.T) {
	server := &executionServer{proceed: make(chan struct{})}
	b := startBackend(t, nil, func(r *grpc.Server) { repb.RegisterExecutionServer(r, server) })
	p := startProxy(t, config(b, proxy.NoAuth))
	stream, err := repb.NewExecutionClient(p.conns[0]).Execute(t.Context(), &repb.ExecuteRequest{InstanceName: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	// The server sends nothing else before it is told to.
	header, err := stream.Header()
	if err != nil {
		t.Fatal(err)
	}
	if got := header.Get("executeoperationmetadata-bin"); len(got) != 1 || got[0] != "\x01" {
		t.Errorf("header: got %q, want \\x01", got)
	}
	close(server.proceed)
	for _, want := range []string{"1", "2"} {
		op, err := stream.Recv()
		if err != nil || op.Name != want {
			t.Fatalf("got operation %v, error %v, want %s", op, err, want)
		}
	}
	_, err = stream.Recv()
	st := status.Convert(err)
	if st.Code() != codes.FailedPrecondition || st.Message() != "missing inputs" {
		t.Errorf("got status %v", st)
	}
	details, ok := st.Details()[0].(*errdetails.PreconditionFailure)
	if !ok || details.Violations[0].Subject != "blobs/"+blob.String() {
		t.Errorf("got details %v", st.Details())
	}
	if got := stream.Trailer().Get("last"); len(got) != 1 || got[0] != "words" {
		t.Errorf("trailer: got %q, want words", got)
	}
}

func TestCancellationReachesBackend(t *testing.T) {
	server := &executionServer{proceed: make(chan struct{}), ended: make(chan error, 1)}
	b := startBackend(t, nil, func(r *grpc.Server) { repb.RegisterExecutionServer(r, server) })
	p := startProxy(t, config(b, proxy.NoAuth))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := repb.NewExecutionClient(p.conns[0]).Execute(ctx, &repb.ExecuteRequest{InstanceName: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-server.ended; err != context.Canceled {
		t.Errorf("backend's context ended with %v, want %v", err, context.Canceled)
	}
}

// byteStream keeps one blob and writes down what it is sent.
type byteStream struct {
	bspb.UnimplementedByteStreamServer
	content []byte

	// early answers a write after its first message.
	early bool

	mu      sync.Mutex
	written []byte
	started chan struct{} // a write's first message is there
	ended   chan error    // how a write that isn't answered early ended
}

func (s *byteStream) Read(_ *bspb.ReadRequest, stream bspb.ByteStream_ReadServer) error {
	for rest := s.content; len(rest) > 0; {
		n := min(len(rest), 64<<10)
		if err := stream.Send(&bspb.ReadResponse{Data: rest[:n]}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func (s *byteStream) Write(stream bspb.ByteStream_WriteServer) error {
	for first := true; ; first = false {
		request, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			s.ended <- err
			return err
		}
		s.mu.Lock()
		s.written = append(s.written, request.Data...)
		s.mu.Unlock()
		if first && s.started != nil {
			close(s.started)
		}
		if s.early {
			break
		}
	}
	return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: int64(len(s.content))})
}

func startByteStream(t *testing.T, s *byteStream) bspb.ByteStreamClient {
	b := startBackend(t, nil, func(r *grpc.Server) { bspb.RegisterByteStreamServer(r, s) })
	return bspb.NewByteStreamClient(startProxy(t, config(b, proxy.NoAuth)).conns[0])
}

func TestBigBlobsGoThrough(t *testing.T) {
	server := &byteStream{content: bytes.Repeat([]byte("0123456789abcdef"), 5<<16)} // 5 MiB
	client := startByteStream(t, server)
	d := digest.Of(server.content)

	reader, err := client.Read(t.Context(), &bspb.ReadRequest{ResourceName: digest.ReadName("acme/main", d)})
	if err != nil {
		t.Fatal(err)
	}
	var read []byte
	for {
		response, err := reader.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, response.Data...)
	}
	if !bytes.Equal(read, server.content) {
		t.Errorf("read %d bytes, not the %d of the blob", len(read), len(server.content))
	}

	writer, err := client.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for rest, name := server.content, digest.WriteName("acme/main", "u", d); len(rest) > 0; name = "" {
		n := min(len(rest), 100_000)
		if err := writer.Send(&bspb.WriteRequest{ResourceName: name, Data: rest[:n]}); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	response, err := writer.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	if response.CommittedSize != d.SizeBytes || !bytes.Equal(server.written, server.content) {
		t.Errorf("wrote %d bytes, committed %d, want %d", len(server.written), response.CommittedSize, d.SizeBytes)
	}
}

func TestEarlyAnswerOfWrite(t *testing.T) {
	server := &byteStream{early: true, content: []byte("there already")}
	client := startByteStream(t, server)
	writer, err := client.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Send(&bspb.WriteRequest{ResourceName: digest.WriteName("acme", "u", blob), Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	// The client has more to say and hasn't closed its side.
	var response bspb.WriteResponse
	if err := writer.RecvMsg(&response); err != nil {
		t.Fatal(err)
	}
	if response.CommittedSize != int64(len(server.content)) {
		t.Errorf("got committed size %d, want %d", response.CommittedSize, len(server.content))
	}
}

func TestWriteThatChangesItsName(t *testing.T) {
	server := &byteStream{ended: make(chan error, 1), started: make(chan struct{})}
	client := startByteStream(t, server)
	writer, err := client.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, instance := range []string{"acme", "acme", "other"} {
		if err := writer.Send(&bspb.WriteRequest{ResourceName: digest.WriteName(instance, "u", blob), Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		if instance == "acme" {
			<-server.started
		}
	}
	if got := status.Code(writer.RecvMsg(new(bspb.WriteResponse))); got != codes.InvalidArgument {
		t.Errorf("got %v, want InvalidArgument", got)
	}
	if got := status.Code(<-server.ended); got != codes.Canceled {
		t.Errorf("backend's stream ended with %v, want Canceled", got)
	}
	if got := string(server.written); strings.Trim(got, "x") != "" || len(got) > 2 {
		t.Errorf("backend got %q, want no more than xx", got)
	}
}

func TestAbandonedWriteEndsAtBackend(t *testing.T) {
	server := &byteStream{ended: make(chan error, 1), started: make(chan struct{})}
	client := startByteStream(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	writer, err := client.Write(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Send(&bspb.WriteRequest{ResourceName: digest.WriteName("acme", "u", blob), Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	<-server.started
	cancel()
	if got := status.Code(<-server.ended); got != codes.Canceled {
		t.Errorf("backend's stream ended with %v, want Canceled", got)
	}
}

func TestWriteClosedBeforeItBegan(t *testing.T) {
	client := startByteStream(t, &byteStream{})
	writer, err := client.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = writer.CloseAndRecv()
	if s := status.Convert(err); s.Code() != codes.Aborted || s.Message() != "connection closed" {
		t.Errorf("got %v, want Aborted: connection closed", err)
	}
}
