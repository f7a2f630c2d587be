package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
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
	// Durations of the runs whose difference is measured; k6 takes none below a second.
	shortRun, longRun = time.Second, 4 * time.Second
)

// BenchmarkClients is what an RPC costs the generator, in CPU time of its process: of k6's
// own gRPC client, and of ours, in the same script on the same server.
func BenchmarkClients(b *testing.B) {
	if _, err := os.Stat(k6Program); err != nil {
		b.Skipf("%v: make build", err)
	}
	server, err := fake.Start(fake.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Stop()
	action := storeForClients(b, server)
	protoset := filepath.Join(b.TempDir(), "reapi.protoset")
	writeProtoset(b, protoset)
	for _, call := range []string{"find", "read", "update", "execute"} {
		for _, client := range []string{"grpc", "reapi"} {
			b.Run(fmt.Sprintf("call=%s/target=%s", call, client), func(b *testing.B) {
				env := map[string]string{"TARGET": strings.TrimPrefix(server.URL, "grpc://"), "PROTOSET": protoset, "CLIENT": client, "CALL": call, "ACTION": action.String()}
				for range b.N {
					// The difference of a long run and a short one: what k6 takes to start is
					// not the client's.
					short, few := runK6(b, env, shortRun)
					long, many := runK6(b, env, longRun)
					b.ReportMetric(float64((long-short).Microseconds())/float64(many-few), "client-µs/op")
					b.ReportMetric(float64(many-few)/(longRun-shortRun).Seconds(), "calls/s")
				}
			})
		}
	}
}

// runK6 returns the CPU time of a run, and how many iterations it had.
func runK6(b *testing.B, env map[string]string, duration time.Duration) (cpu time.Duration, iterations int) {
	b.Helper()
	script, err := filepath.Abs(k6Script)
	if err != nil {
		b.Fatal(err)
	}
	args := []string{"run", "--quiet", "--no-usage-report", "--address=", "-e", "DURATION=" + duration.String()}
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
	if _, err := fmt.Sscanf(out.String(), "%d iterations", &iterations); err != nil {
		b.Fatalf("no count of iterations in %q", out.String())
	}
	usage := command.ProcessState.SysUsage().(*syscall.Rusage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), iterations
}

// storeForClients stores what the script asks for, and returns an action.
func storeForClients(b *testing.B, server *fake.Server) digest.Digest {
	b.Helper()
	client, err := drive.Dial(remote.Config{URL: server.URL}, 1, nothing{})
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
			var group sync.WaitGroup
			const at = 16
			for worker := range at {
				n := b.N / at
				if worker < b.N%at {
					n++
				}
				group.Go(func() {
					for range n {
						if err := v.do(b.Context()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
