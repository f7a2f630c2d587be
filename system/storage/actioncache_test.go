package storage_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

var anAction = digest.Of([]byte("an action"))

func (c *cluster) update(t *testing.T, result *repb.ActionResult) (*repb.ActionResult, error) {
	t.Helper()
	return c.ac.UpdateActionResult(t.Context(), &repb.UpdateActionResultRequest{
		InstanceName: "main", ActionDigest: anAction.Proto(), ActionResult: result})
}

func (c *cluster) mustUpdate(t *testing.T, result *repb.ActionResult) *repb.ActionResult {
	t.Helper()
	got, err := c.update(t, result)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (c *cluster) result(t *testing.T, request *repb.GetActionResultRequest) (*repb.ActionResult, error) {
	t.Helper()
	request.InstanceName, request.ActionDigest = "main", anAction.Proto()
	return c.ac.GetActionResult(t.Context(), request)
}

func wantEqual(t *testing.T, got, want proto.Message) {
	t.Helper()
	if diff := cmp.Diff(got, want, protocmp.Transform()); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

func TestActionResultRoundTripAndReplacement(t *testing.T) {
	c := newMemoryCluster(t)
	_, err := c.result(t, &repb.GetActionResultRequest{})
	wantStatus(t, "before", err, codes.NotFound, anAction.String())
	file := c.put(t, "file")
	for code := range int32(2) {
		want := &repb.ActionResult{ExitCode: code, StdoutRaw: []byte("short"),
			OutputFiles: []*repb.OutputFile{{Path: "out", Digest: file.Proto()}}}
		wantEqual(t, c.mustUpdate(t, want), want)
		got, err := c.result(t, &repb.GetActionResultRequest{})
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, want)
	}
}

func TestIncompleteResultIsNotFound(t *testing.T) {
	c := newMemoryCluster(t)
	c.mustUpdate(t, &repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: "out", Digest: digest.Of([]byte("gone")).Proto()}}})
	_, err := c.result(t, &repb.GetActionResultRequest{})
	wantStatus(t, "incomplete", err, codes.NotFound, "an output is gone from the CAS")
	if got := c.samples(t)["weir_action_cache_lookups_total main incomplete"]; got != 1 {
		t.Errorf("%v incomplete look-ups counted, want 1", got)
	}
	c.put(t, "gone")
	if _, err := c.result(t, &repb.GetActionResultRequest{}); err != nil {
		t.Errorf("after the file came back: %v", err)
	}
}

func TestLongOutputGoesToTheCAS(t *testing.T) {
	c := newMemoryCluster(t)
	long := bytes.Repeat([]byte("long output\n"), 1000)
	contents := []byte("contents")
	got := c.mustUpdate(t, &repb.ActionResult{StdoutRaw: long, StderrRaw: []byte("short"),
		OutputFiles: []*repb.OutputFile{{Path: "out", Digest: digest.Of(contents).Proto(), Contents: contents}}})
	wantEqual(t, got, &repb.ActionResult{StdoutDigest: digest.Of(long).Proto(), StderrRaw: []byte("short"),
		OutputFiles: []*repb.OutputFile{{Path: "out", Digest: digest.Of(contents).Proto()}}})
	if !c.holds(t, digest.Of(long)) || !c.holds(t, digest.Of(contents)) {
		t.Error("what was moved isn't in the CAS")
	}
}

func TestInliningIsDoneAsAsked(t *testing.T) {
	c := newMemoryCluster(t)
	out, errors := c.put(t, "standard output"), c.put(t, "standard error")
	a, b := c.put(t, "file a"), c.put(t, "file b")
	plain := &repb.ActionResult{StdoutDigest: out.Proto(), StderrDigest: errors.Proto(),
		OutputFiles: []*repb.OutputFile{{Path: "a", Digest: a.Proto()}, {Path: "b", Digest: b.Proto()}}}
	c.mustUpdate(t, plain)
	rows := []struct {
		request *repb.GetActionResultRequest
		change  func(*repb.ActionResult)
	}{
		{&repb.GetActionResultRequest{}, func(*repb.ActionResult) {}},
		{&repb.GetActionResultRequest{InlineStdout: true}, func(r *repb.ActionResult) { r.StdoutRaw = []byte("standard output") }},
		{&repb.GetActionResultRequest{InlineStderr: true}, func(r *repb.ActionResult) { r.StderrRaw = []byte("standard error") }},
		{&repb.GetActionResultRequest{InlineOutputFiles: []string{"b", "absent"}}, func(r *repb.ActionResult) { r.OutputFiles[1].Contents = []byte("file b") }},
	}
	for _, row := range rows {
		want := proto.CloneOf(plain)
		row.change(want)
		got, err := c.result(t, row.request)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, want)
	}
}

