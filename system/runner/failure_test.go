package runner_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/runner/runnertest"
)

// missing returns the subjects of the status's MISSING violations.
func missing(t testing.TB, r *run) string {
	t.Helper()
	var subjects []string
	for _, detail := range r.status.GetDetails() {
		failure := new(errdetails.PreconditionFailure)
		if err := detail.UnmarshalTo(failure); err != nil {
			t.Fatal(err)
		}
		for _, v := range failure.Violations {
			if v.Type != "MISSING" {
				t.Errorf("violation of type %q", v.Type)
			}
			subjects = append(subjects, v.Subject)
		}
	}
	return strings.Join(subjects, " ")
}

func TestMissingCommandIsAFailedPrecondition(t *testing.T) {
	casd := runnertest.Start(t)
	gone := digest.Of([]byte("not uploaded"))
	r := prepare(t, casd, &repb.Action{CommandDigest: gone.Proto(), InputRootDigest: casd.PutMessage(t, &repb.Directory{})}).
		finish(t).mustFail(t, codes.FailedPrecondition, "command "+gone.String()+" is missing")
	if got, want := missing(t, r), "blobs/"+gone.String(); got != want {
		t.Errorf("missing %q, want %q", got, want)
	}
}

func TestMissingInputRootIsAFailedPrecondition(t *testing.T) {
	casd := runnertest.Start(t)
	gone := digest.Of([]byte("not uploaded"))
	r := prepare(t, casd, &repb.Action{CommandDigest: casd.PutMessage(t, shell("exit")), InputRootDigest: gone.Proto()}).
		finish(t).mustFail(t, codes.FailedPrecondition, "input root "+gone.String()+" is missing")
	if got, want := missing(t, r), "blobs/"+gone.String(); got != want {
		t.Errorf("missing %q, want %q", got, want)
	}
}

func TestDetailsOfCasdAreHandedOn(t *testing.T) {
	casd := runnertest.Start(t)
	casd.OnStage = func(context.Context) error {
		s, err := status.New(codes.FailedPrecondition, "two files are gone").WithDetails(&errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{{Type: "MISSING", Subject: "blobs/a/1"}, {Type: "MISSING", Subject: "blobs/b/2"}},
		})
		if err != nil {
			return err
		}
		return s.Err()
	}
	r := prepare(t, casd, shell("exit")).finish(t).mustFail(t, codes.FailedPrecondition, "two files are gone")
	if got, want := missing(t, r), "blobs/a/1 blobs/b/2"; got != want {
		t.Errorf("missing %q, want %q", got, want)
	}
}

func TestUndecodableInputs(t *testing.T) {
	casd := runnertest.Start(t)
	empty := casd.PutMessage(t, &repb.Directory{})
	prepareBytes(t, casd, []byte("\xff\xff\xff")).finish(t).mustFail(t, codes.InvalidArgument, "decode action")
	for want, action := range map[string]*repb.Action{
		"decode command":          {CommandDigest: casd.Put([]byte("\xff\xff\xff")), InputRootDigest: empty},
		"command of action":       {InputRootDigest: empty},
		"input root of action":    {CommandDigest: empty},
		"malformed digest \"xy\"": {CommandDigest: &repb.Digest{Hash: "xy"}, InputRootDigest: empty},
		"is larger than":          {CommandDigest: &repb.Digest{Hash: strings.Repeat("a", 64), SizeBytes: 1 << 40}, InputRootDigest: empty},
		"has no arguments":        {CommandDigest: casd.PutMessage(t, &repb.Command{WorkingDirectory: "x"}), InputRootDigest: empty},
		"is not a valid":          {CommandDigest: empty, InputRootDigest: empty, Timeout: &durationpb.Duration{Seconds: -1}},
		"NUL byte":                {InputRootDigest: empty, CommandDigest: casd.PutMessage(t, &repb.Command{Arguments: []string{"/bin/true", "a\x00b"}})},
		"environment variable \"A=B\"": {InputRootDigest: empty, CommandDigest: casd.PutMessage(t, &repb.Command{
			Arguments: []string{"/bin/true"}, EnvironmentVariables: []*repb.Command_EnvironmentVariable{{Name: "A=B"}}})},
	} {
		prepare(t, casd, action).finish(t).mustFail(t, codes.InvalidArgument, want)
	}
}

