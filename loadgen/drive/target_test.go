package drive_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
)

// mix has calls of all kinds, with blobs for batches and one too large for them.
const mix = `
version: 1
duration: 1s
calls:
  - name: storage
    arrivals: {constant: {rate: 20}}
    stored: {blobs: 20, size: 5k, compressibility: 4}
    mix:
      - {op: find_missing, weight: 1, blobs: 10, present: 50%}
      - {op: batch_read, weight: 1, blobs: 5}
      - {op: read, weight: 1}
      - {op: batch_update, weight: 1, blobs: 3}
      - {op: write, weight: 1}
      - {op: action_result, weight: 1}
`

const few = `
version: 1
duration: 1s
demand:
  arrivals: {burst: 2}
  dag: [{class: a, actions: 3}, {class: b, actions: 1, fan_in: 3}]
  actions:
    - {name: a, duration: 1ms, inputs: {files: 2, size: 5k}, output: 2k}
    - {name: b, duration: 1ms, output: 1k}
  shared: {blobs: 10, size: 5k, compressibility: 4}
  download: all
client: {verify: 1}
`

func check(t *testing.T, what string, r *result.Result) {
	t.Helper()
	if len(r.Errors) > 0 || len(r.Integrity) > 0 || r.Builds.Failed > 0 {
		t.Errorf("%s: errors %+v, violations %+v, %d builds failed", what, r.Errors, r.Integrity, r.Builds.Failed)
	}
}

// TestEachFunctionAgainstAServerThatTakesNoOther: every request names the function, all
// digests are by it, and what is read is checked by it: the server refuses others.
func TestEachFunctionAgainstAServerThatTakesNoOther(t *testing.T) {
	for _, f := range digest.Funcs() {
		t.Run(f.String(), func(t *testing.T) {
			s := server(t, fake.Config{Functions: []digest.Func{f}})
			for _, named := range []string{"auto", strings.ToLower(f.String())} {
				client := "\nclient: {digest_function: " + named + "}\n"
				r := run(t, parse(t, mix+client), s.URL)
				check(t, "calls", r)
				if n, failed := calls(r, "/BatchReadBlobs", ""); n == 0 || failed > 0 {
					t.Errorf("%d reads, %d failed", n, failed)
				}
			}
			r := run(t, parse(t, strings.Replace(few, "verify: 1", "verify: 1, digest_function: "+f.String(), 1)), s.URL)
			check(t, "builds", r)
			if got := count(r, result.Executed); got != 8 {
				t.Errorf("%d actions executed, want 8", got)
			}
			corrupt := server(t, fake.Config{Functions: []digest.Func{f}, Faults: map[fake.Fault]float64{fake.Corrupt: 1}})
			if r := run(t, parse(t, mix), corrupt.URL); violations(r, "corrupt_blob") == 0 {
				t.Errorf("a server that changes blobs isn't noticed: %+v", r.Integrity)
			}
		})
	}
}

func TestFunctionThatTheTargetLacks(t *testing.T) {
	for _, test := range []struct{ wanted, want string }{
		{"SHA256", "it doesn't take digest function SHA256, only [BLAKE3 SHA512]"},
		{"MD5", "it doesn't take digest function MD5"},
	} {
		s := server(t, fake.Config{Functions: []digest.Func{digest.BLAKE3, digest.SHA512}})
		_, err := drive.Run(t.Context(), drive.Config{
			Scenario: parse(t, mix+"\nclient: {digest_function: "+test.wanted+"}\n"), Run: "test", Remote: remote.Config{URL: s.URL},
		})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.wanted, err, test.want)
		}
	}
}

