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
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/executionstats"
	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/runner/runnertest"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
	"github.com/weir-build/weir/traces/tracecontext"
)

func TestResultOfTrue(t *testing.T) {
	r := prepare(t, runnertest.Start(t), &repb.Command{Arguments: []string{"/bin/true"}}).finish(t).mustSucceed(t)
	if r.result.ExitCode != 0 {
		t.Errorf("exit code %d, want 0", r.result.ExitCode)
	}
	for name, d := range map[string]*repb.Digest{"stdout": r.result.StdoutDigest, "stderr": r.result.StderrDigest} {
		if !proto.Equal(d, digest.Empty.Proto()) {
			t.Errorf("%s digest %v, want that of the empty blob", name, d)
		}
	}
	if len(r.result.StdoutRaw)+len(r.result.StderrRaw) > 0 {
		t.Error("output is inlined")
	}
	if r.console.Len() > 0 {
		t.Errorf("the runner itself wrote %q", &r.console)
	}
}

func TestTimestampsAreSetAndInOrder(t *testing.T) {
	before := time.Now()
	r := prepare(t, runnertest.Start(t), &repb.Command{Arguments: []string{"/bin/true"}}).finish(t).mustSucceed(t)
	m := r.result.ExecutionMetadata
	last := timestamppb.New(before)
	for i, next := range []*timestamppb.Timestamp{
		m.WorkerStartTimestamp, m.InputFetchStartTimestamp, m.InputFetchCompletedTimestamp, m.ExecutionStartTimestamp,
		m.ExecutionCompletedTimestamp, m.OutputUploadStartTimestamp, m.OutputUploadCompletedTimestamp, m.WorkerCompletedTimestamp,
		timestamppb.Now(),
	} {
		if next == nil || next.AsTime().Before(last.AsTime()) {
			t.Errorf("timestamp %d is %v, before %v", i, next.AsTime(), last.AsTime())
		}
		last = next
	}
	if m.Worker != "" || m.QueuedTimestamp != nil {
		t.Errorf("worker %q and queued time %v are not the runner's to set", m.Worker, m.QueuedTimestamp)
	}
}

func TestExitCodes(t *testing.T) {
	casd := runnertest.Start(t)
	for _, test := range []struct {
		name      string
		arguments []string
		want      int32
		stderr    string
	}{
		{"ok", []string{"/bin/sh", "-c", "exit 0"}, 0, ""},
		{"plain", []string{"/bin/sh", "-c", "exit 3"}, 3, ""},
		{"signal", []string{"/bin/sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		{"kill", []string{"/bin/sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{"no PATH search", []string{"true"}, 127, "true: no such file or directory; a command is named by its path, there is no search along PATH\n"},
		{"no search of the tree", []string{"tool"}, 127, "tool: no such file or directory; a command is named by its path, there is no search along PATH\n"},
		{"absolute missing", []string{"/no/such/tool"}, 127, "/no/such/tool: no such file or directory\n"},
		{"relative missing", []string{"./missing"}, 127, "./missing: no such file or directory\n"},
		{"interpreter missing", []string{"./orphan"}, 127, "./orphan: no such file or directory\n"},
		{"not executable", []string{"./data"}, 126, "./data: permission denied\n"},
		{"directory", []string{"./"}, 126, "./: permission denied\n"},
		{"bad format", []string{"./junk"}, 126, "./junk: exec format error\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := casd.PutMessage(t, &repb.Directory{Files: []*repb.FileNode{
				{Name: "data", Digest: casd.Put([]byte("data"))},
				{Name: "junk", Digest: casd.Put([]byte("junk")), IsExecutable: true},
				{Name: "orphan", Digest: casd.Put([]byte("#!/no/such/interpreter\n")), IsExecutable: true},
				{Name: "tool", Digest: casd.Put([]byte("#!/bin/sh\n")), IsExecutable: true},
			}})
			command := casd.PutMessage(t, &repb.Command{Arguments: test.arguments, EnvironmentVariables: []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/bin:."}}})
			r := prepare(t, casd, &repb.Action{CommandDigest: command, InputRootDigest: root}).finish(t).mustSucceed(t)
			if got := r.result.ExitCode; got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
			if got := r.stderr(t); got != test.stderr {
				t.Errorf("stderr %q, want %q", got, test.stderr)
			}
		})
	}
}

