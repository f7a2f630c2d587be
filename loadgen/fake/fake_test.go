package fake_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/remote/zstd"
)

func client(t *testing.T, c fake.Config) *remote.Client {
	t.Helper()
	server, err := fake.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	client, err := remote.Dial(remote.Config{URL: server.URL, RetryLimit: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Stop()
	})
	return client
}

func TestBlobsAreKept(t *testing.T) {
	c := client(t, fake.Config{})
	for _, size := range []int{0, 1, 1000, 5 << 20} { // the last by ByteStream
		data := bytes.Repeat([]byte{7}, size)
		d := digest.Of(data)
		if err := c.WriteBlob(t.Context(), d, data); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got, err := c.ReadBlob(t.Context(), d)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	if _, err := c.ReadBlob(t.Context(), digest.Of([]byte("none"))); !errors.Is(err, cas.ErrNotFound) {
		t.Errorf("of a blob that isn't there: %v", err)
	}
	if err := c.WriteBlob(t.Context(), digest.Of([]byte("this")), []byte("that")); err == nil {
		t.Error("a blob with another's digest was stored")
	}
}

// execute stores an action and executes it.
func execute(t *testing.T, c *remote.Client, arguments ...string) (*repb.ExecuteResponse, error) {
	t.Helper()
	blobs := make(map[digest.Digest][]byte)
	command, at, err := digest.OfMessage(&repb.Command{Arguments: arguments})
	if err != nil {
		t.Fatal(err)
	}
	blobs[at] = command
	action, of, err := digest.OfMessage(&repb.Action{CommandDigest: at.Proto(), InputRootDigest: digest.Empty.Proto()})
	if err != nil {
		t.Fatal(err)
	}
	blobs[of] = action
	if err := c.WriteBlobs(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	return c.Execute(t.Context(), &repb.ExecuteRequest{ActionDigest: of.Proto()}, nil)
}

func TestCommandsAreDone(t *testing.T) {
	c := client(t, fake.Config{Slots: 1})
	r, err := execute(t, c, "/bin/sleep", "5ms", "--output=out/a=b=300", "--inputs", "--exit=0")
	if err != nil || r.Status.GetCode() != 0 || len(r.Result.OutputFiles) != 1 || r.Result.OutputFiles[0].Path != "out/a=b" {
		t.Fatalf("got %v, %v", r, err)
	}
	d, err := digest.FromProto(r.Result.OutputFiles[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := c.ReadBlob(t.Context(), d); err != nil || len(data) != 300 {
		t.Errorf("output of %d bytes, %v", len(data), err)
	}
	if again, err := execute(t, c, "/bin/sleep", "5ms", "--output=out/a=b=300", "--inputs", "--exit=0"); err != nil || !again.CachedResult {
		t.Errorf("again: %v, %v", again, err)
	}
	if failed, err := execute(t, c, "/bin/sleep", "0s", "--exit=3"); err != nil || failed.Result.GetExitCode() != 3 {
		t.Errorf("got %v, %v", failed, err)
	}
	for _, bad := range [][]string{nil, {"/bin/ls"}, {"sleep", "x"}, {"sleep", "1s", "--output=9"}, {"sleep", "1s", "--output=a=-1"}, {"sleep", "1s", "--what"}} {
		if r, err := execute(t, c, bad...); err == nil && r.Status.GetCode() == 0 {
			t.Errorf("%q is done: %v", bad, r)
		}
	}
}

// TestBrokenStreamsAreTakenUp: the client of ours copes, so the fault is the right one.
func TestBrokenStreamsAreTakenUp(t *testing.T) {
	c := client(t, fake.Config{Faults: map[fake.Fault]float64{fake.BreaksStream: 1}})
	if r, err := execute(t, c, "/bin/true"); err != nil || r.Result.GetExitCode() != 0 {
		t.Errorf("got %v, %v", r, err)
	}
}

// TestBrokenUploadsAreTakenUp: each stream breaks after a message, so that none ever brings
// a whole blob, compressed or not: the client has to go on where the one before broke.
func TestBrokenUploadsAreTakenUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	data := make([]byte, 2<<20)
	for i := range data {
		data[i] = "0123456789abcdef"[r.IntN(16)]
	}
	d := digest.Of(data)
	for name, compressor := range map[string]remote.Compressor{"plain": nil, "compressed": zstd.New()} {
		server, err := fake.Start(fake.Config{Compression: true, Faults: map[fake.Fault]float64{fake.BreaksUpload: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer server.Stop()
		c, err := remote.Dial(remote.Config{URL: server.URL, RetryLimit: -1, Compressor: compressor})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.WriteBlob(t.Context(), d, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := c.ReadBlob(t.Context(), d); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: read %d bytes, %v", name, len(got), err)
		}
		if used := server.Compressed() > 0; used != (compressor != nil) {
			t.Errorf("%s: blobs travelled as zstd: %v", name, used)
		}
	}
}

func TestFaultsAreTheShareThatTheyAre(t *testing.T) {
	c := client(t, fake.Config{Faults: map[fake.Fault]float64{fake.Exhausted: 0.3}, Seed: 2})
	failed := 0
	const n = 500
	for range n {
		if _, err := c.Capabilities(t.Context()); err != nil {
			if !strings.Contains(err.Error(), "fault: exhausted") {
				t.Fatal(err)
			}
			failed++
		}
	}
	// Binomial: 150 ± 10; seed 2.
	if failed < 110 || failed > 190 {
		t.Errorf("%d of %d failed, want 150 ± 40", failed, n)
	}
}
