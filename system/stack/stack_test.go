package stack_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSize(t *testing.T) {
	for text, want := range map[string]stack.Size{"0": 0, "17": 17, "4Ki": 4 << 10, "10M": 10e6, "3G": 3e9, "2Ti": 2 << 40, "5GB": 5e9, "5GiB": 5 << 30} {
		var got stack.Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "K", "-1", "1.5G", "1Q", "99999999999T"} {
		var got stack.Size
		if err := got.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %d, %v, want an error that names it", text, got, err)
		}
	}
}

func TestMark(t *testing.T) {
	for _, text := range []string{"0%", "101%", "-1%", "half%", "%", "1.5G"} {
		var got stack.Mark
		if err := got.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: got %v, %v, want an error that names it", text, got, err)
		}
	}
	var c stack.Casd
	if err := stack.Decode([]byte("quota: 10G\nquota_low: 80%\nreserved: 2G\nprotect_session_blobs: true\n"), &c); err != nil {
		t.Fatal(err)
	}
	if got := stack.MarkBytes(c.QuotaLow, c.Quota); got != 8e9 {
		t.Errorf("80%% of 10G: got %d, want 8e9", got)
	}
	if err := stack.Decode([]byte("quota_low: 3G"), &c); err != nil || stack.MarkBytes(c.QuotaLow, c.Quota) != 3e9 {
		t.Errorf("3G: got %d, %v", stack.MarkBytes(c.QuotaLow, c.Quota), err)
	}
}

func TestMinThroughputIsASize(t *testing.T) {
	var r stack.Remote
	if err := stack.Decode([]byte("url: grpc://a\nmin_throughput: 1M"), &r); err != nil || r.MinThroughput != 1e6 {
		t.Errorf("got %d, %v", r.MinThroughput, err)
	}
	if got := stack.RemoteOf(remote.Config{MinThroughput: 17}).MinThroughput; got != 17 {
		t.Errorf("of an option: got %d, want 17", got)
	}
}

func TestDecodeNamesUnknownKeys(t *testing.T) {
	var s stack.Storage
	err := stack.Decode([]byte("instances: [a]\ncas:\n  pth: /tmp\n"), &s)
	if err == nil || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "pth") {
		t.Errorf("got %v, want an error with line and key", err)
	}
	if err := stack.Decode([]byte("instances: [a]\ncas: {path: /x, quota: 10G}\n"), &s); err != nil || s.CAS.Quota != 10e9 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestPatience(t *testing.T) {
	for text, want := range map[string]stack.Patience{"0": 0, "90s": stack.Patience(90 * time.Second), "immediately": -1} {
		var got stack.Patience
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	var got stack.Patience
	if err := got.UnmarshalText([]byte("never")); err != nil || time.Duration(got) < 50*365*24*time.Hour {
		t.Errorf("never: got %v, %v", time.Duration(got), err)
	}
	if err := got.UnmarshalText([]byte("soon")); err == nil || !strings.Contains(err.Error(), "soon") || !strings.Contains(err.Error(), "immediately") {
		t.Errorf("soon: got %v, want an error with it and what is possible", err)
	}
}

// All that is wrong with a scheduler's configuration is told at once.
func TestExecutionSaysWhatIsWrong(t *testing.T) {
	const fine = "instances: [a]\nstorage: grpc://127.0.0.1:1\n"
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"nothing": {`policy: fair
tenant: principal
weights: {anna: 3}
max_queued: 1000
back_off: 1s
max_back_off: 10s
no_worker_timeout: immediately
sizes: {key: size, classes: [small, large], percent: 120, kinds: 1000, rerun: failed}
platform: {ignore: [note], unknown_keys: refuse, known_keys: [gpu], defaults: {OSFamily: linux}}`, nil},
		"sizes": {`sizes: {key: size, classes: [s, "*", s], percent: 50, kinds: -1}
platform: {defaults: {size: s}}`, []string{`"*" can't be a class`, `"s" can't be a class`, "50 percent", "-1 kinds", `key "size" is ignored or has a default`}},
		"no classes": {"sizes: {key: size}", []string{"both the key of a property and its classes"}},
		"rerun":      {"sizes: {rerun: always}", []string{`"always"`, "killed, failed, never"}},
		"words":      {"tenant: user", []string{`"user"`, "an instance or a principal"}},
		"keys":       {"platform: {unknown_keys: drop}", []string{`"drop"`, "match, ignore, refuse"}},
		"patience":   {"no_worker_timeout: soon", []string{`"soon"`}},
		"tenants":    {"policy: priority\nweights: {b: 0, c: 2}", []string{"the policy priority doesn't share", "b has 0", `"c" isn't served`}},
		"numbers":    {"back_off: 2m\nmax_queued: -1\nmax_attempts: -1", []string{"back-off of 2m0s", "queued actions of a tenant", "number of attempts"}},
		"no list":    {"platform: {unknown_keys: refuse}", []string{"refuse them"}},
		"overlap":    {"platform: {ignore: [x], known_keys: [x], unknown_keys: ignore}", []string{`key "x" is ignored, and known`}},
	} {
		t.Run(name, func(t *testing.T) {
			tel, err := record(t)("execution-server")
			if err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			var c stack.Execution
			if err = stack.Decode([]byte(fine+test.text), &c); err == nil {
				var role *stack.Role
				if role, err = stack.NewExecution(c, tel, listener); err == nil {
					ended, end := context.WithCancel(t.Context())
					end()
					err = role.Run(ended)
				}
			}
			if (err == nil) != (test.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to say %q", err, want)
				}
			}
		})
	}
}

func record(t *testing.T) func(role string) (*telemetry.Telemetry, error) {
	return func(role string) (*telemetry.Telemetry, error) {
		tel, err := telemetry.New(t.Context(), telemetry.Config{Role: role})
		if err == nil {
			t.Cleanup(func() { tel.Shutdown(context.Background()) })
		}
		return tel, err
	}
}

func cluster(t *testing.T) stack.Cluster {
	return stack.Cluster{Dir: t.TempDir(), Memory: true, NoFUSE: true, Client: "127.0.0.1:0", Bots: "127.0.0.1:0", Casd: "127.0.0.1:0"}
}

// A cluster without workers serves its storage through the proxy, and ends when
// it is told to.
func TestUpServesAndEnds(t *testing.T) {
	up, err := stack.NewUp(cluster(t), record(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- up.Run(ctx) }()
	if err := up.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	client, err := remote.Dial(remote.Config{URL: "grpc://" + up.Client})
	if err != nil {
		t.Fatal(err)
	}
	capabilities, err := client.Capabilities(ctx)
	if err != nil || !capabilities.GetExecutionCapabilities().GetExecEnabled() || capabilities.GetCacheCapabilities() == nil || capabilities.GetLowApiVersion().GetMinor() != 0 {
		t.Errorf("got %v, %v, want those of storage and execution in one", capabilities, err)
	}
	client.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestUpSaysWhichAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := cluster(t)
	c.Bots = taken.Addr().String()
	_, err = stack.NewUp(c, record(t))
	if err == nil || !strings.Contains(err.Error(), "proxy-server for workers") || !strings.Contains(err.Error(), c.Bots) {
		t.Errorf("got %v, want an error that names the role and the address", err)
	}
}

func TestFindRunner(t *testing.T) {
	if got, err := stack.FindRunner("/a/b"); err != nil || got != "/a/b" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := stack.FindRunner("no-such-runner"); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}
