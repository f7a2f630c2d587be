package execution

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
)

// BenchmarkRecovery measures how long a server is away that had many actions queued: it
// reads them from the steps of its journal, or from the snapshot with which a segment
// begins. Beside it, in the same turn, a queue alone takes inputs like them, of the same
// keys and invocations, from memory; the ratios are of these speeds. CPU time, which
// other processes change less, is that of all threads.
func BenchmarkRecovery(b *testing.B) {
	for _, tasks := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("tasks=%d", tasks), func(b *testing.B) { benchmarkRecovery(b, tasks) })
	}
}

func benchmarkRecovery(b *testing.B, tasks int) {
	policy, err := queue.ParsePolicy("fair-priority")
	if err != nil {
		b.Fatal(err)
	}
	client, err := remote.Dial(remote.Config{URL: "grpc://127.0.0.1:1"}) // which nothing is asked of
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	folder := b.TempDir()
	open := func(dir string) *Server {
		s, err := New(Config{
			Instances: []string{""}, Storage: client, Queue: queue.Config{Policy: policy}, Journal: Journal{Dir: dir, SegmentBytes: 1 << 40},
			Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	closeLog := func(s *Server) {
		if err := s.closeJournal(); err != nil {
			b.Fatal(err)
		}
	}
	s := open(folder)
	inputs := queueMany(b, s, tasks)
	closeLog(s)
	s = nil

	var stepping, following, loading spent
	for b.Loop() {
		stepping.by(func() {
			q := queue.New(queue.Config{Policy: policy})
			var out []queue.Output
			for i := range inputs {
				out = q.Step(queue.Time(i)*1000, &inputs[i], out[:0])
			}
		})
		copied := b.TempDir()
		if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
			b.Fatal(err)
		}
		following.by(func() { s = open(copied) })
		if err := s.Snapshot(); err != nil {
			b.Fatal(err)
		}
		closeLog(s)
		s = nil
		loading.by(func() { s = open(copied) })
		if n := len(s.shell.tasks); n != tasks {
			b.Fatalf("%d tasks came back, want %d", n, tasks)
		}
		closeLog(s)
		s = nil
	}
	for of, total := range map[string]*spent{"steps": &following, "snapshot": &loading} {
		b.ReportMetric(total.elapsed.Seconds()/float64(b.N), "s/"+of)
		b.ReportMetric(total.cpu.Seconds()/float64(b.N), "cpu-s/"+of)
		b.ReportMetric(float64(stepping.elapsed)/float64(total.elapsed), "of-stepped/"+of)
		b.ReportMetric(float64(total.heap)/float64(b.N*tasks), "heap-B-per-task/"+of)
	}
}

// queueMany lets a server queue as many actions, of a hundred invocations, and returns
// inputs of a queue like those that came of it.
func queueMany(b *testing.B, s *Server, tasks int) []queue.Input {
	at := s.instances[""]
	at.loads = remote.NewBatcher(func(_ context.Context, actions []digest.Digest) []remote.Result[loaded] {
		results := make([]remote.Result[loaded], len(actions))
		for i, d := range actions {
			action := &repb.Action{CommandDigest: d.Proto(), InputRootDigest: digest.Empty.Proto()}
			data, _, err := digest.OfMessage(action)
			results[i] = remote.Result[loaded]{Value: loaded{action: action, data: data}, Err: err}
		}
		return results
	})
	inputs := make([]queue.Input, tasks)
	for i := range inputs {
		action := digest.Of(binary.LittleEndian.AppendUint64(nil, uint64(i)))
		op, err := s.open(b.Context(), at, action, &repb.ExecuteRequest{SkipCacheLookup: true})
		if err != nil {
			b.Fatal(err)
		}
		about := &repb.RequestMetadata{ToolInvocationId: fmt.Sprintf("invocation-%d", i%100), ActionId: action.Hex(), ActionMnemonic: "CppCompile"}
		header, err := proto.Marshal(about)
		if err != nil {
			b.Fatal(err)
		}
		op.client.metadata, op.client.header = about, string(header)
		if err := s.enqueue(b.Context(), op); err != nil {
			b.Fatal(err)
		}
		inputs[i] = queue.Input{Kind: queue.Enqueue, Timeout: defaultTimeout, Invocation: 1 + uint32(i%100), Key: key("", action)}
	}
	return inputs
}

// spent is what something took, in all.
type spent struct {
	elapsed, cpu time.Duration
	heap         int // bytes that are there when it is over, garbage included
}

func (s *spent) by(do func()) {
	runtime.GC()
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	started := time.Now()
	do()
	s.elapsed += time.Since(started)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	s.cpu += time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s.heap += int(memory.HeapAlloc)
}
