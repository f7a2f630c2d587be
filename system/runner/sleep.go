package runner

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/runner/early"
	"github.com/weir-build/weir/traces/semconv"
)

// Sleep does what a synthetic command says, without a process: for load tests, in which
// commands shouldn't take the machine's time, and to calibrate them. Commands are
//
//	sleep DURATION [OPTION]...    DURATION is 0.25, 250ms, 1m
//	true                          the same as: sleep 0
//	false                         the same as: sleep 0 --exit=1
//
//	--exit=N              the exit code
//	--stdout=BYTES        how much it writes, --stderr=BYTES likewise
//	--output=PATH=BYTES   a declared output file that it makes; repeatable
//	--inputs              have the whole input root fetched before
//
// the first word by any path, so that `/bin/sleep 0.25` is the same for runners that do
// start it. What is written looks random and depends on the command and the name alone.
type Sleep struct{}

var _ Runner = Sleep{}

// maxSyntheticBytes bounds what a command writes at a time: it is made in memory.
const maxSyntheticBytes = 64 << 20

// Options are none.
func (Sleep) Options() []options.Option { return nil }

// Capabilities are those of any platform: the commands need none.
func (Sleep) Capabilities() []string { return early.Sleep() }

// Check finds nothing.
func (Sleep) Check() error { return nil }

// Execute sleeps and stores what the command is said to write.
func (Sleep) Execute(ctx context.Context, run *Run) (*repb.ActionResult, error) {
	fetched := run.MarkInputFetch()
	fetchCtx := run.Traced(ctx, semconv.SpanInputFetch)
	if err := run.ReadCommand(fetchCtx); err != nil {
		return nil, err
	}
	s, err := parseSynthetic(run.Command)
	if err != nil {
		return nil, err
	}
	if s.inputs && run.Options.DisableLocalCAS {
		return nil, inputErrorf("synthetic command sleep: --inputs needs casd, which this runner does without (--disable-localcas)")
	}
	if s.inputs {
		if _, err := localcas.NewLocalContentAddressableStorageClient(run.Client.Conn()).FetchTree(fetchCtx, &localcas.FetchTreeRequest{
			InstanceName: run.Options.Remote.Instance, RootDigest: run.InputRoot.Proto(), FetchFileBlobs: true,
		}); err != nil {
			return nil, fmt.Errorf("fetch input root %v: %w", run.InputRoot, err)
		}
	}
	fetched()

	executed := run.MarkExecution()
	timeout := run.Timeout > 0 && run.Timeout < s.duration
	if timeout {
		s.duration = run.Timeout
	}
	if s.duration > 0 {
		timer := time.NewTimer(s.duration)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			executed()
			run.done.interrupt = context.Cause(ctx)
			return nil, run.done.interrupt
		}
	}
	executed()

	defer run.MarkOutputUpload()()
	result, err := s.upload(run.Traced(ctx, semconv.SpanOutputUpload), run, timeout)
	if err == nil && timeout {
		err = &timeoutError{run.Timeout}
	}
	return result, err
}

// synthetic is a command, read.
type synthetic struct {
	duration       time.Duration
	exit           int
	stdout, stderr int
	outputs        map[string]int // bytes by name
	inputs         bool
}

func parseSynthetic(c *repb.Command) (*synthetic, error) {
	s := &synthetic{outputs: make(map[string]int)}
	slept := false
	known := []options.Option{
		{Name: "exit", Value: "N", Set: options.Int(0, 255, &s.exit)},
		{Name: "stdout", Value: "BYTES", Set: options.Int(0, maxSyntheticBytes, &s.stdout)},
		{Name: "stderr", Value: "BYTES", Set: options.Int(0, maxSyntheticBytes, &s.stderr)},
		{Name: "output", Value: "PATH=BYTES", Set: s.setOutput},
		{Name: "inputs", Set: options.True(&s.inputs)},
	}
	switch name := path.Base(c.Arguments[0]); name {
	case "true":
		return s, nil
	case "false":
		s.exit = 1
		return s, nil
	case "sleep":
	default:
		return nil, inputErrorf("command %.100q: the sleep runner knows sleep, true and false only", c.Arguments[0])
	}
	err := options.Parse(c.Arguments[1:], known, func(v string) (err error) {
		if slept {
			return fmt.Errorf("a second duration %.50q", v)
		}
		slept = true
		s.duration, err = parseSleep(v)
		return err
	})
	if err == nil && !slept {
		err = fmt.Errorf("the duration is missing")
	}
	if err != nil {
		return nil, inputErrorf("synthetic command sleep: %v", err)
	}
	return s, nil
}

// parseSleep reads a time as sleep(1) does, in seconds or with a unit.
func parseSleep(v string) (time.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil {
		d, err = time.ParseDuration(v + "s")
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("duration %.50q: want seconds, or a number with ms, s, m or h", v)
	}
	return d, nil
}

func (s *synthetic) setOutput(v string) error {
	i := strings.LastIndexByte(v, '=')
	if i <= 0 {
		return fmt.Errorf("%.100q: want PATH=BYTES", v)
	}
	n, err := strconv.Atoi(v[i+1:])
	if err != nil || n < 0 || n > maxSyntheticBytes {
		return fmt.Errorf("%.100q: want from 0 to %d bytes", v, maxSyntheticBytes)
	}
	s.outputs[v[:i]] = n
	return nil
}

// upload stores what the command writes; of one that timed out not the outputs.
func (s *synthetic) upload(ctx context.Context, run *Run, timeout bool) (*repb.ActionResult, error) {
	result := &repb.ActionResult{ExitCode: int32(s.exit)}
	if timeout {
		result.ExitCode = exitSignal + 9
	}
	put := func(name string, n int) (*repb.Digest, error) {
		data := content(run.CommandDigest, name, n)
		d := digest.Of(data)
		if err := uploadBytes(ctx, run.Client, d, data); err != nil {
			return nil, fmt.Errorf("upload %s: %w", name, err)
		}
		return d.Proto(), nil
	}
	var err error
	if !run.Options.NoLogsCapture {
		if result.StdoutDigest, err = put("stdout", s.stdout); err != nil {
			return nil, err
		}
		if result.StderrDigest, err = put("stderr", s.stderr); err != nil {
			return nil, err
		}
	}
	left := len(s.outputs)
	for _, o := range run.outputs {
		n, ok := s.outputs[o.name]
		if !ok {
			continue
		}
		left--
		if timeout || o.kind == directoryOutput {
			continue
		}
		d, err := put(o.name, n)
		if err != nil {
			return nil, err
		}
		result.OutputFiles = append(result.OutputFiles, &repb.OutputFile{Path: o.name, Digest: d})
	}
	if left > 0 {
		return nil, inputErrorf("synthetic command sleep: %d of its outputs are not declared in the Command", left)
	}
	return result, nil
}

// content is what a command writes under a name.
func content(command digest.Digest, name string, n int) []byte {
	if n == 0 {
		return nil
	}
	seed := digest.Of([]byte(command.String() + " " + name)).Hash
	random := rand.New(rand.NewChaCha8(seed))
	data := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(data[i:], random.Uint64())
	}
	return data[:n]
}
