package remote_test

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/remote"
)

func TestValidateAccepts(t *testing.T) {
	for _, c := range []remote.Config{
		{URL: "grpc://host"},
		{URL: "grpc://host:8980"},
		{URL: "http://host.example:8980/"},
		{URL: "grpcs://host", Instance: "a/b", AccessToken: "file"},
		{URL: "https://host:443", ServerCert: "ca", ClientCert: "cert", ClientKey: "key"},
		{URL: "grpc://127.0.0.1:8980", AccessToken: "file"},
		{URL: "grpc://127.1.2.3", AccessToken: "file"},
		{URL: "grpc://localhost:8980", AccessToken: "file"},
		{URL: "grpc://[::1]:8980", AccessToken: "file"},
		{URL: "grpc://[::1]", AccessToken: "file"},
		{URL: "grpc://[2001:db8::1]:65535"},
		{URL: "unix:/run/casd.sock", AccessToken: "file"},
		{URL: "unix:///run/casd.sock"},
		{URL: "unix:casd.sock"},
		{URL: "grpcs://host", GoogleAuth: true},
		{URL: "grpcs://host", CredentialHelper: "helper"},
		{URL: "grpc://localhost", CredentialHelper: "helper"},
	} {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	for _, c := range []struct {
		config   remote.Config
		problems []string
	}{
		{remote.Config{}, []string{`remote "": want grpc://`}},
		{remote.Config{URL: "host:8980"}, []string{"want grpc://"}},
		{remote.Config{URL: "grpc://"}, []string{"want grpc://"}},
		{remote.Config{URL: "grpc:///"}, []string{"want grpc://"}},
		{remote.Config{URL: "grpc://host/path"}, []string{"want grpc://"}},
		{remote.Config{URL: "grpc://host?x=1"}, []string{"want grpc://"}},
		{remote.Config{URL: "grpc://user:secret@host"}, []string{"want grpc://"}},
		{remote.Config{URL: "unix:"}, []string{"want grpc://"}},
		{remote.Config{URL: "ftp://host"}, []string{`unknown scheme "ftp"`}},
		{remote.Config{URL: "GRPC://host"}, []string{`unknown scheme "GRPC"`}},
		{remote.Config{URL: "grpc://:8980"}, []string{"want a host and a port"}},
		{remote.Config{URL: "grpc://host:"}, []string{"want a host and a port"}},
		{remote.Config{URL: "grpc://host:0"}, []string{"want a host and a port"}},
		{remote.Config{URL: "grpc://host:65536"}, []string{"want a host and a port"}},
		{remote.Config{URL: "grpc://host:http"}, []string{"want a host and a port"}},
		{remote.Config{URL: "grpc://host", Instance: "a/../b"}, []string{"malformed instance name"}},
		{remote.Config{URL: "grpcs://host", ClientKey: "key"}, []string{"come together"}},
		{remote.Config{URL: "grpcs://host", ClientCert: "cert"}, []string{"come together"}},
		{remote.Config{URL: "grpc://host", ServerCert: "ca"}, []string{"certificates need grpcs://"}},
		{remote.Config{URL: "unix:/s", ClientCert: "cert", ClientKey: "key"}, []string{"certificates need grpcs://"}},
		{remote.Config{URL: "grpc://host", AccessToken: "file"}, []string{"leaves this machine only over grpcs://"}},
		{remote.Config{URL: "grpc://128.0.0.1", AccessToken: "file"}, []string{"leaves this machine only"}},
		{remote.Config{URL: "grpc://localhost.evil.example", AccessToken: "file"}, []string{"leaves this machine only"}},
		{remote.Config{URL: "http://127.0.0.1.evil.example", AccessToken: "file"}, []string{"leaves this machine only"}},
		{remote.Config{URL: "grpc://host", CredentialHelper: "helper"}, []string{"leaves this machine only"}},
		{remote.Config{URL: "grpc://localhost", GoogleAuth: true}, []string{"credentials need grpcs://"}},
		{remote.Config{URL: "grpcs://host", GoogleAuth: true, AccessToken: "file"}, []string{"exclude each other"}},
		{remote.Config{URL: "grpcs://host", CredentialHelper: "helper", AccessToken: "file"}, []string{"exclude each other"}},
		// All problems at once.
		{remote.Config{URL: "http://host", Instance: "/", ClientKey: "key", AccessToken: "file"},
			[]string{"malformed instance name", "come together", "certificates need", "leaves this machine only"}},
	} {
		err := c.config.Validate()
		if err == nil {
			t.Errorf("%+v passed", c.config)
			continue
		}
		if got := strings.Split(err.Error(), "\n"); len(got) != len(c.problems) {
			t.Errorf("%+v: %d problems, want %d: %q", c.config, len(got), len(c.problems), got)
		}
		for _, problem := range c.problems {
			if !strings.Contains(err.Error(), problem) {
				t.Errorf("%+v: %v, want also %q", c.config, err, problem)
			}
		}
		if client, dialErr := remote.Dial(c.config); client != nil || dialErr == nil || dialErr.Error() != err.Error() {
			t.Errorf("%+v: Dial's error is %v, want Validate's", c.config, dialErr)
		}
	}
}

// gRPC refuses service configs with durations it can't read or that are zero.
func TestDialTakesEveryRetrySetting(t *testing.T) {
	for _, limit := range []int{math.MinInt, -1, 0, 1, 4, 5, math.MaxInt} {
		for _, delay := range []time.Duration{-time.Second, 0, 1, time.Microsecond, time.Second, 1000 * time.Hour} {
			for _, timeout := range []time.Duration{-1, 0, 1, time.Hour} {
				client, err := remote.Dial(remote.Config{URL: "grpc://127.0.0.1:1", RetryLimit: limit, RetryDelay: delay, RequestTimeout: timeout, Keepalive: delay})
				if err != nil {
					t.Fatalf("limit %d, delay %v, timeout %v: %v", limit, delay, timeout, err)
				}
				client.Close()
			}
		}
	}
}

// refusing is a server that answers every method with code, and remembers what
// came with the calls.
type refusing struct {
	calls
	code      codes.Code
	deadlines map[string]time.Duration // how long the method's calls may take; 0: as long as they like
	headers   []metadata.MD
}

func (r *refusing) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	r.add(method)
	r.mu.Lock()
	defer r.mu.Unlock()
	var left time.Duration
	if deadline, ok := stream.Context().Deadline(); ok {
		left = time.Until(deadline)
	}
	r.deadlines[method[strings.LastIndexByte(method, '/')+1:]] = left
	header, _ := metadata.FromIncomingContext(stream.Context())
	r.headers = append(r.headers, header)
	return status.Error(r.code, "refused")
}

