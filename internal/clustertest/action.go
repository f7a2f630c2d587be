package clustertest

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/digest"
)

// An Action is a shell script to run.
type Action struct {
	Script string
	// Inputs are the contents of files in the folder in, by name, where the script
	// finds them.
	Inputs map[string]string
	// Outputs are paths of what the script makes.
	Outputs []string
	// Platform is what it asks of a worker, as key=value.
	Platform []string
	// Timeout is a minute unless set.
	Timeout time.Duration
	// NoCache says that its result isn't to be cached, nor shared.
	NoCache bool
}

// inputFolder is where the inputs are.
const inputFolder = "in"

// Blobs returns the action's digest, and all blobs it consists of.
func (a Action) Blobs(t testing.TB) (digest.Digest, map[digest.Digest][]byte) {
	t.Helper()
	blobs := make(map[digest.Digest][]byte)
	add := func(m proto.Message) digest.Digest {
		data, d, err := digest.OfMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		blobs[d] = data
		return d
	}
	inputs, root := new(repb.Directory), new(repb.Directory)
	for _, name := range slices.Sorted(maps.Keys(a.Inputs)) {
		data := []byte(a.Inputs[name])
		blobs[digest.Of(data)] = data
		inputs.Files = append(inputs.Files, &repb.FileNode{Name: name, Digest: digest.Of(data).Proto()})
	}
	if len(a.Inputs) > 0 {
		root.Directories = []*repb.DirectoryNode{{Name: inputFolder, Digest: add(inputs).Proto()}}
	}
	command := add(&repb.Command{
		Arguments:            []string{"/bin/sh", "-c", a.Script},
		OutputPaths:          a.Outputs,
		EnvironmentVariables: []*repb.Command_EnvironmentVariable{{Name: "PATH", Value: "/usr/bin:/bin"}},
	})
	timeout := a.Timeout
	if timeout == 0 {
		timeout = time.Minute
	}
	action := &repb.Action{
		CommandDigest: command.Proto(), InputRootDigest: add(root).Proto(), Timeout: durationpb.New(timeout), DoNotCache: a.NoCache,
	}
	for _, property := range a.Platform {
		if action.Platform == nil {
			action.Platform = new(repb.Platform)
		}
		key, value, _ := strings.Cut(property, "=")
		action.Platform.Properties = append(action.Platform.Properties, &repb.Platform_Property{Name: key, Value: value})
	}
	return add(action), blobs
}