// TestOurClusterStoresByBLAKE3AndExecutesBySHA256 goes through the proxy.
func TestOurClusterStoresByBLAKE3AndExecutesBySHA256(t *testing.T) {
	cluster := clustertest.Start(t, stack.Cluster{Workers: 1, Slots: 4, Runner: stack.InternalSleep})
	url := "grpc://" + cluster.Up.Client
	r := run(t, parse(t, mix+"\nclient: {digest_function: BLAKE3}\n"), url)
	check(t, "calls", r)
	if got := r.Run.Server["digestFunctions"]; got != "[SHA256 BLAKE3]" {
		t.Errorf("it announces %s", got)
	}
	client, err := remote.Dial(remote.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// Blobs of the mix are there by the name that it gave them, and by no other.
	stored := parse(t, mix).Calls[0].StoredBlob(1, 0)
	for f, want := range map[digest.Func]int{digest.BLAKE3: 0, digest.SHA256: 1} {
		missing, err := client.Missing(t.Context(), []digest.Digest{drive.DigestOf(f, stored)}, nil)
		if err != nil || len(missing) != want {
			t.Errorf("%v: missing %v, error %v, want %d", f, missing, err, want)
		}
	}
	check(t, "builds", run(t, parse(t, few), url))
	_, err = drive.Run(t.Context(), drive.Config{
		Scenario: parse(t, strings.Replace(few, "verify: 1", "digest_function: BLAKE3", 1)), Run: "test", Remote: remote.Config{URL: url},
	})
	if err == nil || !strings.Contains(err.Error(), "it doesn't take digest function BLAKE3 for actions, only [SHA256]; blobs it takes by that: a scenario without builds, such as cas-mix") {
		t.Errorf("builds by BLAKE3: error %v", err)
	}
}

// TestCompressionTravels: with it blobs go as zstd both ways, and are checked; without it
// none does, whatever the server could do, and none to a server that can't do it, which
// refuses them.
func TestCompressionTravels(t *testing.T) {
	for _, test := range []struct {
		compression   string
		offered, want bool
	}{{"zstd", true, true}, {"none", true, false}, {"zstd", false, false}} {
		for name, text := range map[string]string{"calls": mix + "\nclient: {}\n", "builds": few} {
			s := server(t, fake.Config{Compression: test.offered, Functions: []digest.Func{digest.SHA256, digest.BLAKE3}})
			r := run(t, parse(t, strings.Replace(text, "client: {", "client: {compression: "+test.compression+", ", 1)), s.URL)
			check(t, name, r)
			if got := s.Compressed(); (got > 0) != test.want {
				t.Errorf("%s, compression %s, offered %v: %d blobs travelled compressed", name, test.compression, test.offered, got)
			}
		}
	}
}

// TestInstanceOfADemand: a cluster that serves team/a only answers to nothing else.
func TestInstanceOfADemand(t *testing.T) {
	cluster := clustertest.Start(t, stack.Cluster{Workers: 1, Slots: 4, Runner: stack.InternalSleep, Instance: "team/a"})
	url := "grpc://" + cluster.Up.Client
	r := run(t, parse(t, strings.Replace(few, "demand:", "demand:\n  instance: team/a", 1)), url)
	check(t, "builds", r)
	if got := count(r, result.Executed); got != 8 {
		t.Errorf("%d actions executed, want 8", got)
	}
	for _, instance := range []string{"", "team/b"} {
		text := strings.Replace(few, "demand:", "demand:\n  instance: \""+instance+"\"", 1)
		_, err := drive.Run(t.Context(), drive.Config{Scenario: parse(t, text), Run: "test", Remote: remote.Config{URL: url, RetryDelay: time.Millisecond}})
		if err == nil {
			t.Errorf("instance %q: no error", instance)
		}
	}
}

// perInstance announces other capabilities for each instance, and has nothing else.
type perInstance struct {
	repb.UnimplementedCapabilitiesServer
	of map[string]*repb.ServerCapabilities
}

func (p perInstance) GetCapabilities(_ context.Context, r *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	return p.of[r.InstanceName], nil
}

// TestOnlyInstancesWithBuildsMustExecuteByTheFunction: one that is asked for calls may
// execute by another, or not at all.
func TestOnlyInstancesWithBuildsMustExecuteByTheFunction(t *testing.T) {
	announce := func(stores, executes repb.DigestFunction_Value, enabled bool) *repb.ServerCapabilities {
		return &repb.ServerCapabilities{
			CacheCapabilities:     &repb.CacheCapabilities{DigestFunctions: []repb.DigestFunction_Value{stores}},
			ExecutionCapabilities: &repb.ExecutionCapabilities{DigestFunction: executes, ExecEnabled: enabled},
		}
	}
	const blake3, sha256 = repb.DigestFunction_BLAKE3, repb.DigestFunction_SHA256
	for name, test := range map[string]struct {
		calls, builds *repb.ServerCapabilities
		want          string // error; what comes after the function is chosen isn't there
	}{
		"of calls it executes nothing":     {announce(blake3, sha256, false), announce(blake3, blake3, true), "Unimplemented"},
		"of calls it executes by another":  {announce(blake3, sha256, true), announce(blake3, blake3, true), "Unimplemented"},
		"of builds it executes by another": {announce(blake3, sha256, true), announce(blake3, sha256, true), "it stores by the digest functions [BLAKE3] only, and executes by [SHA256] only"},
		"the two store by other functions": {announce(sha256, sha256, true), announce(blake3, blake3, true), "different digest functions, SHA256 and BLAKE3"},
		"of builds it executes nothing":    {announce(blake3, blake3, true), announce(blake3, blake3, false), "executes nothing"},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		repb.RegisterCapabilitiesServer(s, perInstance{of: map[string]*repb.ServerCapabilities{"": test.calls, "team/a": test.builds}})
		go func() { _ = s.Serve(listener) }()
		text := strings.Replace(few, "demand:", "demand:\n  instance: team/a", 1) + strings.Replace(mix, "\nversion: 1\nduration: 1s", "", 1)
		_, err = drive.Run(t.Context(), drive.Config{Scenario: parse(t, text), Run: "test", Remote: remote.Config{URL: "grpc://" + listener.Addr().String()}})
		s.Stop()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}
