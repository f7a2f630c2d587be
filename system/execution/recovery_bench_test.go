package execution

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/remote"
)

// BenchmarkRecovery measures how long a server is away that had a million actions
// queued: it reads them from the steps of its journal, or from the snapshot with which a
// segment begins. Beside it, in the same turn, a queue alone takes inputs like them, of
// the same keys and invocations, from memory; the ratios are of these speeds.
func BenchmarkRecovery(b *testing.B) {
	const tasks = 1_000_000
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
	open := func(config Journal) *Server {
		s, err := New(Config{
			Instances: []string{""}, Storage: client, Queue: queue.Config{Policy: policy}, Journal: config,
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

	s := open(Journal{Dir: folder, SegmentBytes: 1 << 40})
	s.instances[""].loads = remote.NewBatcher(func(_ context.Context, actions []digest.Digest) []remote.Result[loaded] {
		results := make([]remote.Result[loaded], len(actions))
		for i, d := range actions {
			action := &repb.Action{CommandDigest: d.Proto(), InputRootDigest: digest.Empty.Proto()}
			data, _, err := digest.OfMessage(action)
			results[i] = remote.Result[loaded]{Value: loaded{action: action, data: data}, Err: err}
		}
		return results
	})
	at := s.instances[""]
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
	closeLog(s)
	s = nil

	var stepping, following, loading time.Duration
	timed := func(total *time.Duration, do func()) {
		runtime.GC()
		start := time.Now()
		do()
		*total += time.Since(start)
	}
	for b.Loop() {
		timed(&stepping, func() {
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
		timed(&following, func() { s = open(Journal{Dir: copied, SegmentBytes: 1 << 40}) })
		closeLog(s)
		s = nil
		timed(&loading, func() { s = open(Journal{Dir: copied, SegmentBytes: 1 << 40}) })
		if n := len(s.shell.tasks); n != tasks {
			b.Fatalf("%d tasks came back, want %d", n, tasks)
		}
		closeLog(s)
		s = nil
	}
	b.ReportMetric(following.Seconds()/float64(b.N), "s/steps")
	b.ReportMetric(loading.Seconds()/float64(b.N), "s/snapshot")
	b.ReportMetric(float64(stepping)/float64(following), "followed/stepped")
	b.ReportMetric(float64(stepping)/float64(loading), "loaded/stepped")
}
