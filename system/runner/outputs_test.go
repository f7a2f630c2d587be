package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/runner/runnertest"
)

//lint:file-ignore SA1019 the deprecated fields are those of clients older than REAPI 2.1

// made lists what a result holds, one line each.
func made(t testing.TB, r *run) []string {
	t.Helper()
	var lines []string
	for _, f := range r.result.OutputFiles {
		line := "file " + f.Path + " " + r.blob(t, f.Digest)
		if f.IsExecutable {
			line += " executable"
		}
		lines = append(lines, line)
	}
	for _, d := range r.result.OutputDirectories {
		line := "directory " + d.Path
		directory := new(repb.Directory)
		if d.TreeDigest != nil {
			tree := new(repb.Tree)
			if err := proto.Unmarshal([]byte(r.blob(t, d.TreeDigest)), tree); err != nil {
				t.Fatal(err)
			}
			line, directory = line+" tree", tree.Root
		}
		if d.RootDirectoryDigest != nil {
			if err := proto.Unmarshal([]byte(r.blob(t, d.RootDirectoryDigest)), directory); err != nil {
				t.Fatal(err)
			}
			line += " root"
		}
		for _, f := range directory.Files {
			line += " " + f.Name + "=" + r.blob(t, f.Digest)
		}
		lines = append(lines, line)
	}
	for _, l := range r.result.OutputSymlinks {
		lines = append(lines, "link "+l.Path+" "+l.Target)
	}
	for _, l := range r.result.OutputFileSymlinks {
		lines = append(lines, "file-link "+l.Path+" "+l.Target)
	}
	for _, l := range r.result.OutputDirectorySymlinks {
		lines = append(lines, "directory-link "+l.Path+" "+l.Target)
	}
	return lines
}

func TestOutputs(t *testing.T) {
	casd := runnertest.Start(t)
	outside := runnertest.OpenDir(t)
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		script  string
		command *repb.Command
		want    []string
	}{
		{
			"paths of all kinds, parents made, missing ones skipped",
			"printf a >deep/er/a; printf b >b; chmod +x b; mkdir -p d; printf c >d/c; ln -s nowhere l",
			&repb.Command{OutputPaths: []string{"deep/er/a", "b", "d", "l", "missing", "no/dir/missing"}},
			[]string{"file deep/er/a a", "file b b executable", "directory d tree c=c", "link l nowhere"},
		},
		{
			"paths beat files and directories",
			"printf a >a; printf b >b; mkdir d",
			&repb.Command{OutputPaths: []string{"a"}, OutputFiles: []string{"b"}, OutputDirectories: []string{"d"}},
			[]string{"file a a"},
		},
		{
			"files and directories, each of its kind only",
			"printf a >a; mkdir d; printf c >d/c; ln -s a la; ln -s d ld; ln -s gone lg",
			&repb.Command{OutputFiles: []string{"a", "d", "la", "ld", "lg", "x"}, OutputDirectories: []string{"d", "a", "ld", "la", "lg", "y"}},
			[]string{"file a a", "directory d tree c=c", "file-link la a", "directory-link ld d"},
		},
		{
			"below the working directory and beside it",
			"printf a >a; printf b >../b",
			&repb.Command{WorkingDirectory: "w/v", OutputPaths: []string{"a", "../b", "./a"}},
			[]string{"file a a", "file ../b b", "file ./a a"},
		},
		{
			"the working directory itself",
			"printf a >a",
			&repb.Command{WorkingDirectory: "w", OutputDirectories: []string{""}},
			[]string{"directory  tree a=a"},
		},
		{
			"links inside the input root are followed on the way",
			"rmdir l; mkdir d; printf a >d/a; ln -s d l",
			&repb.Command{OutputPaths: []string{"l/a"}},
			[]string{"file l/a a"},
		},
		{
			"nothing outside the input root is read",
			"rmdir abs rel; ln -s " + outside + " abs; ln -s ../../../../../../../../../../" + outside + " rel; ln -s " + outside + "/secret file",
			&repb.Command{OutputFiles: []string{"abs/secret", "rel/secret", "file"}, OutputDirectories: []string{"abs", "rel"}},
			nil,
		},
		{
			"nor by paths; a link is only ever itself",
			"rmdir abs loop; ln -s " + outside + " abs; ln -s " + outside + "/secret file; ln -s loop loop",
			&repb.Command{OutputPaths: []string{"abs/secret", "file", "loop/x"}},
			[]string{"link file " + outside + "/secret"},
		},
		{
			"a file where a directory was expected on the way",
			"printf a >a",
			&repb.Command{OutputPaths: []string{"a", "b"}, WorkingDirectory: ""},
			[]string{"file a a"},
		},
		{
			"directory format",
			"mkdir d; printf c >d/c",
			&repb.Command{OutputPaths: []string{"d"}, OutputDirectoryFormat: repb.Command_TREE_AND_DIRECTORY},
			[]string{"directory d tree root c=c"},
		},
		{
			"only the root directory",
			"mkdir d; printf c >d/c",
			&repb.Command{OutputPaths: []string{"d"}, OutputDirectoryFormat: repb.Command_DIRECTORY_ONLY},
			[]string{"directory d root c=c"},
		},
		{
			"of a command that failed too",
			"printf a >a; exit 1",
			&repb.Command{OutputPaths: []string{"a"}},
			[]string{"file a a"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.command.Arguments = []string{"/bin/sh", "-c", test.script}
			test.command.EnvironmentVariables = []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}
			r := prepare(t, casd, test.command).finish(t).mustSucceed(t)
			if diff := cmp.Diff(made(t, r), test.want); diff != "" {
				t.Errorf("-got +want\n%s\nstderr: %s", diff, r.stderr(t))
			}
		})
	}
}

