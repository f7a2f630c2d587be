// Package demo is a small build that runs remotely: a client with a graph of
// actions, and a C project for it to compile, link and test. It is what `make
// demo` sends, and what tests send where a real build tool would be too much.
package demo

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

//go:embed project
var sources embed.FS

// A Step is one action of a build.
type Step struct {
	Name     string // what progress and traces call it
	Mnemonic string // what kind of action it is
	Args     []string
	Inputs   []string // paths of source files and of other steps' outputs
	Outputs  []string
	After    []string // the names of the steps that make its inputs
}

// Project returns the steps of the C project: compile, archive, link, test.
func Project() []Step {
	var steps []Step
	compile := func(unit string) Step {
		object := "out/" + unit + ".o"
		return Step{
			Name: unit + ".o", Mnemonic: "CppCompile", Outputs: []string{object},
			Args:   []string{"/usr/bin/gcc", "-std=c11", "-O2", "-Wall", "-c", "src/" + unit + ".c", "-o", object},
			Inputs: []string{"src/" + unit + ".c", "src/stats.h"},
		}
	}
	library := Step{
		Name: "libstats.a", Mnemonic: "CppArchive", Outputs: []string{"out/libstats.a"},
		Args: []string{"/usr/bin/ar", "rcsD", "out/libstats.a"},
	}
	for _, unit := range []string{"mean", "variance", "quantile", "erlang"} {
		step := compile(unit)
		steps = append(steps, step)
		library.Inputs = append(library.Inputs, step.Outputs...)
		library.Args = append(library.Args, step.Outputs...)
		library.After = append(library.After, step.Name)
	}
	steps = append(steps, compile("main"), compile("stats_test"), library)
	for program, unit := range map[string]string{"weirstats": "main", "stats_test": "stats_test"} {
		steps = append(steps, Step{
			Name: program, Mnemonic: "CppLink", Outputs: []string{"out/" + program},
			Args:   []string{"/usr/bin/gcc", "-o", "out/" + program, "out/" + unit + ".o", "out/libstats.a", "-lm"},
			Inputs: []string{"out/" + unit + ".o", "out/libstats.a"},
			After:  []string{unit + ".o", "libstats.a"},
		})
	}
	return append(steps,
		Step{Name: "run tests", Mnemonic: "TestRunner", Args: []string{"./out/stats_test"}, Inputs: []string{"out/stats_test"}, After: []string{"stats_test"}},
		Step{Name: "run program", Mnemonic: "Run", Args: []string{"./out/weirstats"}, Inputs: []string{"out/weirstats"}, After: []string{"weirstats"}},
	)
}

// A Result is what became of a step.
type Result struct {
	Step     Step
	Cached   bool
	ExitCode int32
	Output   string // stdout and stderr
	Duration time.Duration
	Action   digest.Digest
	Metadata *repb.ExecutedActionMetadata
}

// A Build runs steps on a server.
type Build struct {
	Client *remote.Client
	// Jobs is how many steps may be under way at a time.
	Jobs int
	// Platform is what the steps ask of a worker.
	Platform *repb.Platform
	// Start returns the context of a step, for its trace, and what ends that. It
	// may be nil.
	Start func(ctx context.Context, step Step) (context.Context, func(error))
	// Done is told of each step that has ended, one at a time. It may be nil.
	Done func(Result)
}