func TestInliningIsBounded(t *testing.T) {
	c := newMemoryCluster(t)
	result := &repb.ActionResult{}
	var paths []string
	for i := range 5 {
		d := c.put(t, strings.Repeat(fmt.Sprint(i), 400_000))
		paths = append(paths, fmt.Sprint(i))
		result.OutputFiles = append(result.OutputFiles, &repb.OutputFile{Path: paths[i], Digest: d.Proto()})
	}
	c.mustUpdate(t, result)
	got, err := c.result(t, &repb.GetActionResultRequest{InlineOutputFiles: paths})
	if err != nil {
		t.Fatal(err)
	}
	inlined := 0
	for _, file := range got.OutputFiles {
		inlined += len(file.Contents)
	}
	if inlined != 800_000 {
		t.Errorf("%d bytes inlined, want two files of 400,000", inlined)
	}
}

func TestUpdateRefusesBadResults(t *testing.T) {
	c := newCluster(t, cas.NewMemory(cas.MemoryConfig{QuotaBytes: 100_000}))
	bad := &repb.Digest{Hash: "x", SizeBytes: 1}
	good := c.put(t, "good").Proto()
	many := &repb.ActionResult{}
	for i := range 40_000 {
		many.OutputFiles = append(many.OutputFiles, &repb.OutputFile{Path: fmt.Sprint(i), Digest: good})
	}
	rows := []struct {
		name   string
		result *repb.ActionResult
		code   codes.Code
		text   string
	}{
		{"none", nil, codes.InvalidArgument, "action_result is not set"},
		{"stdout", &repb.ActionResult{StdoutDigest: bad}, codes.InvalidArgument, "stdout_digest: malformed"},
		{"stderr", &repb.ActionResult{StderrDigest: bad}, codes.InvalidArgument, "stderr_digest: malformed"},
		{"file", &repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: "f", Digest: bad}}}, codes.InvalidArgument, `output file "f": malformed`},
		{"file without", &repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: "f"}}}, codes.InvalidArgument, `output file "f": malformed`},
		{"tree", &repb.ActionResult{OutputDirectories: []*repb.OutputDirectory{{Path: "d", TreeDigest: bad}}}, codes.InvalidArgument, `tree of output directory "d"`},
		{"root", &repb.ActionResult{OutputDirectories: []*repb.OutputDirectory{{Path: "d", RootDirectoryDigest: bad}}}, codes.InvalidArgument, `root of output directory "d"`},
		{"no tree", &repb.ActionResult{OutputDirectories: []*repb.OutputDirectory{{Path: "d"}}}, codes.InvalidArgument, `tree of output directory "d"`},
		{"raw isn't its digest", &repb.ActionResult{StdoutRaw: []byte("x"), StdoutDigest: good}, codes.InvalidArgument, "stdout_raw is blob"},
		{"raw beyond quota", &repb.ActionResult{StdoutRaw: make([]byte, 200_000)}, codes.ResourceExhausted, "store stdout_raw"},
		{"too large", many, codes.InvalidArgument, "the limit is 3145728"},
	}
	for _, row := range rows {
		_, err := c.update(t, row.result)
		wantStatus(t, row.name, err, row.code, row.text)
	}
	for _, row := range malformedDigests {
		_, err := c.ac.UpdateActionResult(t.Context(), &repb.UpdateActionResultRequest{InstanceName: "main", ActionDigest: row.digest, ActionResult: &repb.ActionResult{}})
		wantStatus(t, "update "+row.name, err, codes.InvalidArgument, row.text)
		_, err = c.ac.GetActionResult(t.Context(), &repb.GetActionResultRequest{InstanceName: "main", ActionDigest: row.digest})
		wantStatus(t, "get "+row.name, err, codes.InvalidArgument, row.text)
	}
	_, err := c.result(t, &repb.GetActionResultRequest{})
	wantStatus(t, "after all", err, codes.NotFound, "not found")
}