func TestOutputsThatCannotBeAreTheClientsMistake(t *testing.T) {
	casd, outside := runnertest.Start(t), runnertest.OpenDir(t)
	for _, test := range []struct {
		command *repb.Command
		want    string
	}{
		{&repb.Command{OutputPaths: []string{"/etc/passwd"}}, `output "/etc/passwd" of the command is absolute`},
		{&repb.Command{OutputPaths: []string{"a/../../b"}}, "lies outside the input root"},
		{&repb.Command{OutputPaths: []string{".."}}, "lies outside the input root"},
		{&repb.Command{WorkingDirectory: "w", OutputFiles: []string{"../../x"}}, "lies outside the input root"},
		{&repb.Command{OutputDirectories: []string{"d/"}}, "ends in a slash"},
		{&repb.Command{OutputFiles: []string{"a\x00b"}}, "NUL"},
		{&repb.Command{OutputPaths: []string{"file/below/it"}}, `make directory "file/below"`},
		{&repb.Command{OutputPaths: []string{"out/below/it"}}, "path escapes"},
		{&repb.Command{OutputPaths: []string{"pipe"}}, "neither file, directory nor symbolic link"},
	} {
		test.command.Arguments = []string{"/usr/bin/mkfifo", "pipe"}
		action := &repb.Action{CommandDigest: casd.PutMessage(t, test.command), InputRootDigest: casd.PutMessage(t, &repb.Directory{
			Files:    []*repb.FileNode{{Name: "file", Digest: casd.Put(nil)}},
			Symlinks: []*repb.SymlinkNode{{Name: "out", Target: outside}},
		})}
		r := prepare(t, casd, action).finish(t).mustFail(t, codes.InvalidArgument, test.want)
		if r.result != nil {
			t.Errorf("%v: there is a result", test.command)
		}
	}
	if made, err := os.ReadDir(outside); err != nil || len(made) > 0 {
		t.Errorf("made outside the input root: %v, %v", made, err)
	}
}

func TestFailedCaptureFailsTheAction(t *testing.T) {
	for _, test := range []struct {
		captured, want codes.Code
	}{
		{codes.ResourceExhausted, codes.ResourceExhausted},
		{codes.NotFound, codes.Internal},
		{codes.Unavailable, codes.Unavailable},
	} {
		for _, output := range []string{"file", "directory"} {
			casd := runnertest.Start(t)
			casd.CaptureError = status.Error(test.captured, "capture refused")
			command := shell("mkdir directory; : >file")
			command.EnvironmentVariables = []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}
			command.OutputPaths = []string{output}
			prepare(t, casd, command).finish(t).mustFail(t, test.want, `capture output "`+output)
		}
	}
}

func TestFailedUploadOfOutputFailsTheAction(t *testing.T) {
	casd := runnertest.Start(t)
	casd.WriteError = status.Error(codes.ResourceExhausted, "the cache is full")
	r := prepare(t, casd, shell("echo x >&2")).finish(t).mustFail(t, codes.ResourceExhausted, "upload stderr")
	if !strings.Contains(r.console.String(), "the cache is full") {
		t.Errorf("the log doesn't say why: %s", &r.console)
	}
}
