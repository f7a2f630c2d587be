package drive

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/digest"
)

// Where things are in an input root.
const (
	outputPath = "out/result"
	inputsDir  = "src"
	depsDir    = "deps"
)

// A request is an action as REAPI has it: its digest, and what a server needs to execute
// it.
type request struct {
	function digest.Func // of all digests
	digest   digest.Digest
	// messages are the Action, the Command and the Directories, by digest.
	messages map[digest.Digest][]byte
	// files are the blobs of the input root that are made here; those that other actions
	// made are the server's already.
	files map[digest.Digest]workload.Blob
}

// An output is a file that an action made.
type output struct {
	name   string
	digest digest.Digest
}

// A Command is what an action runs, and on what.
type Command struct {
	Arguments   []string
	Environment map[string]string
	Platform    map[string]string
	// Outputs are paths of files or directories that it makes.
	Outputs []string
	// Inputs are files of its input root.
	Inputs []workload.Blob
	// Timeout is the action's own; 0 leaves it to the server.
	Timeout    time.Duration
	DoNotCache bool
	deps       []output // files that other actions made
}

// newRequest makes the request of an action whose dependencies have these outputs.
func (c *Client) newRequest(class *workload.Class, a *workload.Action, deps []output, kind scenario.Command) *request {
	command := &Command{
		Arguments: arguments(a, kind), Environment: map[string]string{"WEIR_KEY": fmt.Sprintf("%016x%016x", a.Key.Hi, a.Key.Lo)},
		Platform: class.Platform, Inputs: a.Inputs,
	}
	if !a.Warm {
		command.deps = deps
	}
	if a.Output.Size > 0 {
		command.Outputs = []string{outputPath}
	}
	return c.request(command)
}

// request makes the messages of a command.
func (c *Client) request(k *Command) *request {
	r := &request{function: c.Function(), messages: make(map[digest.Digest][]byte), files: make(map[digest.Digest]workload.Blob, len(k.Inputs))}
	root := new(repb.Directory)
	if len(k.deps) > 0 {
		root.Directories = append(root.Directories, r.dependencies(k.deps))
	}
	if sources := r.sources(c, k.Inputs); sources != nil { // sorts behind
		root.Directories = append(root.Directories, sources)
	}
	platform := platformOf(k.Platform)
	// As Bazel does, outputs stand in the old field and in the new one, and the platform
	// here, too, so that servers of any version know them.
	//lint:ignore SA1019 the old fields are the point
	command := &repb.Command{Arguments: k.Arguments, OutputPaths: k.Outputs, OutputFiles: k.Outputs, Platform: platform}
	for _, name := range slices.Sorted(maps.Keys(k.Environment)) {
		command.EnvironmentVariables = append(command.EnvironmentVariables, &repb.Command_EnvironmentVariable{Name: name, Value: k.Environment[name]})
	}
	action := &repb.Action{
		CommandDigest: r.message(command).Proto(), InputRootDigest: r.message(root).Proto(), Platform: platform, DoNotCache: k.DoNotCache,
	}
	if k.Timeout > 0 {
		action.Timeout = durationpb.New(k.Timeout)
	}
	r.digest = r.message(action)
	return r
}

// message adds a message to what the server needs.
func (r *request) message(m proto.Message) digest.Digest {
	data, d, err := r.function.OfMessage(m)
	if err != nil {
		panic("marshal action: " + err.Error()) // of our own making
	}
	r.messages[d] = data
	return d
}

func (r *request) sources(c *Client, inputs []workload.Blob) *repb.DirectoryNode {
	if len(inputs) == 0 {
		return nil
	}
	d := new(repb.Directory)
	for i, blob := range inputs {
		file := c.Digest(blob)
		r.files[file] = blob
		// Names sort as numbers do.
		d.Files = append(d.Files, &repb.FileNode{Name: fmt.Sprintf("f%06d", i), Digest: file.Proto()})
	}
	return &repb.DirectoryNode{Name: inputsDir, Digest: r.message(d).Proto()}
}

func (r *request) dependencies(deps []output) *repb.DirectoryNode {
	d := new(repb.Directory)
	for _, o := range deps {
		d.Files = append(d.Files, &repb.FileNode{Name: o.name, Digest: o.digest.Proto()})
	}
	slices.SortFunc(d.Files, func(x, y *repb.FileNode) int { return cmp.Compare(x.Name, y.Name) })
	return &repb.DirectoryNode{Name: depsDir, Digest: r.message(d).Proto()}
}

// arguments are the command line. The synthetic one is that of buildbox-run-sleep.
func arguments(a *workload.Action, kind scenario.Command) []string {
	exit := 0
	if a.Fails {
		exit = 1
	}
	if kind == scenario.Synthetic {
		args := []string{"/bin/sleep", a.Duration.String()}
		if a.Output.Size > 0 {
			args = append(args, fmt.Sprintf("--output=%s=%d", outputPath, a.Output.Size))
		}
		if len(a.Inputs)+len(a.Deps) > 0 {
			args = append(args, "--inputs")
		}
		if exit != 0 {
			args = append(args, "--exit="+strconv.Itoa(exit))
		}
		return args
	}
	// The output depends on the action alone, so that equal actions have equal results.
	script := "sleep " + strconv.FormatFloat(a.Duration.Seconds(), 'f', 3, 64)
	if a.Output.Size > 0 {
		script += fmt.Sprintf(`; yes "$WEIR_KEY" | head -c %d > %s`, a.Output.Size, outputPath)
	}
	return []string{"/bin/sh", "-c", script + "; exit " + strconv.Itoa(exit)}
}

func platformOf(properties map[string]string) *repb.Platform {
	if len(properties) == 0 {
		return nil
	}
	p := new(repb.Platform)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		p.Properties = append(p.Properties, &repb.Platform_Property{Name: name, Value: properties[name]})
	}
	return p
}
