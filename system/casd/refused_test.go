package casd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/google/go-cmp/cmp"
	epb "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

func TestMissingBlobsAreNamed(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		lost := []digest.Digest{digest.Of([]byte("lost 1")), digest.Of([]byte("lost 2"))}
		there := w.put([]byte("there"))
		root := w.putMessage(&repb.Directory{Files: []*repb.FileNode{
			{Name: "a", Digest: lost[0].Proto()}, {Name: "b", Digest: there.Proto()}, {Name: "c", Digest: lost[1].Proto()},
		}})
		subdir := digest.Of([]byte("lost directory"))
		deep := w.putMessage(&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "d", Digest: subdir.Proto()}}})
		for _, c := range []struct {
			name string
			root digest.Digest
			want []digest.Digest
		}{
			{"files", root, lost},
			{"directory", deep, []digest.Digest{subdir}},
			{"root", lost[0], lost[:1]},
		} {
			_, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: c.root.Proto(), StagingMode: mode})
			if got := status.Code(err); got != codes.FailedPrecondition {
				t.Fatalf("%s: got %v, want FAILED_PRECONDITION", c.name, err)
			}
			var got, want []string
			for _, detail := range status.Convert(err).Details() {
				for _, v := range detail.(*epb.PreconditionFailure).Violations {
					got = append(got, v.Type+" "+v.Subject)
				}
			}
			for _, d := range c.want {
				want = append(want, "MISSING blobs/"+d.String())
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("%s: violations (-got +want):\n%s", c.name, diff)
			}
		}
		w.noStagings()
	})
}

func TestManyMissingBlobsFitInAStatus(t *testing.T) {
	w := newWorld(t)
	dir := new(repb.Directory)
	for i := range 1000 {
		dir.Files = append(dir.Files, &repb.FileNode{Name: fmt.Sprintf("%04d", i), Digest: digest.Of(fmt.Append(nil, i)).Proto()})
	}
	_, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: w.putMessage(dir).Proto()})
	st := status.Convert(err)
	if st.Code() != codes.FailedPrecondition || !strings.Contains(st.Message(), "1000 blobs") {
		t.Fatalf("got %v, want FAILED_PRECONDITION that counts 1000 blobs", err)
	}
	got := len(st.Details()[0].(*epb.PreconditionFailure).Violations)
	if got != 40 {
		t.Errorf("got %d violations, want 40", got)
	}
}

func TestBadTreesAreRefused(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		blob := w.put([]byte("x")).Proto()
		sub := w.putTree(files{"f": "x"}).Proto()
		file := func(name string) *repb.Directory {
			return &repb.Directory{Files: []*repb.FileNode{{Name: name, Digest: blob}}}
		}
		for name, c := range map[string]struct {
			dir  *repb.Directory
			want string
		}{
			"empty name":     {file(""), `node ""`},
			"dot":            {file("."), `node "."`},
			"dot dot":        {&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "..", Digest: sub}}}, `node ".."`},
			"slash":          {file("../../etc/passwd"), `node "../../etc/passwd"`},
			"NUL":            {file("a\x00b"), `node "a\x00b"`},
			"long":           {file(strings.Repeat("n", 256)), "longer than 255"},
			"two files":      {&repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: blob}, {Name: "a", Digest: blob}}}, `node "a": there are two`},
			"file and dir":   {&repb.Directory{Files: []*repb.FileNode{{Name: "a", Digest: blob}}, Directories: []*repb.DirectoryNode{{Name: "a", Digest: sub}}}, `node "a": there are two`},
			"dir and link":   {&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "a", Digest: sub}}, Symlinks: []*repb.SymlinkNode{{Name: "a", Target: "t"}}}, `node "a": there are two`},
			"empty target":   {&repb.Directory{Symlinks: []*repb.SymlinkNode{{Name: "a"}}}, `node "a": the target`},
			"no digest":      {&repb.Directory{Files: []*repb.FileNode{{Name: "a"}}}, `node "a": malformed digest`},
			"bad dir digest": {&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "a", Digest: &repb.Digest{Hash: "../.."}}}}, `node "a": malformed digest`},
		} {
			t.Run(name, func(t *testing.T) {
				bad := w.putMessage(c.dir)
				// Also when it isn't the root.
				for _, root := range []digest.Digest{bad, w.putMessage(&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "inner", Digest: bad.Proto()}}})} {
					_, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: root.Proto(), StagingMode: mode})
					if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), bad.String()) {
						t.Errorf("got %v, want INVALID_ARGUMENT with %s and directory %v", err, c.want, bad)
					}
				}
			})
		}
		noise := w.put([]byte("not a Directory"))
		if _, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: noise.Proto(), StagingMode: mode}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a blob that isn't a Directory: got %v, want INVALID_ARGUMENT", err)
		}
		w.noStagings()
	})
}