func TestUnreadableActionIsInternal(t *testing.T) {
	casd := runnertest.Start(t)
	r := prepare(t, casd, shell("exit"))
	if err := os.Remove(r.path("action")); err != nil {
		t.Fatal(err)
	}
	r.finish(t).mustFail(t, codes.Internal, "read action")
}

func TestUnreachableCasdIsUnavailable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	casd := runnertest.Start(t)
	r := prepare(t, casd, shell("exit"))
	r.cmd.Args = append(r.cmd.Args, "--remote=grpc://"+listener.Addr().String())
	r.finish(t).mustFail(t, codes.Unavailable, "connection refused")
}

func TestUnusableConnectionOptionsLeaveAStatus(t *testing.T) {
	casd := runnertest.Start(t)
	r := prepare(t, casd, shell("exit"))
	r.cmd.Args = append(r.cmd.Args, "--access-token=/no/such/token")
	r.finish(t).mustFail(t, codes.Internal, "access token")
}

func TestNothingIsWrittenWithoutAResultPath(t *testing.T) {
	casd := runnertest.Start(t)
	for _, want := range []int{0, 1} {
		r := prepare(t, casd, shell("exit"))
		r.cmd.Args = []string{hosttools, "--remote=" + casd.URL, "--action=" + r.path("action")}
		if want == 1 {
			r.cmd.Args[2] += "-missing"
		}
		r.finish(t)
		entries, err := os.ReadDir(r.dir)
		if r.exit != want || err != nil || len(entries) != 1 {
			t.Errorf("exit %d, left %v, %v; want exit %d and the action only", r.exit, entries, err, want)
		}
	}
}

func TestOptionsThatEndTheProgram(t *testing.T) {
	for _, test := range []struct {
		args           string
		exit           int
		stdout, stderr string
	}{
		{"--capabilities", 0, "no-logs-capture\nrun-as\nserve-pool-2\nplatform:OSFamily=linux\nplatform:ISA=", ""},
		{"--capabilities --frobnicate", 0, "no-logs-capture\n", ""},
		{"--version", 0, "buildbox-run-hosttools 0.", ""},
		{"--help", 0, "", "Usage: buildbox-run-hosttools --remote=URL"},
		{"--validate-parameters --remote=grpc://h:1 --verbose", 0, "", "parameters are valid"},
		{"--validate-parameters --remote=grpc://h:1 --frobnicate", 1, "", "unknown option --frobnicate\nUsage:"},
		{"--validate-parameters", 1, "", "option --remote is missing"},
		{"--frobnicate", 1, "", "unknown option --frobnicate\nUsage:"},
		{"--remote=grpc://h:1 --log-file=x", 1, "", "option --log-file is not supported: use --log-directory"},
		{"--remote=grpc://h:1 --log-directory=/no/such/dir", 1, "", "option --log-directory"},
	} {
		t.Run(test.args, func(t *testing.T) {
			cmd := exec.Command(hosttools, strings.Fields(test.args)...)
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != test.exit {
				t.Errorf("exit %d, want %d", got, test.exit)
			}
			if !strings.HasPrefix(stdout.String(), test.stdout) || (stdout.Len() > 0) != (test.stdout != "") {
				t.Errorf("stdout %q, want %q", &stdout, test.stdout)
			}
			if !strings.Contains(stderr.String(), test.stderr) || (stderr.Len() > 0) != (test.stderr != "") {
				t.Errorf("stderr %q, want %q", &stderr, test.stderr)
			}
		})
	}
}

func TestLogDirectoryTakesTheLog(t *testing.T) {
	casd, dir := runnertest.Start(t), runnertest.OpenDir(t)
	gone := digest.Of([]byte("gone"))
	r := prepare(t, casd, &repb.Action{CommandDigest: gone.Proto(), InputRootDigest: gone.Proto()}, "--log-directory="+dir).finish(t)
	files, err := filepath.Glob(dir + "/buildbox-run-hosttools.*.log.INFO.*")
	if err != nil || len(files) != 1 {
		t.Fatalf("log files %v, %v", files, err)
	}
	log, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(string(log), "is missing") || r.console.Len() > 0 {
		t.Errorf("log %q, %v, stderr %q", log, err, &r.console)
	}
}
