//go:build integration

package integration

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// callLimit bounds a call of a test, attempts that are lost included.
const callLimit = 60 * time.Second

// A client sends single actions, as a build of its own: its calls carry an
// invocation id and no traceparent, as Bazel's do.
type client struct {
	*remote.Client
	invocation string
}

// dial returns a client of one instance. The token may be empty.
func dial(t *testing.T, url, instance, token string) *client {
	t.Helper()
	config := remote.Config{URL: url, Instance: instance, RetryLimit: -1}
	if token != "" {
		config.AccessToken = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(config.AccessToken, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := remote.Dial(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{Client: c, invocation: uuid.NewString()}
}

// context returns a bounded context whose calls belong to the client's build.
func (c *client) context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	t.Cleanup(cancel)
	return c.with(t, ctx)
}

func (c *client) with(t *testing.T, ctx context.Context) context.Context {
	t.Helper()
	data, err := proto.Marshal(&repb.RequestMetadata{
		ToolDetails:      &repb.ToolDetails{ToolName: "integration-test", ToolVersion: "1"},
		ToolInvocationId: c.invocation,
	})
	if err != nil {
		t.Fatal(err)
	}
	return metadata.AppendToOutgoingContext(ctx, "build.bazel.remote.execution.v2.requestmetadata-bin", string(data))
}

// An action is a shell script to be run.
type action struct {
	script  string
	inputs  map[string]string // content by name
	outputs []string
	timeout time.Duration // none if 0
	noCache bool
}

// upload stores an action and all that belongs to it.
func (c *client) upload(t *testing.T, a action) digest.Digest {
	t.Helper()
	blobs := make(map[digest.Digest][]byte)
	add := func(m proto.Message) *repb.Digest {
		data, d, err := digest.OfMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		blobs[d] = data
		return d.Proto()
	}
	root := &repb.Directory{}
	for _, name := range slices.Sorted(maps.Keys(a.inputs)) {
		data := []byte(a.inputs[name])
		blobs[digest.Of(data)] = data
		root.Files = append(root.Files, &repb.FileNode{Name: name, Digest: digest.Of(data).Proto()})
	}
	message := &repb.Action{
		CommandDigest: add(&repb.Command{
			Arguments:            []string{"/bin/sh", "-c", a.script},
			EnvironmentVariables: []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}},
			OutputPaths:          a.outputs,
		}),
		InputRootDigest: add(root),
		DoNotCache:      a.noCache,
	}
	if a.timeout != 0 {
		message.Timeout = durationpb.New(a.timeout)
	}
	at, err := digest.FromProto(add(message))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WriteBlobs(c.context(t), blobs); err != nil {
		t.Fatal(err)
	}
	return at
}

// execute runs an action that is in the CAS, and fails the test if there is no
// response.
func (c *client) execute(t *testing.T, at digest.Digest) *repb.ExecuteResponse {
	t.Helper()
	response, err := c.Execute(c.context(t), c.request(at), nil)
	if err != nil {
		t.Fatalf("execute %v: %v", at, err)
	}
	return response
}

func (c *client) request(at digest.Digest) *repb.ExecuteRequest {
	return &repb.ExecuteRequest{InstanceName: c.Instance(), ActionDigest: at.Proto(), DigestFunction: repb.DigestFunction_SHA256}
}

// wantGood runs an action that works, to see that the cluster does. Each note
// makes it another action.
func (c *client) wantGood(t *testing.T, note string) {
	t.Helper()
	response := c.execute(t, c.upload(t, action{
		script: "cat note > out", inputs: map[string]string{"note": note}, outputs: []string{"out"},
	}))
	wantStatus(t, response, codes.OK)
	if len(response.GetResult().GetOutputFiles()) != 1 {
		t.Fatalf("%s: got result %v, want one output file", note, response.Result)
	}
	at, err := digest.FromProto(response.Result.OutputFiles[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if want := digest.Of([]byte(note)); at != want {
		t.Errorf("%s: output is %v, want %v", note, at, want)
	}
}

// wantStatus checks the status in a response.
func wantStatus(t *testing.T, response *repb.ExecuteResponse, want codes.Code) {
	t.Helper()
	if got := codes.Code(response.GetStatus().GetCode()); got != want {
		t.Errorf("status is %v (%s), want %v", got, response.GetStatus().GetMessage(), want)
	}
}