// A few kilobytes of Directories can stand for more files than any disk holds.
func TestTreeOfHugeExpansionIsNotWrittenOut(t *testing.T) {
	w := newWorld(t)
	d := w.putTree(files{"f": "x"})
	for range 60 {
		d = w.putMessage(&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "a", Digest: d.Proto()}, {Name: "b", Digest: d.Proto()}}})
	}
	_, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: d.Proto(), StagingMode: lcpb.StageTreeRequest_COPY_OR_LINK})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "more than 1048576 entries") {
		t.Errorf("copied: got %v, want INVALID_ARGUMENT", err)
	}
	needFUSE(t)
	s := w.stage(d, lcpb.StageTreeRequest_FUSE)
	data, err := os.ReadFile(filepath.Join(s.path, strings.Repeat("a/", 30)+strings.Repeat("b/", 30)+"f"))
	if err != nil || string(data) != "x" {
		t.Errorf("mounted: got %q, %v, want x", data, err)
	}
	s.end()
}

func TestTreeTooDeepIsRefused(t *testing.T) {
	w := newWorld(t)
	d := digest.Empty
	for range 1000 {
		d = w.putMessage(&repb.Directory{Directories: []*repb.DirectoryNode{{Name: "d", Digest: d.Proto()}}})
	}
	if _, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: d.Proto()}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v, want INVALID_ARGUMENT", err)
	}
}

func TestBadStageRequestsAreRefused(t *testing.T) {
	w := newWorld(t, withoutFUSE)
	root := w.putTree(files{"f": "x"}).Proto()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "there"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		request *lcpb.StageTreeRequest
		code    codes.Code
		want    string
	}{
		"no root":         {&lcpb.StageTreeRequest{}, codes.InvalidArgument, "root_digest"},
		"bad root":        {&lcpb.StageTreeRequest{RootDigest: &repb.Digest{Hash: "xyz"}}, codes.InvalidArgument, "root_digest"},
		"relative path":   {&lcpb.StageTreeRequest{RootDigest: root, Path: "x"}, codes.InvalidArgument, "not absolute"},
		"path not empty":  {&lcpb.StageTreeRequest{RootDigest: root, Path: full}, codes.InvalidArgument, "not empty"},
		"path is a file":  {&lcpb.StageTreeRequest{RootDigest: root, Path: full + "/there"}, codes.InvalidArgument, "not a directory"},
		"no parent":       {&lcpb.StageTreeRequest{RootDigest: root, Path: full + "/no/such"}, codes.InvalidArgument, "doesn't exist"},
		"FUSE is off":     {&lcpb.StageTreeRequest{RootDigest: root, StagingMode: lcpb.StageTreeRequest_FUSE}, codes.InvalidArgument, "FUSE is not supported here"},
		"unknown mode":    {&lcpb.StageTreeRequest{RootDigest: root, StagingMode: 7}, codes.InvalidArgument, "mode 7"},
		"negative uid":    {&lcpb.StageTreeRequest{RootDigest: root, AccessCredentials: &lcpb.StageTreeRequest_Credentials{Uid: -1}}, codes.InvalidArgument, "access_credentials"},
		"unstage command": {&lcpb.StageTreeRequest{RootDigest: root, PreUnstageCommands: []string{"/bin/rm"}}, codes.InvalidArgument, "/bin/rm"},
		"absolute socket": {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocketPath: "/s"}, codes.InvalidArgument, "remote_apis_socket_path"},
		"socket outside":  {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocketPath: "d/../../s"}, codes.InvalidArgument, "remote_apis_socket_path"},
		"no socket":       {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocketPath: "."}, codes.InvalidArgument, "remote_apis_socket_path"},
		"socket is there": {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocketPath: "f"}, codes.InvalidArgument, "something there"},
		"below a file":    {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocketPath: "f/s"}, codes.InvalidArgument, "remote_apis_socket_path"},
		"long socket":     {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocketPath: strings.Repeat("s", 100)}, codes.InvalidArgument, "too long"},
		"socket, new way": {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocket: &lcpb.RemoteApisSocketConfig{}}, codes.InvalidArgument, "remote_apis_socket.path"},
		"its instance":    {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocket: &lcpb.RemoteApisSocketConfig{Path: "s", InstanceName: "other"}}, codes.InvalidArgument, "instance_name: unknown"},
		"its instances":   {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocket: &lcpb.RemoteApisSocketConfig{Path: "s", InstanceMap: map[string]string{"a": "other"}}}, codes.InvalidArgument, "instance_map: unknown"},
		"two ways":        {&lcpb.StageTreeRequest{RootDigest: root, RemoteApisSocket: &lcpb.RemoteApisSocketConfig{Path: "s", InstanceName: "near", InstanceMap: map[string]string{"a": "near"}}}, codes.InvalidArgument, "not both"},
		"many commands":   {&lcpb.StageTreeRequest{RootDigest: root, PreUnstageCommands: make([]string, 17)}, codes.InvalidArgument, "17 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.tryStage(c.request)
			if status.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %v with %q", err, c.code, c.want)
			}
		})
	}
	w.noStagings()
	if _, err := os.Stat(filepath.Join(full, "there")); err != nil {
		t.Errorf("what was at the path: %v", err)
	}
}
