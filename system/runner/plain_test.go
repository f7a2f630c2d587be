package runner_test

import (
	"os"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/runner/runnertest"
)

// A runner that stages and captures by itself does what casd does.
func TestWithoutCasdResultsAreTheSame(t *testing.T) {
	_, url, client := realCasd(t)
	put := func(data []byte) *repb.Digest {
		t.Helper()
		d := digest.Of(data)
		if err := client.WriteBlob(t.Context(), d, data); err != nil {
			t.Fatal(err)
		}
		return d.Proto()
	}
	putMessage := func(m proto.Message) *repb.Digest {
		t.Helper()
		data, _, err := digest.OfMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		return put(data)
	}
	when := timestamppb.New(time.Unix(1_500_000_000, 0))
	sub := putMessage(&repb.Directory{Files: []*repb.FileNode{{Name: "large", Digest: put([]byte(strings.Repeat("large ", 500_000)))}}})
	root := putMessage(&repb.Directory{
		Files: []*repb.FileNode{
			{Name: "dated", Digest: put([]byte("dated")), NodeProperties: &repb.NodeProperties{Mtime: when, UnixMode: wrapperspb.UInt32(0o640)}},
			{Name: "empty", Digest: digest.Empty.Proto()},
			{Name: "tool", Digest: put([]byte("#!/bin/sh\n")), IsExecutable: true},
		},
		Directories: []*repb.DirectoryNode{{Name: "one", Digest: sub}, {Name: "two", Digest: sub}},
		Symlinks:    []*repb.SymlinkNode{{Name: "away", Target: "/no/such/place"}, {Name: "link", Target: "one/large"}},
	})
	const script = `stat -c '%n %F %a %Y %s' dated empty tool one two; sha256sum one/large; readlink away link; cat dated; id -u
		touch tool && echo x >one/new
		mkdir -p out/a/b out/c/b && echo deep >out/a/b/f && echo deep >out/c/b/f && ln -s a out/s && chmod 700 out/a/b/f && chmod 700 out/c/b/f
		find out -exec touch -h -d @1600000000 {} + && cp out/a/b/f file && touch -d @1600000001 file
		ln -s file sym`
	for _, format := range []repb.Command_OutputDirectoryFormat{repb.Command_TREE_ONLY, repb.Command_DIRECTORY_ONLY, repb.Command_TREE_AND_DIRECTORY} {
		command := shell(script)
		command.EnvironmentVariables = []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}
		command.OutputPaths = []string{"out", "file", "sym", "one/new", "gone"}
		command.OutputNodeProperties = []string{"mtime", "unix_mode"}
		command.OutputDirectoryFormat = format
		action := &repb.Action{CommandDigest: putMessage(command), InputRootDigest: root}
		result := func(args ...string) *repb.ActionResult {
			r := prepare(t, runnertest.Start(t), action, append(args, "--remote="+url)...).finish(t).mustSucceed(t)
			r.result.ExecutionMetadata = nil
			return r.result
		}
		want, got := result("--staging-mode=copy-or-link"), result("--disable-localcas")
		for _, r := range []*repb.ActionResult{want, got} {
			for _, f := range r.OutputFiles {
				if f.Path == "one/new" {
					f.NodeProperties.Mtime = nil // is now
				}
			}
		}
		if diff := cmp.Diff(got, want, protocmp.Transform()); diff != "" || len(want.OutputFiles) != 2 {
			stdout, _ := client.ReadBlob(t.Context(), mustDigest(t, got.StdoutDigest))
			stderr, _ := client.ReadBlob(t.Context(), mustDigest(t, got.StderrDigest))
			t.Errorf("%v: -without +with casd\n%s\n%s%s", format, diff, stdout, stderr)
		}
		for _, d := range got.OutputDirectories {
			for _, p := range []*repb.Digest{d.TreeDigest, d.RootDirectoryDigest} {
				if p != nil {
					if _, err := client.ReadBlob(t.Context(), mustDigest(t, p)); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
}

func mustDigest(t *testing.T, p *repb.Digest) digest.Digest {
	t.Helper()
	d, err := digest.FromProto(p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWithoutCasdBadTreesAreRefused(t *testing.T) {
	casd := runnertest.Start(t)
	blob, gone := casd.Put([]byte("blob")), digest.Of([]byte("gone")).Proto()
	file := func(name string) *repb.Directory {
		return &repb.Directory{Files: []*repb.FileNode{{Name: name, Digest: blob}}}
	}
	command := casd.PutMessage(t, shell("exit"))
	for _, test := range []struct {
		root *repb.Directory
		code codes.Code
		want string
	}{
		{file("../x"), codes.InvalidArgument, "can't be the name of a file"},
		{file(".."), codes.InvalidArgument, "can't be the name of a file"},
		{file(""), codes.InvalidArgument, "can't be the name of a file"},
		{file("a\x00b"), codes.InvalidArgument, "can't be the name of a file"},
		{file(strings.Repeat("n", 256)), codes.InvalidArgument, "can't be the name of a file"},
		{&repb.Directory{Files: []*repb.FileNode{{Name: "a"}}}, codes.InvalidArgument, `node "a"`},
		{&repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: gone}}}, codes.FailedPrecondition, "is missing"},
		{&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "a", Digest: gone}}}, codes.FailedPrecondition, "is missing"},
		{&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "a", Digest: casd.Put([]byte("\xff\xff"))}}}, codes.InvalidArgument, "decode directory"},
		{&repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: blob}, {Name: "a", Digest: blob}}}, codes.InvalidArgument, "file exists"},
		// A link that leads out is made as it is, and nothing is written through it.
		{&repb.Directory{Symlinks: []*repb.SymlinkNode{{Name: "a", Target: "/tmp"}}, Directories: []*repb.DirectoryNode{{Name: "a", Digest: casd.PutMessage(t, file("x"))}}},
			codes.InvalidArgument, "file exists"},
	} {
		r := prepare(t, casd, &repb.Action{CommandDigest: command, InputRootDigest: casd.PutMessage(t, test.root)}, "--disable-localcas").
			finish(t).mustFail(t, test.code, test.want)
		if left, err := os.ReadDir(r.dir); err != nil || len(left) != 2 { // action and status: its TMPDIR, too
			t.Errorf("left %v, %v", left, err)
		}
	}
	// 255 bytes and bytes that are no text are names as good as others.
	for _, name := range []string{strings.Repeat("n", 255), "sp ace\n"} {
		prepare(t, casd, &repb.Action{CommandDigest: command, InputRootDigest: casd.PutMessage(t, file(name))}, "--disable-localcas").finish(t).mustSucceed(t)
	}
}

func TestWithoutCasdTheWorkspaceIsWhereItIsSaid(t *testing.T) {
	casd, workspace := runnertest.Start(t), runnertest.OpenDir(t)
	command := shell("pwd; mkdir locked; touch locked/x; chmod 0 locked")
	command.EnvironmentVariables = []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}
	r := prepare(t, casd, command, "--disable-localcas", "--workspace-path="+workspace+"/w").finish(t).mustSucceed(t)
	if got := r.stdout(t); !strings.HasPrefix(got, workspace+"/w/buildboxrun") {
		t.Errorf("it ran in %s", got)
	}
	if left, err := os.ReadDir(workspace + "/w"); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
