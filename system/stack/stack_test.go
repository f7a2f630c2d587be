package stack_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSize(t *testing.T) {
	for text, want := range map[string]stack.Size{"0": 0, "17": 17, "4K": 4 << 10, "10M": 10 << 20, "3G": 3 << 30, "2T": 2 << 40, "5GB": 5 << 30} {
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

func TestDecodeNamesUnknownKeys(t *testing.T) {
	var s stack.Storage
	err := stack.Decode([]byte("instances: [a]\ncas:\n  pth: /tmp\n"), &s)
	if err == nil || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "pth") {
		t.Errorf("got %v, want an error with line and key", err)
	}
	if err := stack.Decode([]byte("instances: [a]\ncas: {path: /x, quota: 10G}\n"), &s); err != nil || s.CAS.Quota != 10<<30 {
		t.Errorf("got %+v, %v", s, err)
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
