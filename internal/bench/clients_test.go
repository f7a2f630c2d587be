package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// k6 and its script, seen from this folder.
const (
	k6Program = "../../bin/weir-k6"
	k6Script  = "../../loadgen/examples/net-grpc.js"
	// What a short run has of a long one's iterations.
	shortRun = 10
)

// BenchmarkClients is what an RPC costs the generator, in CPU time of its process: of k6's
// own gRPC client, and of ours, in the same script on the same server. k6's has a
// connection for each virtual user; ours has so, too, and shared has one for all.
func BenchmarkClients(b *testing.B) {
	if _, err := os.Stat(k6Program); err != nil {
		b.Skipf("%v: make build", err)
	}
	server := start(b, "fake")
	action := storeForClients(b, "grpc://"+server.address)
	protoset := filepath.Join(b.TempDir(), "reapi.protoset")
	writeProtoset(b, protoset)
	for _, call := range []struct {
		name       string
		iterations int
	}{{"find", 4000}, {"read", 500}, {"update", 500}, {"execute", 12000}} {
		for _, client := range []struct{ name, client, connections string }{{"grpc", "grpc", "perVU"}, {"reapi", "reapi", "perVU"}, {"shared", "reapi", "shared"}} {
			b.Run(fmt.Sprintf("call=%s/target=%s", call.name, client.name), func(b *testing.B) {
				env := map[string]string{
					"TARGET": server.address, "PROTOSET": protoset, "CLIENT": client.client, "CONNECTIONS": client.connections, "CALL": call.name, "ACTION": action.String(),
				}
				for range b.N {
					// The difference of a long run and a short one: what k6 takes to start is
					// not the client's.
					short := runK6(b, env, call.iterations/shortRun)
					long := runK6(b, env, call.iterations)
					b.ReportMetric(float64((long-short).Microseconds())/float64(call.iterations-call.iterations/shortRun), "client-µs/op")
				}
			})
		}
	}
}

// runK6 returns the CPU time of a run of so many iterations.
func runK6(b *testing.B, env map[string]string, iterations int) time.Duration {
	b.Helper()
	script, err := filepath.Abs(k6Script)
	if err != nil {
		b.Fatal(err)
	}
	// With a number of iterations, the duration is a bound.
	args := []string{"run", "--quiet", "--no-usage-report", "--address=", "--vus", "8", "--iterations", fmt.Sprint(iterations), "-e", "DURATION=5m"}
	for key, value := range env {
		args = append(args, "-e", key+"="+value)
	}
	command := exec.Command(k6Program, append(args, script)...)
	command.Env = append(os.Environ(), "K6_NO_USAGE_REPORT=true", "K6_AUTO_EXTENSION_RESOLUTION=false")
	var out, log bytes.Buffer
	command.Stdout, command.Stderr = &out, &log
	if err := command.Run(); err != nil {
		b.Fatalf("%v\n%s%s", err, log.String(), out.String())
	}
	if strings.Contains(log.String(), "level=error") {
		b.Fatalf("iterations failed:\n%.2000s", log.String())
	}
	if want := fmt.Sprintf("%d iterations\n", iterations); out.String() != want {
		b.Fatalf("got %q, want %q", out.String(), want)
	}
	return command.ProcessState.UserTime() + command.ProcessState.SystemTime()
}

// storeForClients stores what the script asks for, and returns an action.
func storeForClients(b *testing.B, url string) digest.Digest {
	b.Helper()
	client, err := drive.Dial(remote.Config{URL: url}, 1, nothing{})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	corpus := workload.Corpus{Blobs: 1, Sizes: workload.Constant(1 << 20), Ratio: 1}
	if err := client.PutAll(b.Context(), []workload.Blob{corpus.At(2, 0)}); err != nil {
		b.Fatal(err)
	}
	// One whose result isn't cached, so that its stream has three messages.
	e, err := client.Run(b.Context(), &drive.Command{Arguments: []string{"/bin/true"}, DoNotCache: true}, false, 0)
	if err != nil {
		b.Fatal(err)
	}
	return e.Action
}

// nothing is an observer that isn't interested.
type nothing struct{}

func (nothing) Call(*result.Call)         {}
func (nothing) Action(*result.Action)     {}
func (nothing) Build(*result.Build)       {}
func (nothing) Dropped(time.Time)         {}
func (nothing) InFlight(time.Time, int64) {}
func (nothing) Violation(kind, _ string)  {}