func newRefusing(t *testing.T, code codes.Code, options ...grpc.ServerOption) (*refusing, string) {
	r := &refusing{code: code, deadlines: make(map[string]time.Duration)}
	return r, serve(t, func(*grpc.Server) {}, append(options, grpc.UnknownServiceHandler(r.handle))...)
}

// callAll calls one method of each kind; all are refused.
func callAll(t *testing.T, client *remote.Client) {
	t.Helper()
	d := digest.Of([]byte("x"))
	botsClient := bots.NewBotsClient(client.Conn())
	for method, call := range map[string]func() error{
		"FindMissingBlobs": func() error { _, err := client.Missing(t.Context(), []digest.Digest{d}, nil); return err },
		"GetActionResult":  func() error { _, err := client.ActionResult(t.Context(), d); return err },
		"Read":             func() error { _, err := client.Open(t.Context(), d, 0); return err },
		"QueryWriteStatus": func() error {
			_, err := bspb.NewByteStreamClient(client.Conn()).QueryWriteStatus(t.Context(), &bspb.QueryWriteStatusRequest{})
			return err
		},
		"Execute": func() error { _, err := client.Execute(t.Context(), &repb.ExecuteRequest{}, nil); return err },
		"WaitExecution": func() error {
			stream, err := repb.NewExecutionClient(client.Conn()).WaitExecution(t.Context(), &repb.WaitExecutionRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"UpdateBotSession": func() error {
			_, err := botsClient.UpdateBotSession(t.Context(), &bots.UpdateBotSessionRequest{})
			return err
		},
	} {
		if err := call(); err == nil {
			t.Errorf("%s: no error", method)
		}
	}
}

func TestUnavailableIsRetriedWhereThatIsSafe(t *testing.T) {
	for _, c := range []struct{ limit, attempts int }{{0, 5}, {-1, 1}, {1, 2}, {4, 5}, {100, 5}} {
		server, address := newRefusing(t, codes.Unavailable)
		callAll(t, dialConfig(t, remote.Config{URL: "grpc://" + address, RetryLimit: c.limit, RetryDelay: time.Microsecond}))
		for method, got := range server.all() {
			want := c.attempts
			if method == "Execute" || method == "UpdateBotSession" {
				want = 1
			}
			if got != want {
				t.Errorf("limit %d: %d attempts at %s, want %d", c.limit, got, method, want)
			}
		}
		if got := len(server.all()); got != 7 {
			t.Errorf("%d methods were called, want 7", got)
		}
	}
}

func TestOtherErrorsAreNotRetried(t *testing.T) {
	for _, code := range []codes.Code{codes.Internal, codes.ResourceExhausted, codes.Aborted, codes.DeadlineExceeded, codes.NotFound} {
		server, address := newRefusing(t, code)
		callAll(t, dialConfig(t, remote.Config{URL: "grpc://" + address, RetryDelay: time.Microsecond}))
		for method, got := range server.all() {
			if got != 1 {
				t.Errorf("%v: %d attempts at %s, want 1", code, got, method)
			}
		}
	}
}

func TestRequestTimeoutBoundsShortCallsOnly(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Hour} {
		server, address := newRefusing(t, codes.Internal)
		callAll(t, dialConfig(t, remote.Config{URL: "grpc://" + address, RequestTimeout: timeout}))
		for method, got := range server.deadlines {
			want := timeout > 0 && (method == "FindMissingBlobs" || method == "GetActionResult")
			if got > 0 != want {
				t.Errorf("timeout %v: %s has a deadline of %v, want one: %v", timeout, method, got, want)
			}
		}
	}
}

// The expected times are those of BuildBox's casd of 2026, seen by a server it called.
func TestMinThroughputBoundsStreams(t *testing.T) {
	const size = 5 << 20 // too much for a batch
	for _, c := range []struct {
		timeout       time.Duration
		minThroughput int64
		want          time.Duration
	}{
		{20 * time.Second, 1e6, 20*time.Second + 5243*time.Millisecond},
		{20 * time.Second, 0, 0},
		{0, 1e6, 0},
		{20 * time.Second, 1, 20*time.Second + size*time.Second},
	} {
		server, address := newRefusing(t, codes.Internal)
		client := dialConfig(t, remote.Config{URL: "grpc://" + address, RequestTimeout: c.timeout, MinThroughput: c.minThroughput}).ForInstance("other")
		data := make([]byte, size)
		d := digest.Of(data)
		if _, err := client.Open(t.Context(), d, 0); err == nil {
			t.Fatal("the server's refusal was not seen")
		}
		writer, err := client.Create(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(writer.Append(data), writer.Commit()); err == nil {
			t.Fatal("the server's refusal was not seen")
		}
		if err := client.WriteBlob(t.Context(), d, data); err == nil {
			t.Fatal("the server's refusal was not seen")
		}
		for _, method := range []string{"Read", "Write"} {
			if got := server.deadlines[method]; got > c.want || got < c.want-10*time.Second {
				t.Errorf("%v at %d bytes/s: %s may take %v, want %v", c.timeout, c.minThroughput, method, got, c.want)
			}
		}
	}
}

func TestUnixSocket(t *testing.T) {
	// Not t.TempDir: the path of a socket has 107 bytes at most.
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &refusing{code: codes.Internal, deadlines: make(map[string]time.Duration)}
	serveOn(t, listener, func(*grpc.Server) {}, grpc.UnknownServiceHandler(server.handle))
	token := writeFile(t, "token", []byte("secret"))
	client := dialConfig(t, remote.Config{URL: "unix:" + path, AccessToken: token})
	if _, err := client.Capabilities(t.Context()); status.Code(err) != codes.Internal {
		t.Errorf("error %v, want the server's INTERNAL", err)
	}
	if got := server.headers[0].Get("authorization"); len(got) != 1 || got[0] != "Bearer secret" {
		t.Errorf("authorization %q", got)
	}
}

func TestTokenIsReadAgainWhenItIsOld(t *testing.T) {
	for _, c := range []struct {
		reload time.Duration
		want   []string
	}{
		{0, []string{"Bearer one", "Bearer one", "Bearer one", "Bearer one"}},
		{time.Hour, []string{"Bearer one", "Bearer one", "Bearer one", "Bearer one"}},
		// An empty or lost file leaves the last token in force.
		{1, []string{"Bearer one", "Bearer two", "Bearer two", "Bearer two"}},
	} {
		server, address := newRefusing(t, codes.Internal)
		token := writeFile(t, "token", []byte(" one\n"))
		client := dialConfig(t, remote.Config{URL: "grpc://" + address, AccessToken: token, TokenReload: c.reload})
		for _, change := range []func() error{
			func() error { return nil },
			func() error { return os.WriteFile(token, []byte("two\n"), 0o600) },
			func() error { return os.WriteFile(token, nil, 0o600) },
			func() error { return os.Remove(token) },
		} {
			if err := change(); err != nil {
				t.Fatal(err)
			}
			client.Capabilities(t.Context())
		}
		if len(server.headers) != len(c.want) {
			t.Fatalf("reload %v: %d calls arrived, want %d", c.reload, len(server.headers), len(c.want))
		}
		for i, header := range server.headers {
			if got := header.Get("authorization"); len(got) != 1 || got[0] != c.want[i] {
				t.Errorf("reload %v: call %d has authorization %q, want %q", c.reload, i, got, c.want[i])
			}
		}
	}
}

func TestDialNeedsItsFiles(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	empty := writeFile(t, "empty", nil)
	for _, c := range []struct {
		config remote.Config
		text   string
		is     error
	}{
		{remote.Config{URL: "grpc://127.0.0.1:1", AccessToken: none}, "access token: ", os.ErrNotExist},
		{remote.Config{URL: "grpc://127.0.0.1:1", AccessToken: empty}, "the file is empty", nil},
		{remote.Config{URL: "grpcs://host", ServerCert: none}, "server certificate: ", os.ErrNotExist},
		{remote.Config{URL: "grpcs://host", ServerCert: empty}, "no PEM certificate", nil},
		{remote.Config{URL: "grpcs://host", ClientCert: none, ClientKey: none}, "client certificate: ", os.ErrNotExist},
		{remote.Config{URL: "grpcs://host", ClientCert: empty, ClientKey: empty}, "client certificate: ", nil},
	} {
		client, err := remote.Dial(c.config)
		if client != nil || err == nil || !strings.Contains(err.Error(), c.text) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%+v: error %v, want one about %q", c.config, err, c.text)
		}
	}
}

// A server that hides what it can do gets batches of the usual size, and one
// that couldn't answer is asked again.
func TestServerWithoutCapabilities(t *testing.T) {
	for code, want := range map[codes.Code]int{codes.Unimplemented: 1, codes.Internal: 2} {
		server, address := newRefusing(t, code)
		client := dial(t, address, "main")
		for range 2 {
			if err := client.ReadBlobs(context.WithoutCancel(t.Context()), []digest.Digest{digest.Of([]byte("x"))})[0].Err; status.Code(err) != code {
				t.Errorf("error %v, want %v", err, code)
			}
		}
		if got := server.all(); got["GetCapabilities"] != want || got["BatchReadBlobs"] != 2 {
			t.Errorf("%v: calls %v, want %d of GetCapabilities", code, got, want)
		}
	}
}

func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
