//go:build integration

package integration

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/traces/lifecycle"
)

func withTraceparent(ctx context.Context, parent string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", parent)
}

// codeOf is the code of an execution, whether the call carries it or the
// response.
func codeOf(u under) codes.Code { return status.Code(failureOf(u)) }

// failureOf is the error of an execution, whether the call carries it or the
// response.
func failureOf(u under) error {
	if u.err != nil {
		return u.err
	}
	return status.FromProto(u.response.GetStatus()).Err()
}

// store stores a blob.
func (c *client) store(t *testing.T, data []byte) digest.Digest {
	t.Helper()
	d := digest.Of(data)
	if err := c.WriteBlobs(c.context(t), map[digest.Digest][]byte{d: data}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (c *client) storeMessage(t *testing.T, m proto.Message) *repb.Digest {
	t.Helper()
	data, _, err := digest.OfMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	return c.store(t, data).Proto()
}

// tryExecute runs an action, which may not even be one.
func (c *client) tryExecute(t *testing.T, at *repb.Digest) error {
	t.Helper()
	response, err := c.Execute(c.context(t), &repb.ExecuteRequest{InstanceName: c.Instance(), ActionDigest: at, DigestFunction: repb.DigestFunction_SHA256}, nil)
	return failureOf(under{response, err})
}

// write writes a resource in one message and says that this is all.
func (c *client) write(t *testing.T, name string, data []byte) error {
	t.Helper()
	stream, err := bytestream.NewByteStreamClient(c.Conn()).Write(c.context(t))
	if err != nil {
		return err
	}
	if err := stream.Send(&bytestream.WriteRequest{ResourceName: name, Data: data, FinishWrite: true}); err != nil && err != io.EOF {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}

func (c *client) read(t *testing.T, name string) error {
	t.Helper()
	stream, err := bytestream.NewByteStreamClient(c.Conn()).Read(c.context(t), &bytestream.ReadRequest{ResourceName: name})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// ofBlobs is the error of a batch: the call's, or that of its first blob.
func ofBlobs(response *repb.BatchUpdateBlobsResponse, err error) error {
	if err != nil {
		return err
	}
	for _, r := range response.Responses {
		if err := status.FromProto(r.Status).Err(); err != nil {
			return err
		}
	}
	return nil
}

// Whatever a client sends, it is told what is wrong with what, by REAPI's code,
// and the next client is served.
func TestBadInputIsNamed(t *testing.T) {
	c := up(t, "--workers", "1", "--slots", "2")
	client := dial(t, c.url(), "", "")
	hello := digest.Of([]byte("hello"))
	none := digest.Of([]byte("nobody has this"))
	for _, test := range []struct {
		name string
		send func(t *testing.T) error
		code codes.Code
		says []string
	}{
		{"resource name that climbs", func(t *testing.T) error {
			return client.read(t, "a/../b/"+digest.ReadName("", hello))
		}, codes.InvalidArgument, []string{"a/../b"}},
		{"resource name that begins above", func(t *testing.T) error {
			return client.read(t, "../"+digest.ReadName("", hello))
		}, codes.InvalidArgument, []string{`".."`}},
		{"resource name of no form", func(t *testing.T) error {
			return client.read(t, "blobs/xyz/5")
		}, codes.InvalidArgument, []string{`"xyz"`}},
		{"instance name that climbs", func(t *testing.T) error {
			_, err := repb.NewContentAddressableStorageClient(client.Conn()).FindMissingBlobs(client.context(t),
				&repb.FindMissingBlobsRequest{InstanceName: "a/../b", BlobDigests: []*repb.Digest{hello.Proto()}})
			return err
		}, codes.InvalidArgument, []string{"a/../b"}},
		{"unknown instance", func(t *testing.T) error {
			_, err := repb.NewContentAddressableStorageClient(client.Conn()).FindMissingBlobs(client.context(t),
				&repb.FindMissingBlobsRequest{InstanceName: "nowhere", BlobDigests: []*repb.Digest{hello.Proto()}})
			return err
		}, codes.InvalidArgument, []string{"nowhere"}},
		{"digest in capitals", func(t *testing.T) error {
			_, err := repb.NewContentAddressableStorageClient(client.Conn()).FindMissingBlobs(client.context(t),
				&repb.FindMissingBlobsRequest{BlobDigests: []*repb.Digest{{Hash: strings.ToUpper(hello.Hex()), SizeBytes: 5}}})
			return err
		}, codes.InvalidArgument, []string{strings.ToUpper(hello.Hex())}},
		{"batch larger than allowed", func(t *testing.T) error {
			data := make([]byte, 5<<20)
			return ofBlobs(repb.NewContentAddressableStorageClient(client.Conn()).BatchUpdateBlobs(client.context(t), &repb.BatchUpdateBlobsRequest{
				Requests: []*repb.BatchUpdateBlobsRequest_Request{{Digest: digest.Of(data).Proto(), Data: data}},
			}))
		}, codes.InvalidArgument, []string{"5242880"}},
		{"blob of another hash in a batch", func(t *testing.T) error {
			return ofBlobs(repb.NewContentAddressableStorageClient(client.Conn()).BatchUpdateBlobs(client.context(t), &repb.BatchUpdateBlobsRequest{
				Requests: []*repb.BatchUpdateBlobsRequest_Request{{Digest: hello.Proto(), Data: []byte("hullo")}},
			}))
		}, codes.InvalidArgument, []string{hello.Hex(), digest.Of([]byte("hullo")).Hex()}},
		{"blob of another hash in a stream", func(t *testing.T) error {
			return client.write(t, digest.WriteName("", "6f1b2a3c-0000-4000-8000-000000000001", hello), []byte("hullo"))
		}, codes.InvalidArgument, []string{hello.Hex()}},
		{"stream that ends too early", func(t *testing.T) error {
			return client.write(t, digest.WriteName("", "6f1b2a3c-0000-4000-8000-000000000002", hello), []byte("hel"))
		}, codes.InvalidArgument, []string{hello.Hex(), "3"}},
		{"blob that isn't there", func(t *testing.T) error {
			return client.read(t, digest.ReadName("", none))
		}, codes.NotFound, []string{none.Hex()}},
		{"operation that isn't there", func(t *testing.T) error {
			_, err := longrunningpb.NewOperationsClient(client.Conn()).GetOperation(client.context(t),
				&longrunningpb.GetOperationRequest{Name: digest.OperationName("", "none")})
			return err
		}, codes.NotFound, []string{digest.OperationName("", "none")}},
		{"operation of no form", func(t *testing.T) error {
			stream, err := repb.NewExecutionClient(client.Conn()).WaitExecution(client.context(t), &repb.WaitExecutionRequest{Name: "what?"})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		}, codes.InvalidArgument, []string{"what?"}},
		{"action that isn't there", func(t *testing.T) error {
			return client.tryExecute(t, none.Proto())
		}, codes.FailedPrecondition, []string{"action", none.Hex()}},
		{"action that can't be decoded", func(t *testing.T) error {
			return client.tryExecute(t, client.store(t, []byte("\xff\xff\xff not an action")).Proto())
		}, codes.InvalidArgument, []string{"action", digest.Of([]byte("\xff\xff\xff not an action")).Hex()}},
		{"action whose command isn't there", func(t *testing.T) error {
			return client.tryExecute(t, client.storeMessage(t, &repb.Action{CommandDigest: none.Proto(), InputRootDigest: client.storeMessage(t, &repb.Directory{})}))
		}, codes.FailedPrecondition, []string{"command", none.Hex()}},
		{"action whose input root isn't there", func(t *testing.T) error {
			return client.tryExecute(t, client.storeMessage(t, &repb.Action{
				CommandDigest:   client.storeMessage(t, &repb.Command{Arguments: []string{"/bin/true"}}),
				InputRootDigest: none.Proto(),
			}))
		}, codes.FailedPrecondition, []string{none.Hex()}},
		{"action without arguments", func(t *testing.T) error {
			return client.tryExecute(t, client.storeMessage(t, &repb.Action{
				CommandDigest: client.storeMessage(t, &repb.Command{}), InputRootDigest: client.storeMessage(t, &repb.Directory{}),
			}))
		}, codes.InvalidArgument, []string{"argument"}},
		{"output above the input root", func(t *testing.T) error {
			return client.tryExecute(t, client.upload(t, action{script: "true", outputs: []string{"../escape"}}).Proto())
		}, codes.InvalidArgument, []string{"../escape"}},
		{"absolute output", func(t *testing.T) error {
			return client.tryExecute(t, client.upload(t, action{script: "true", outputs: []string{"/etc/passwd"}}).Proto())
		}, codes.InvalidArgument, []string{"/etc/passwd"}},
		{"input that climbs", func(t *testing.T) error {
			return client.tryExecute(t, client.storeMessage(t, &repb.Action{
				CommandDigest: client.storeMessage(t, &repb.Command{Arguments: []string{"/bin/true"}}),
				InputRootDigest: client.storeMessage(t, &repb.Directory{Files: []*repb.FileNode{
					{Name: "../../climbs", Digest: client.store(t, []byte("hello")).Proto()},
				}}),
			}))
		}, codes.InvalidArgument, []string{"../../climbs"}},
		{"timeout below zero", func(t *testing.T) error {
			return client.tryExecute(t, client.upload(t, action{script: "true", timeout: -time.Second}).Proto())
		}, codes.InvalidArgument, []string{"-1s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.send(t)
			if got := status.Code(err); got != test.code {
				t.Errorf("got %v (%v), want %v", got, err, test.code)
			}
			for _, want := range test.says {
				if !strings.Contains(status.Convert(err).Message(), want) {
					t.Errorf("the message %q doesn't say %q", status.Convert(err).Message(), want)
				}
			}
			if test.code == codes.FailedPrecondition {
				wantMissing(t, err, none)
			}
			client.wantGood(t, "after "+test.name)
		})
	}
	c.mustEnd(t)
	r := readRecord(t, c.folder)
	r.check(t, lifecycle.Options{})
}

// wantMissing checks that an error tells the client which blob to upload, as
// REAPI has it.
func wantMissing(t *testing.T, err error, want digest.Digest) {
	t.Helper()
	for _, detail := range status.Convert(err).Details() {
		failure, ok := detail.(*errdetails.PreconditionFailure)
		if !ok {
			continue
		}
		for _, v := range failure.Violations {
			if v.Type == "MISSING" && v.Subject == digest.ReadName("", want) {
				return
			}
		}
	}
	t.Errorf("%v has no violation MISSING for %v", err, want)
}

// An action that leaves processes behind is over when its time is up, and so are
// they.
func TestTimeoutEndsWholeProcessTree(t *testing.T) {
	c := up(t)
	client := dial(t, c.url(), "", "")
	w := newWaiting(t)
	at := client.upload(t, action{
		script:  fmt.Sprintf("(setsid sh -c ': %s; while :; do sleep 1; done' &) ; (: ; sh -c ': %s; trap \"\" TERM INT; while :; do sleep 1; done' &) ; : %s; while :; do sleep 1; done", w.marker, w.marker, w.marker),
		timeout: 2 * time.Second,
	})
	got := <-client.send(t, at)
	if code := codeOf(got); code != codes.DeadlineExceeded {
		t.Errorf("got %v, want DEADLINE_EXCEEDED", failureOf(got))
	}
	if message := status.Convert(failureOf(got)).Message(); !strings.Contains(message, "timeout of 2s") {
		t.Errorf("the message %q doesn't name the timeout", message)
	}
	if left := processes(t, w.marker); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	client.wantGood(t, "after the timeout")
	c.drain(t, lifecycle.Options{})
}

// What an action links to outside of its input root isn't taken for an output.
func TestOutputsDontLeadOutOfInputRoot(t *testing.T) {
	c := up(t)
	client := dial(t, c.url(), "", "")
	response := client.execute(t, client.upload(t, action{
		script:  "ln -s /etc/passwd file; ln -s /etc directory; ln -s ../../../../../../etc up; ln -s /etc outside; echo kept > kept",
		outputs: []string{"file", "directory", "up/passwd", "outside/passwd", "kept"},
	}))
	wantStatus(t, response, codes.OK)
	for _, f := range response.Result.OutputFiles {
		if f.Path != "kept" {
			t.Errorf("output file %s was captured", f.Path)
		}
	}
	if len(response.Result.OutputFiles) != 1 {
		t.Errorf("got %d output files, want 1", len(response.Result.OutputFiles))
	}
	if got := response.Result.OutputDirectories; len(got) != 0 {
		t.Errorf("output directories were captured: %v", got)
	}
	// Links themselves are outputs, and say only where they lead.
	links := make(map[string]string)
	for _, l := range response.Result.OutputSymlinks {
		links[l.Path] = l.Target
	}
	if links["file"] != "/etc/passwd" || links["directory"] != "/etc" || len(links) != 2 {
		t.Errorf("got links %v, want those of file and directory", links)
	}
	client.wantGood(t, "after the links")
	c.drain(t, lifecycle.Options{})
}

func TestTokensThatArentGoodAreRefused(t *testing.T) {
	const instance = "acme"
	keys, forger := newKeys(t), newKeys(t)
	c := up(t, "--jwks", keys.file, "--instance", instance, "--memory")
	for _, test := range []struct {
		name, token, instance string
		code                  codes.Code
		says                  string
	}{
		{"none", "", instance, codes.Unauthenticated, "missing or invalid authorization header"},
		{"forged", forger.mint(t, instance, time.Hour), instance, codes.Unauthenticated, "authorization failed"},
		{"expired", keys.mint(t, instance, -time.Minute), instance, codes.Unauthenticated, "authorization failed"},
		{"no token at all", "not.a.token", instance, codes.Unauthenticated, "authorization failed"},
		{"of another instance", keys.mint(t, "other", time.Hour), instance, codes.PermissionDenied, "unknown instance name"},
	} {
		client := dial(t, c.url(), test.instance, test.token)
		_, err := client.Capabilities(client.context(t))
		if got := status.Code(err); got != test.code {
			t.Errorf("token %s: got %v (%v), want %v", test.name, got, err, test.code)
		}
		if !strings.Contains(status.Convert(err).Message(), test.says) {
			t.Errorf("token %s: message %q doesn't say %q", test.name, status.Convert(err).Message(), test.says)
		}
		dial(t, c.url(), instance, keys.mint(t, instance, time.Hour)).wantGood(t, "after token "+test.name)
	}
	c.drain(t, lifecycle.Options{})
}
