package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/system/runner/proctree"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/otlpfile"
)

// roleVariable makes the test binary a server: the server's name, and its
// arguments after spaces.
const roleVariable = "WEIR_BENCH_SERVER"

// profileVariable names a folder for profiles of our servers: of their CPU time, and of
// what they allocated.
const profileVariable = "WEIR_BENCH_PROFILES"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := serveRole(strings.Fields(role)); err != nil {
			fmt.Fprintln(os.Stderr, "bench server:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveRole serves until standard input ends.
func serveRole(role []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if role[0] == "floor" {
		return serveFloor(ctx, listener)
	}
	if role[0] == "fake" {
		listener.Close()
		return serveFake(ctx)
	}
	if dir := os.Getenv(profileVariable); dir != "" {
		stop, err := profile(filepath.Join(dir, role[0]))
		if err != nil {
			return err
		}
		defer stop()
	}
	switch role[0] {
	case "cluster":
		listener.Close()
		return serveCluster(ctx, role[1:])
	case "station":
		listener.Close()
		return serveStation(ctx, role[1:])
	}
	defer stack.KeepHeapFloor()()
	config := telemetry.Config{Role: role[0]}
	if role[0] == "execution" {
		if err := trace(&config, role[2], role[4]); err != nil {
			return err
		}
	}
	t, err := telemetry.New(ctx, config)
	if err != nil {
		return err
	}
	var server *stack.Role
	switch role[0] {
	case "memory":
		server, err = stack.NewStorage(stack.Storage{Instances: []string{""}}, t, listener)
	case "disk":
		server, err = stack.NewStorage(stack.Storage{
			Instances: []string{""}, CAS: stack.Store{Path: filepath.Join(role[1], "cas")}, ActionCache: stack.Store{Path: filepath.Join(role[1], "ac")},
		}, t, listener)
	case "execution":
		c := stack.Execution{Instances: []string{""}, Storage: "grpc://" + role[1], OrphanGrace: -1}
		if role[3] == onOff(true) {
			c.Journal.Dir = filepath.Join(role[4], "journal")
		}
		server, err = stack.NewExecution(c, t, listener)
	default:
		err = fmt.Errorf("unknown role %q", role[0])
	}
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return server.Run(ctx)
}

// trace has spans written to a file in a folder, unless tracing is untraced.
func trace(config *telemetry.Config, tracing, dir string) error {
	if tracing == untraced {
		return nil
	}
	file, err := os.Create(filepath.Join(dir, "spans.otlp"))
	if err != nil {
		return err
	}
	config.Spans = otlpfile.NewWriter(file)
	if tracing == sampled {
		config.Sampler, err = telemetry.NewSampler(telemetry.Sampling{Ratio: 1. / sampledBuilds})
	}
	return err
}

// serveFake serves the fake of package fake until ctx is done.
func serveFake(ctx context.Context) error {
	server, err := fake.Start(fake.Config{})
	if err != nil {
		return err
	}
	defer server.Stop()
	fmt.Println(strings.TrimPrefix(server.URL, "grpc://"))
	<-ctx.Done()
	return nil
}

// serveCluster serves a whole cluster of one worker: its folder, the runner, how it is
// traced, the worker's slots and its pool (poolOf).
func serveCluster(ctx context.Context, args []string) error {
	dir, runner, traced := args[0], args[1], args[2] == traced
	slots, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	pool, err := poolOf(args[4])
	if err != nil {
		return err
	}
	defer stack.KeepHeapFloor()()
	var spans *otlpfile.Writer
	if traced {
		file, err := os.Create(filepath.Join(dir, "spans.otlp"))
		if err != nil {
			return err
		}
		defer file.Close()
		spans = otlpfile.NewWriter(file)
	}
	var all []*telemetry.Telemetry
	up, err := stack.NewUp(stack.Cluster{
		Dir: dir, Memory: true, Workers: 1, Slots: slots, Runner: runner, RunnerPool: pool,
		Client: "127.0.0.1:0", Bots: "127.0.0.1:0", Casd: "127.0.0.1:0",
	}, func(role string) (*telemetry.Telemetry, error) {
		t, err := telemetry.New(ctx, telemetry.Config{Role: role, Spans: spans})
		all = append(all, t)
		return t, err
	})
	if err != nil {
		return err
	}
	fmt.Println(up.Client)
	err = up.Run(ctx)
	for _, t := range all {
		// The context has ended by now.
		err = errors.Join(err, t.Shutdown(context.Background()))
	}
	return err
}

// byDefault is the pool of a worker whose configuration doesn't speak of it.
const byDefault = "default"

// poolOf reads how many runner processes a worker may keep.
func poolOf(arg string) (*int, error) {
	if arg == byDefault {
		return nil, nil
	}
	n, err := strconv.Atoi(arg)
	return &n, err
}

// serveFloor serves the floor, with gRPC's default settings and no telemetry.
func serveFloor(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(16 << 20))
	new(floor).Register(server)
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	fmt.Println(listener.Addr())
	return server.Serve(listener)
}

// profile profiles this process until stop is called, into <path>.cpu and
// <path>.allocs.
func profile(path string) (stop func(), err error) {
	cpu, err := os.Create(path + ".cpu")
	if err != nil {
		return nil, err
	}
	allocs, err := os.Create(path + ".allocs")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		cpu.Close()
		runtime.GC() // the profile is as of the last collection
		pprof.Lookup("allocs").WriteTo(allocs, 0)
		allocs.Close()
	}, nil
}

