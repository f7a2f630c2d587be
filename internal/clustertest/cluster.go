// Package clustertest starts a whole cluster in one process, for tests of what a
// cluster does and of what it leaves behind: all roles over loopback, real
// runners, spans kept in memory.
//
//	c := clustertest.Start(t, stack.Cluster{Workers: 1, Slots: 1})
//	client := c.Dial(c.Recorder("client"))
//	action, blobs := clustertest.Action{Script: "echo hello"}.Blobs(t)
//	… client.WriteBlobs, client.Execute …
//	for _, spans := range c.End() { … }
//
// A [Bot] is a worker that does what the test says, beside or instead of real
// ones: what a worker does wrong, and when, can't be provoked in a good one.
package clustertest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/otlpfile"
)

// A Cluster is all roles in one process, recording into memory. Its methods are
// for the test's own goroutine.
type Cluster struct {
	// Up is the cluster, which runs.
	Up *stack.Up

	t        testing.TB
	instance string
	roles    map[string]*telemetry.Telemetry
	order    []*telemetry.Telemetry
	spans    *otlpfile.Writer
	file     bytes.Buffer // what spans writes
	stop     func()
}

// Start starts a cluster, which ends with the test if not before. It keeps its
// blobs in memory; where it listens, what its folder is and, if there are
// workers and it names none, the runner, are set here.
func Start(t testing.TB, config stack.Cluster) *Cluster {
	t.Helper()
	// Attributes that are the machine's wouldn't be the cluster's.
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "")
	config.Dir, config.Memory = t.TempDir(), true
	config.Client, config.Bots, config.Casd = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	if config.Workers > 0 && config.Runner == "" {
		config.Runner = Program(t, stack.DefaultRunner)
	}
	c := &Cluster{t: t, instance: config.Instance, roles: make(map[string]*telemetry.Telemetry)}
	c.spans = otlpfile.NewWriter(&c.file)
	var err error
	if c.Up, err = stack.NewUp(config, c.record); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := c.Up.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	c.stop = sync.OnceFunc(func() {
		cancel()
		run.Wait()
		for _, role := range c.order {
			if err := role.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(c.stop)
	if err := c.Up.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Cluster) record(role string) (*telemetry.Telemetry, error) {
	t, err := telemetry.New(c.t.Context(), telemetry.Config{Role: role, Spans: c.spans})
	if err == nil {
		c.roles[role] = t
		c.order = append(c.order, t)
	}
	return t, err
}

// Recorder returns what a role records with. One that isn't the cluster's is
// made, for a client: its spans are among the cluster's.
func (c *Cluster) Recorder(role string) *telemetry.Telemetry {
	c.t.Helper()
	if c.roles[role] == nil {
		if _, err := c.record(role); err != nil {
			c.t.Fatal(err)
		}
	}
	return c.roles[role]
}

// Dial returns a client of the cluster, whose calls are recorded with recorder.
func (c *Cluster) Dial(recorder *telemetry.Telemetry) *remote.Client {
	c.t.Helper()
	client, err := remote.Dial(remote.Config{URL: "grpc://" + c.Up.Client, Instance: c.instance}, grpc.WithStatsHandler(recorder.ClientHandler()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

// Metrics returns what all roles, and clients, would show at /metrics now.
func (c *Cluster) Metrics() []*dto.MetricFamily {
	c.t.Helper()
	var all []*dto.MetricFamily
	for _, role := range c.order {
		families, err := role.Registry.Gather()
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, families...)
	}
	return all
}

// End stops the cluster and returns all its spans, clients' too.
func (c *Cluster) End() []*tracepb.ResourceSpans {
	c.t.Helper()
	c.stop()
	var all []*tracepb.ResourceSpans
	for spans, err := range otlpfile.Read(bytes.NewReader(c.file.Bytes())) {
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, spans)
	}
	return all
}

// Program builds one of the module's programs and returns its path.
func Program(t testing.TB, name string) string {
	t.Helper()
	main := filepath.Join(root(t), "cmd", name)
	// go test repeats a success from its cache unless a file has changed that it
	// has seen the test read; what the compiler reads it doesn't see.
	sources, err := filepath.Glob(filepath.Join(main, "*.go"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("%s has no sources (%v)", main, err)
	}
	for _, source := range sources {
		if _, err := os.ReadFile(source); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), name)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".")
	build.Dir = main
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", main, err, out)
	}
	return path
}

// root returns the folder of the module that the test is in.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test is in no module")
		}
	}
}