func TestEnvironmentIsExactlyTheCommands(t *testing.T) {
	casd := runnertest.Start(t)
	for _, test := range []struct {
		name string
		env  []*repb.Command_EnvironmentVariable
		want string
	}{
		{"none", nil, ""},
		{"two", []*repb.Command_EnvironmentVariable{{Name: "A", Value: "1"}, {Name: "Z", Value: "x=y z"}}, "A=1\nZ=x=y z\n"},
		{"traceparent of its own", []*repb.Command_EnvironmentVariable{{Name: tracecontext.Env, Value: "mine"}}, "TRACEPARENT=mine\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := prepare(t, casd, &repb.Command{Arguments: []string{"/usr/bin/env"}, EnvironmentVariables: test.env})
			r.cmd.Env = append(r.cmd.Env, tracecontext.Env+"="+tracecontext.OfInvocation("x").String())
			if got := r.finish(t).mustSucceed(t).stdout(t); got != test.want {
				t.Errorf("environment %q, want %q", got, test.want)
			}
		})
	}
}

func TestWorkingDirectory(t *testing.T) {
	casd := runnertest.Start(t)
	sub := casd.PutMessage(t, &repb.Directory{Files: []*repb.FileNode{
		{Name: "tool", Digest: casd.Put([]byte("#!/bin/sh\npwd\ncat ../beside\n")), IsExecutable: true},
	}})
	root := casd.PutMessage(t, &repb.Directory{
		Files:       []*repb.FileNode{{Name: "beside", Digest: casd.Put([]byte("beside\n"))}},
		Directories: []*repb.DirectoryNode{{Name: "sub", Digest: sub}},
		Symlinks:    []*repb.SymlinkNode{{Name: "link", Target: "sub"}, {Name: "out", Target: "/tmp"}},
	})
	run := func(t *testing.T, directory string) *run {
		command := casd.PutMessage(t, &repb.Command{Arguments: []string{"./tool"}, WorkingDirectory: directory,
			EnvironmentVariables: []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}})
		return prepare(t, casd, &repb.Action{CommandDigest: command, InputRootDigest: root}).finish(t)
	}
	for _, directory := range []string{"sub", "sub/", "./sub", "x/../sub", "link"} {
		got := run(t, directory).mustSucceed(t).stdout(t)
		if !strings.HasSuffix(got, "/sub\nbeside\n") {
			t.Errorf("in %q: output %q", directory, got)
		}
	}
	for directory, want := range map[string]string{
		"..":        "lies outside the input root",
		"sub/../..": "lies outside the input root",
		"/tmp":      "is absolute",
		"out":       "path escapes",
		"beside":    `"beside"`,
	} {
		run(t, directory).mustFail(t, codes.InvalidArgument, want)
	}
	// It need not be there.
	if r := run(t, "new/dir").mustSucceed(t); r.result.ExitCode != 127 {
		t.Errorf("exit code %d, want 127: the tool isn't in a new directory", r.result.ExitCode)
	}
}

func TestStdinIsEmptyAndOutputAppends(t *testing.T) {
	casd := runnertest.Start(t)
	r := prepare(t, casd, shell(`/bin/cat; echo 1; echo two >/dev/stdout; echo three; echo err >&2`)).finish(t).mustSucceed(t)
	if got, want := r.stdout(t), "two\nthree\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := r.stderr(t), "err\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}
}