// Run runs all steps, each as soon as those before it have ended, and stops at
// the first that fails.
func (b *Build) Run(ctx context.Context, steps []Step) ([]Result, error) {
	files, err := b.sources()
	if err != nil {
		return nil, err
	}
	done := make(map[string]chan struct{}, len(steps))
	for _, step := range steps {
		done[step.Name] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan struct{}, b.Jobs)
	results := make(chan Result, len(steps))
	for _, step := range steps {
		group.Go(func() error {
			for _, before := range step.After {
				select {
				case <-done[before]:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			select {
			case jobs <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			result, err := b.run(ctx, step, files)
			<-jobs
			if err != nil {
				return fmt.Errorf("%s: %w", step.Name, err)
			}
			results <- result
			close(done[step.Name])
			return nil
		})
	}
	failed := make(chan error, 1)
	go func() {
		failed <- group.Wait()
		close(results)
	}()
	var all []Result
	for result := range results {
		if b.Done != nil {
			b.Done(result)
		}
		all = append(all, result)
	}
	return all, <-failed
}

// sources uploads the project's files.
func (b *Build) sources() (*fileSet, error) {
	files := newFileSet()
	entries, err := fs.ReadDir(sources, "project")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		data, err := fs.ReadFile(sources, path.Join("project", entry.Name()))
		if err != nil {
			return nil, err
		}
		files.addData("src/"+entry.Name(), data)
	}
	return files, nil
}

func (b *Build) run(ctx context.Context, step Step, files *fileSet) (result Result, err error) {
	if b.Start != nil {
		var end func(error)
		ctx, end = b.Start(ctx, step)
		defer func() { end(err) }()
	}
	start := time.Now()
	action, blobs, err := b.action(step, files)
	if err != nil {
		return Result{}, err
	}
	if err := b.Client.WriteBlobs(ctx, blobs); err != nil {
		return Result{}, err
	}
	response, err := b.Client.Execute(ctx, &repb.ExecuteRequest{
		InstanceName: b.Client.Instance(), ActionDigest: action.Proto(), DigestFunction: repb.DigestFunction_SHA256,
	}, nil)
	if err != nil {
		return Result{}, err
	}
	if code := codes.Code(response.Status.GetCode()); code != codes.OK {
		return Result{}, fmt.Errorf("%v: %s", code, response.Status.GetMessage())
	}
	result = Result{
		Step: step, Cached: response.CachedResult, ExitCode: response.Result.ExitCode, Duration: time.Since(start),
		Action: action, Metadata: response.Result.ExecutionMetadata,
	}
	if result.Output, err = b.output(ctx, response.Result); err != nil {
		return Result{}, err
	}
	if result.ExitCode != 0 {
		return result, fmt.Errorf("exit code %d:\n%s", result.ExitCode, result.Output)
	}
	return result, files.addOutputs(response.Result, step.Outputs)
}

// action makes the action of a step and all blobs it consists of.
func (b *Build) action(step Step, files *fileSet) (digest.Digest, map[digest.Digest][]byte, error) {
	blobs := make(map[digest.Digest][]byte)
	root, err := files.tree(step.Inputs, blobs)
	if err != nil {
		return digest.Digest{}, nil, err
	}
	command, err := add(blobs, &repb.Command{
		Arguments: step.Args,
		EnvironmentVariables: []*repb.Command_EnvironmentVariable{
			{Name: "LC_ALL", Value: "C"}, {Name: "PATH", Value: "/usr/bin:/bin"},
		},
		OutputPaths: step.Outputs,
	})
	if err != nil {
		return digest.Digest{}, nil, err
	}
	action, err := add(blobs, &repb.Action{
		CommandDigest: command.Proto(), InputRootDigest: root.Proto(),
		Timeout: durationpb.New(time.Minute), Platform: b.Platform,
	})
	return action, blobs, err
}

// output returns what a step printed.
func (b *Build) output(ctx context.Context, result *repb.ActionResult) (string, error) {
	var text strings.Builder
	for _, stream := range []struct {
		raw []byte
		at  *repb.Digest
	}{{result.StdoutRaw, result.StdoutDigest}, {result.StderrRaw, result.StderrDigest}} {
		if stream.at == nil || len(stream.raw) > 0 {
			text.Write(stream.raw)
			continue
		}
		d, err := digest.FromProto(stream.at)
		if err != nil {
			return "", err
		}
		data, err := b.Client.ReadBlob(ctx, d)
		if err != nil {
			return "", err
		}
		text.Write(data)
	}
	return text.String(), nil
}
