package runner

import (
	"net"
	"path"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// Inside the package, because these are decoders of what comes from outside and
// a process for each input would be slow.

func FuzzReadAction(f *testing.F) {
	d := digest.Empty.Proto()
	for _, action := range []*repb.Action{{}, {CommandDigest: d}, {CommandDigest: d, InputRootDigest: d}} {
		data, err := proto.Marshal(action)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := new(Run)
		err := r.readAction(data)
		if err == nil && (r.Timeout < 0 || r.CommandDigest.SizeBytes > maxCommandBytes) {
			t.Errorf("accepted timeout %v, command of %d bytes", r.Timeout, r.CommandDigest.SizeBytes)
		}
		if err != nil && StatusOf(err).Code != 3 {
			t.Errorf("code %d for %v, want INVALID_ARGUMENT", StatusOf(err).Code, err)
		}
	})
}

func FuzzWithin(f *testing.F) {
	f.Add("", "")
	f.Add("w", "../../x")
	f.Add("a/b", "./../c")
	f.Add("/", "x")
	f.Fuzz(func(t *testing.T, directory, name string) {
		p, err := within(directory, name)
		if err == nil && (p != path.Clean(p) || path.IsAbs(p) || strings.Split(p, "/")[0] == "..") {
			t.Errorf("within(%q, %q) is %q", directory, name, p)
		}
	})
}

func TestPlacesForControlGroups(t *testing.T) {
	for _, test := range []struct{ own, controller, want string }{
		{"4:memory:/a\n0::/b\n", "memory", "/sys/fs/cgroup/memory/a/memory.limit_in_bytes /sys/fs/cgroup/b/memory.max"},
		{"0::/user.slice/x\n", "pids", "/sys/fs/cgroup/user.slice/x/pids.max"},
		{"3:cpu,memory:/\nnonsense\n", "memory", "/sys/fs/cgroup/cpu,memory/memory.limit_in_bytes"},
		{"9:name=systemd:/\n", "pids", ""},
	} {
		var got []string
		for _, h := range cgroupsOf(test.own, test.controller) {
			got = append(got, path.Join(h.dir, h.file))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q, %s: %q, want %q", test.own, test.controller, got, test.want)
		}
	}
}

// A warm runner that tried to connect while casd was away doesn't fail the action that comes
// when casd is back.
func TestConnectionThatFailedIsMadeAnew(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close() // nobody is there
	connections := pooledConnections{}
	defer connections.close()
	config := remote.Config{URL: "grpc://" + listener.Addr().String()}
	first, err := connections.dial(config)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := connections.dial(config); again != first || err != nil {
		t.Errorf("the connection isn't kept: %v", err)
	}
	conn := first.Conn()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.TransientFailure; state = conn.GetState() {
		conn.WaitForStateChange(t.Context(), state)
	}
	anew, err := connections.dial(config)
	if err != nil {
		t.Fatal(err)
	}
	if state := anew.Conn().GetState(); state == connectivity.TransientFailure {
		t.Errorf("the connection is %v", state)
	}
	if conn.GetState() != connectivity.Shutdown || len(connections) != 1 {
		t.Errorf("the connection before is %v, there are %d", conn.GetState(), len(connections))
	}
}