func TestLogFilesAreTruncatedAndKept(t *testing.T) {
	r := prepare(t, runnertest.Start(t), shell("echo new"))
	stdout := r.path("stdout")
	if err := os.WriteFile(stdout, []byte("old and longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.cmd.Args = append(r.cmd.Args, "--stdout-file="+stdout, "--stderr-file="+r.path("stderr"))
	r.finish(t).mustSucceed(t)
	if got, err := os.ReadFile(stdout); err != nil || string(got) != "new\n" {
		t.Errorf("stdout file holds %q, %v", got, err)
	}
	info, err := os.Stat(r.path("stderr"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("stderr file: %v, %v, want mode 0600", info, err)
	}
}

func TestTemporaryLogFilesAreRemoved(t *testing.T) {
	r := prepare(t, runnertest.Start(t), shell("echo x")).finish(t).mustSucceed(t)
	entries, err := os.ReadDir(r.dir) // its TMPDIR
	if err != nil || len(entries) != 2 {
		t.Errorf("left %v, %v, want action and result only", entries, err)
	}
}

func TestLargeOutputIsStreamed(t *testing.T) {
	r := prepare(t, runnertest.Start(t), shell("/usr/bin/head -c 3000000 /dev/zero | /usr/bin/tr '\\0' x")).finish(t).mustSucceed(t)
	if got := r.stdout(t); got != strings.Repeat("x", 3_000_000) {
		t.Errorf("stdout has %d bytes, want 3000000 x", len(got))
	}
}

func TestNoLogsCaptureLeavesOutputAlone(t *testing.T) {
	r := prepare(t, runnertest.Start(t), shell("echo out; echo err >&2"), "--no-logs-capture")
	var out strings.Builder
	r.cmd.Stdout = &out
	r.finish(t).mustSucceed(t)
	if out.String() != "out\n" || r.console.String() != "err\n" {
		t.Errorf("got %q and %q", out.String(), r.console.String())
	}
	if r.result.StdoutDigest != nil || r.result.StderrDigest != nil {
		t.Error("there are digests of output that wasn't captured")
	}
}

func TestExecutionStatsAreABlobNamedInTheMetadata(t *testing.T) {
	script := "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
	r := prepare(t, runnertest.Start(t), shell(script), "--collect-execution-stats").finish(t).mustSucceed(t)
	if n := len(r.result.ExecutionMetadata.AuxiliaryMetadata); n != 2 {
		t.Fatalf("%d entries, want the digest, and our record behind it", n)
	}
	d, packed, stats := new(repb.Digest), new(anypb.Any), new(executionstats.ExecutionStatistics)
	if err := r.result.ExecutionMetadata.AuxiliaryMetadata[0].UnmarshalTo(d); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal([]byte(r.blob(t, d)), packed); err != nil {
		t.Fatal(err)
	}
	if err := packed.UnmarshalTo(stats); err != nil {
		t.Fatal(err)
	}
	usage := stats.CommandRusage
	if cpu := usage.Utime.AsDuration() + usage.Stime.AsDuration(); cpu <= 0 || usage.Maxrss < 100 || usage.Minflt <= 0 {
		t.Errorf("cpu %v, maxrss %d kB, minflt %d: not those of a shell that counted", cpu, usage.Maxrss, usage.Minflt)
	}
	// The record for the trace says the same, in its own units.
	got := make(map[string]int64)
	for _, a := range build.TakeUsage(r.result.ExecutionMetadata) {
		got[a.Key] = a.Number
	}
	if cpu := got[semconv.AttrUserTime] + got[semconv.AttrSystemTime]; cpu != int64(usage.Utime.AsDuration()+usage.Stime.AsDuration()) ||
		got[semconv.AttrMaxRSS] != usage.Maxrss*1024 || len(got) != 8 {
		t.Errorf("the record for the trace is %v, the statistics are %v", got, usage)
	}
	if n := len(r.result.ExecutionMetadata.AuxiliaryMetadata); n != 1 {
		t.Errorf("%d entries are left, want the digest", n)
	}
}

func TestCallsNameTheSpansOfTheirStages(t *testing.T) {
	casd := runnertest.Start(t)
	command := shell("echo x; echo y >out; mkdir dir")
	command.EnvironmentVariables = []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}}
	command.OutputPaths = []string{"out", "dir"}
	r := prepare(t, casd, command)
	worker := tracecontext.OfInvocation("some build").Child(semconv.SpanWorker, 0)
	r.cmd.Env = append(r.cmd.Env, tracecontext.Env+"="+worker.String())
	r.finish(t).mustSucceed(t)
	fetch, upload := worker.Child(semconv.SpanInputFetch, 0).String(), worker.Child(semconv.SpanOutputUpload, 0).String()
	for method, want := range map[string]string{
		"Read": fetch, "StageTree": fetch, "CaptureFiles": upload, "CaptureTree": upload, "BatchUpdateBlobs": upload,
	} {
		if diff := cmp.Diff(casd.Parents(method), []string{want}); diff != "" {
			t.Errorf("%s: -got +want\n%s", method, diff)
		}
	}
}

func TestBadTraceParentIsIgnored(t *testing.T) {
	r := prepare(t, runnertest.Start(t), &repb.Command{Arguments: []string{"/bin/true"}})
	r.cmd.Env = append(r.cmd.Env, tracecontext.Env+"=nonsense")
	r.finish(t).mustSucceed(t)
	if got := r.casd.Parents("StageTree"); len(got) > 0 {
		t.Errorf("sent %q", got)
	}
}

func TestStagingOptionsAreHandedOn(t *testing.T) {
	casd := runnertest.Start(t)
	workspace := runnertest.OpenDir(t) + "/work"
	r := prepare(t, casd, &repb.Command{Arguments: []string{"/bin/pwd"}}, "--workspace-path="+workspace, "--staging-mode=copy-or-link", "--instance=main")
	if got := r.finish(t).mustSucceed(t).stdout(t); got != workspace+"\n" {
		t.Errorf("ran in %q, want %q", got, workspace)
	}
	request := casd.Stages()[0]
	if request.InstanceName != "main" || request.StagingMode != localcas.StageTreeRequest_COPY_OR_LINK || request.AccessCredentials.GetUid() != uidOfActions() {
		t.Errorf("request %v", request)
	}
}
