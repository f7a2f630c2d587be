package runner_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/system/storage"
)

// realCasd starts the casd that is shipped, without a remote.
func realCasd(t *testing.T) (dir, url string, client *remote.Client) {
	t.Helper()
	dir = runnertest.OpenDir(t)
	url, client = serveCasd(t, casd.Config{Dir: dir})
	return dir, url, client
}

// serveCasd starts one that is configured so.
func serveCasd(t *testing.T, config casd.Config) (url string, client *remote.Client) {
	t.Helper()
	server, err := casd.New(config)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "casd.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes))
	server.Register(g)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = g.Serve(listener)
	}()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		g.Stop()
		<-served
	})
	if client, err = remote.Dial(remote.Config{URL: "unix:" + socket}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return "unix:" + socket, client
}

func TestWithTheRealCasd(t *testing.T) {
	dir, url, client := realCasd(t)
	put := func(m proto.Message) *repb.Digest {
		t.Helper()
		data, d, err := digest.OfMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.WriteBlob(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
		return d.Proto()
	}
	text := func(p *repb.Digest) string {
		t.Helper()
		d, err := digest.FromProto(p)
		if err != nil {
			t.Fatal(err)
		}
		data, err := client.ReadBlob(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	tool := []byte("#!/bin/sh\necho made >out/file; echo x >>tool; ln -s file out/link; rmdir sym; ln -s out sym; chmod +x out/file; mkdir -p d/e; echo deep >d/e/f; echo said\n")
	if err := client.WriteBlob(t.Context(), digest.Of(tool), tool); err != nil {
		t.Fatal(err)
	}
	root := put(&repb.Directory{Files: []*repb.FileNode{{Name: "tool", Digest: digest.Of(tool).Proto(), IsExecutable: true}}})
	env := []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}
	command := put(&repb.Command{Arguments: []string{"./tool"}, EnvironmentVariables: env, OutputPaths: []string{"out/file", "out/link", "sym", "sym/file", "d", "gone"}})
	slow := put(&repb.Command{Arguments: []string{"/bin/sh", "-c", "echo said; exec sleep 1000 >file"}, EnvironmentVariables: env})
	for _, mode := range []string{"fuse", "copy-or-link"} {
		t.Run(mode, func(t *testing.T) {
			if device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err == nil {
				device.Close()
			} else if mode == "fuse" {
				t.Skip("no FUSE here:", err)
			}
			unused := runnertest.Start(t) // for what prepare wants
			r := prepare(t, unused, &repb.Action{CommandDigest: command, InputRootDigest: root}, "--remote="+url, "--staging-mode="+mode).finish(t).mustSucceed(t)
			if got := text(r.result.StdoutDigest); got != "said\n" {
				t.Errorf("stdout %q, stderr %q", got, text(r.result.StderrDigest))
			}
			var got []string
			for _, f := range r.result.OutputFiles {
				got = append(got, f.Path+" "+text(f.Digest))
				if !f.IsExecutable {
					t.Errorf("%s is not executable", f.Path)
				}
			}
			for _, l := range r.result.OutputSymlinks {
				got = append(got, l.Path+" -> "+l.Target)
			}
			tree := new(repb.Tree)
			if err := proto.Unmarshal([]byte(text(r.result.OutputDirectories[0].TreeDigest)), tree); err != nil {
				t.Fatal(err)
			}
			got = append(got, "d/e/f "+text(tree.Children[0].Files[0].Digest))
			want := []string{"out/file made\n", "sym/file made\n", "out/link -> file", "sym -> out", "d/e/f deep\n"}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
			if got := text(digest.Of(tool).Proto()); got != string(tool) {
				t.Errorf("the command changed its input in the cache: %q", got)
			}
			timed := &repb.Action{CommandDigest: slow, InputRootDigest: root, Timeout: durationpb.New(100 * time.Millisecond)}
			r = prepare(t, unused, timed, "--remote="+url, "--staging-mode="+mode).finish(t).mustFail(t, codes.DeadlineExceeded, "timeout")
			if got := text(r.result.GetStdoutDigest()); got != "said\n" {
				t.Errorf("stdout before the timeout %q", got)
			}
			if left, err := os.ReadDir(filepath.Join(dir, "staging")); err != nil || len(left) > 0 {
				t.Errorf("still staged: %v, %v", left, err)
			}
		})
	}
}

// An action can have a socket by which it uses the remote APIs itself: as the user that
// it belongs to.
func TestSocketOfTheRemoteAPIs(t *testing.T) {
	_, url, client := realCasd(t)
	unused := runnertest.Start(t)
	s := store{t, client}
	command := shell(`test -S run/api.sock && test -O run/api.sock && echo mine`)
	action := &repb.Action{
		CommandDigest: s.message(command), InputRootDigest: s.message(new(repb.Directory)),
		Platform: &repb.Platform{Properties: []*repb.Platform_Property{{Name: "remoteApisSocketPath", Value: "/run/api.sock"}}},
	}
	for _, options := range [][]string{{"--staging-mode=copy-or-link"}, {"--staging-mode=copy-or-link", "--nested-ac-enable-update"}} {
		r := prepare(t, unused, action, append(options, "--remote="+url)...).finish(t).mustSucceed(t)
		d := mustDigest(t, r.result.StdoutDigest)
		if got, err := client.ReadBlob(t.Context(), d); err != nil || string(got) != "mine\n" {
			t.Errorf("%v: output %q, %v, exit code %d", options, got, err, r.result.ExitCode)
		}
	}
}