// writeProtoset writes the descriptors of REAPI with all they import.
func writeProtoset(b *testing.B, path string) {
	b.Helper()
	set := new(descriptorpb.FileDescriptorSet)
	seen := make(map[string]bool)
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		imports := f.Imports()
		for i := range imports.Len() {
			add(imports.Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(repb.File_build_bazel_remote_execution_v2_remote_execution_proto)
	data, err := proto.Marshal(set)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkNativeLoop is the rate of FindMissingBlobs of 100 digests: by a plain Go client,
// and by the generator's, which observes each call.
func BenchmarkNativeLoop(b *testing.B) {
	server, err := fake.Start(fake.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Stop()
	corpus := workload.Corpus{Blobs: 100, Sizes: workload.Constant(1000), Ratio: 1}
	blobs := make([]workload.Blob, corpus.Blobs)
	for i := range blobs {
		blobs[i] = corpus.At(1, i)
	}
	recorder := drive.NewRecorder(result.Run{ID: "bench"})
	client, err := drive.Dial(remote.Config{URL: server.URL}, 1, recorder)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	plain, err := remote.Dial(remote.Config{URL: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	digests := make([]digest.Digest, len(blobs))
	for i, blob := range blobs {
		digests[i] = client.Digest(blob)
	}
	request := &repb.FindMissingBlobsRequest{}
	for _, d := range digests {
		request.BlobDigests = append(request.BlobDigests, d.Proto())
	}
	stub := repb.NewContentAddressableStorageClient(plain.Conn())
	call := &workload.Call{Op: workload.FindMissing, Blobs: blobs, Present: make([]bool, len(blobs))}
	for _, v := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"plain", func(ctx context.Context) error { _, err := stub.FindMissingBlobs(ctx, request); return err }},
		{"drive", func(ctx context.Context) error { return client.Call(ctx, call, time.Now()) }},
	} {
		b.Run("target="+v.name, func(b *testing.B) {
			parallel(b, b.N, 16, func(int, int) error { return v.do(b.Context()) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}

// BenchmarkExecuteStreams is what a stream of three messages costs a client, in CPU time of
// its process: bare is gRPC alone, which neither makes nor reads messages, and what k6
// could cost at least; drive is the generator's client without k6, and times-bare what it
// takes of that.
func BenchmarkExecuteStreams(b *testing.B) {
	server := start(b, "fake")
	url := "grpc://" + server.address
	action := storeForClients(b, url)
	const at = 8
	for _, connections := range []int{at, 1} {
		recorder := drive.NewRecorder(result.Run{ID: "bench"})
		var clients [at]*drive.Client
		for i := range connections {
			client, err := drive.Dial(remote.Config{URL: url}, 1, recorder)
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			clients[i] = client
		}
		var bare float64 // of this many connections: µs
		for _, v := range []struct {
			name string
			do   func(ctx context.Context, client *drive.Client) error
		}{
			{"bare", func(ctx context.Context, client *drive.Client) error {
				return executeBare(ctx, client.Remote().Conn(), action)
			}},
			{"drive", func(ctx context.Context, client *drive.Client) error {
				_, err := client.RunAction(ctx, action, false, 0)
				return err
			}},
		} {
			b.Run(fmt.Sprintf("connections=%d/target=%s", connections, v.name), func(b *testing.B) {
				before := self.cpu(b)
				parallel(b, b.N, at, func(worker, _ int) error { return v.do(b.Context(), clients[worker%connections]) })
				perOp := float64((self.cpu(b) - before).Nanoseconds()) / 1000 / float64(b.N)
				b.ReportMetric(perOp, "client-µs/op")
				if v.name == "bare" {
					bare = perOp
				} else if bare > 0 { // else it wasn't asked for
					b.ReportMetric(perOp/bare, "times-bare")
				}
			})
		}
	}
}

// executeBare makes the call of an Execute and reads its messages as bytes.
func executeBare(ctx context.Context, conn *grpc.ClientConn, action digest.Digest) error {
	request, err := proto.Marshal(&repb.ExecuteRequest{ActionDigest: action.Proto()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, repb.Execution_Execute_FullMethodName, grpc.ForceCodecV2(bytesCodec{}))
	if err != nil {
		return err
	}
	if err := errors.Join(stream.SendMsg(request), stream.CloseSend()); err != nil {
		return err
	}
	for err == nil {
		err = stream.RecvMsg(nil)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// bytesCodec sends what is marshalled already, and drops what comes.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(mem.BufferSlice, any) error { return nil }