// How builds are traced: none, one of a hundred, all.
const (
	untraced = "no"
	sampled  = "1%"
	traced   = "yes"

	sampledBuilds = 100
)

// server is a server process.
type server struct {
	address string
	pid     int
}

// start starts a server process that ends with the benchmark.
func start(b testing.TB, role ...string) *server {
	b.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), roleVariable+"="+strings.Join(role, " "))
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		if err := command.Wait(); err != nil {
			b.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("%v didn't start: %v", role, err)
	}
	return &server{address: strings.TrimSpace(line), pid: command.Process.Pid}
}

// cpu returns the CPU time a process has used.
func (s *server) cpu(b testing.TB) time.Duration {
	b.Helper()
	// The CPU-time clock of a process (clock_getcpuclockid(3)): to the nanosecond,
	// where /proc/<pid>/stat counts in hundredths of a second.
	const schedClock = 2
	var t unix.Timespec
	if err := unix.ClockGettime(^int32(s.pid)<<3|schedClock, &t); err != nil {
		b.Fatalf("CPU time of process %d: %v", s.pid, err)
	}
	return time.Duration(t.Nano())
}

// treeCPU returns the CPU time that a process and all below it have used, to some
// hundredths of a second for each that lives; those it hasn't waited for are left out.
func (s *server) treeCPU(b testing.TB) time.Duration {
	b.Helper()
	below, err := proctree.Descendants(s.pid)
	if err != nil {
		b.Fatal(err)
	}
	var all time.Duration
	for _, pid := range append(below, s.pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended, and its parent counts it
		}
		// proc(5): behind the program's name in parentheses fields 14 to 17 of all are
		// utime, stime, and those of children that were waited for.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, field := range fields[11:15] {
			ticks, err := strconv.Atoi(field)
			if err != nil {
				b.Fatal(err)
			}
			const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture that Go knows
			all += time.Duration(ticks) * tick
		}
	}
	return all
}

// self is this process, which is client and workers.
var self = &server{pid: os.Getpid()}

// measured is what an operation took.
type measured struct {
	rate float64       // operations a second
	cpu  time.Duration // of the servers and of this process
}

// measure runs f, which does b.N operations, and reports what each cost the servers and
// this process, and their rate.
func measure(b *testing.B, unit string, perOp float64, servers []*server, f func()) measured {
	b.Helper()
	before := make([]time.Duration, len(servers))
	for i, s := range servers {
		before[i] = s.cpu(b)
	}
	client := self.cpu(b)
	b.ResetTimer()
	f()
	b.StopTimer()
	client = self.cpu(b) - client
	var used time.Duration
	for i, s := range servers {
		used += s.cpu(b) - before[i]
	}
	rate := perOp * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, unit)
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "server-µs/op")
	b.ReportMetric(float64(client.Microseconds())/float64(b.N), "client-µs/op")
	return measured{rate, (used + client) / time.Duration(b.N)}
}
