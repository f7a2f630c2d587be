package stack_test

import (
	"context"
	"net"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// runCasd runs a casd until the test ends.
func runCasd(t *testing.T, config string) *grpc.ClientConn {
	t.Helper()
	var c stack.Casd
	if err := stack.Decode([]byte(config), &c); err != nil {
		t.Fatal(err)
	}
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tel, err := telemetry.New(t.Context(), telemetry.Config{Role: "casd"})
	if err != nil {
		t.Fatal(err)
	}
	role, err := stack.NewCasd(c, tel, listener)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- role.Run(ctx) }()
	conn, err := grpc.NewClient(role.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// TestCasdBehindCasd has a casd for the remote of another: what instances lead
// where shows in where a blob is then.
func TestCasdBehindCasd(t *testing.T) {
	far := runCasd(t, "instance: far\nlocal_instances: [other]\ncache_failures: false")
	address := "grpc://" + far.Target()
	near := runCasd(t, `instance: near
cas: {url: "`+address+`", instance: far}
action_cache: {url: "`+address+`", instance: far}
proxy_instances: {mapped: other}
local_instances: [alone]`)
	action := digest.Of([]byte("action"))
	ask := func(conn *grpc.ClientConn, instance string) error {
		_, err := repb.NewActionCacheClient(conn).GetActionResult(t.Context(), &repb.GetActionResultRequest{InstanceName: instance, ActionDigest: action.Proto()})
		return err
	}
	update := func(instance string, exit int32) {
		t.Helper()
		_, err := repb.NewActionCacheClient(near).UpdateActionResult(t.Context(), &repb.UpdateActionResultRequest{
			InstanceName: instance, ActionDigest: action.Proto(), ActionResult: &repb.ActionResult{ExitCode: exit, StdoutRaw: []byte("x")},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	update("near", 1)
	if err := ask(far, "far"); status.Code(err) != codes.NotFound {
		t.Errorf("a failure at a casd that keeps none: got %v, want NOT_FOUND", err)
	}
	update("mapped", 0)
	for instance, want := range map[string]codes.Code{"far": codes.NotFound, "other": codes.OK} {
		if err := ask(far, instance); status.Code(err) != want {
			t.Errorf("in %q of the remote: got %v, want %v", instance, err, want)
		}
	}
	for instance, want := range map[string]codes.Code{"near": codes.NotFound, "mapped": codes.OK, "alone": codes.NotFound} {
		if err := ask(near, instance); status.Code(err) != want {
			t.Errorf("in %q: got %v, want %v", instance, err, want)
		}
	}
}

func TestCasdSaysWhatIsWrong(t *testing.T) {
	for config, want := range map[string]string{
		"dir: x\nproxy_instances: {\"\": far}":              `proxy_instances: there are two instances ""`,
		"dir: x\nlocal_instances: [a, a]":                   `local_instances: there are two instances "a"`,
		"dir: x\nexecution: {url: nowhere}":                 `execution: remote "nowhere"`,
		"dir: x\nquota: 1G\nquota_low: 2G":                  "low mark of 2000000000 bytes is above the quota",
		"dir: x\nlocal_instances: [a/../b]":                 "a/../b",
		"dir: x\ncas: {url: \"grpc://a\", instance: \"/\"}": "cas: ",
	} {
		var c stack.Casd
		if err := stack.Decode([]byte(config), &c); err != nil {
			t.Fatal(err)
		}
		tel, err := telemetry.New(t.Context(), telemetry.Config{Role: "casd"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stack.NewCasd(c, tel, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want that it tells of %q", config, err, want)
		}
		if err := tel.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
}
