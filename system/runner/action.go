package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// maxCommandBytes bounds the Command, of which the digest only claims a size. A
// command line can't exceed the few megabytes that execve takes.
const maxCommandBytes = 64 << 20

// readAction reads the Action.
func (r *Run) readAction(data []byte) error {
	action := new(repb.Action)
	if err := proto.Unmarshal(data, action); err != nil {
		return inputErrorf("decode action %v: %s", digest.Of(data), err)
	}
	var err error
	if r.CommandDigest, err = digest.FromProto(action.CommandDigest); err != nil {
		return fmt.Errorf("command of action %v: %w", digest.Of(data), err)
	}
	if r.CommandDigest.SizeBytes > maxCommandBytes {
		return inputErrorf("command %v is larger than %d bytes", r.CommandDigest, maxCommandBytes)
	}
	if r.InputRoot, err = digest.FromProto(action.InputRootDigest); err != nil {
		return fmt.Errorf("input root of action %v: %w", digest.Of(data), err)
	}
	if action.Timeout != nil {
		r.Timeout = action.Timeout.AsDuration()
		if err := action.Timeout.CheckValid(); err != nil || r.Timeout < 0 {
			return inputErrorf("timeout of action %v is not a valid duration", digest.Of(data))
		}
	}
	r.platform = action.Platform
	return nil
}

// ReadCommand fetches and checks the Command. Fetch does so, too.
func (r *Run) ReadCommand(ctx context.Context) error {
	data, err := readBlob(ctx, r.Client, r.CommandDigest)
	if errors.Is(err, cas.ErrNotFound) {
		return &MissingError{What: "command", Digest: r.CommandDigest, Err: err}
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("fetch command from %s: %w", r.Options.Remote.URL, err)
	}
	r.Command = new(repb.Command)
	if err := proto.Unmarshal(data, r.Command); err != nil {
		return inputErrorf("decode command %v: %s", r.CommandDigest, err)
	}
	if err := checkCommand(r.Command); err != nil {
		return err
	}
	r.outputs, err = outputs(r.Command)
	return err
}

// readBlob reads a blob over ByteStream: one round trip, where a batch would
// first ask for the server's limits.
func readBlob(ctx context.Context, client *remote.Client, d digest.Digest) ([]byte, error) {
	if d == digest.Empty {
		return nil, nil
	}
	reader, err := client.Open(ctx, d, 0)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	data := make([]byte, 0, d.SizeBytes)
	for {
		piece, err := reader.Next(maxCommandBytes)
		if errors.Is(err, io.EOF) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
	}
}

// checkCommand reports what makes a command impossible to run as it says.
func checkCommand(c *repb.Command) error {
	if len(c.Arguments) == 0 {
		return &inputError{"the command has no arguments"}
	}
	for i, argument := range c.Arguments {
		if strings.ContainsRune(argument, 0) {
			return inputErrorf("argument %d of the command holds a NUL byte: %.100q", i, argument)
		}
	}
	for _, v := range c.EnvironmentVariables {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(v.Value, 0) {
			return inputErrorf("environment variable %.100q of the command: a name can't be empty or hold '=', and neither name nor value can hold a NUL byte", v.Name)
		}
	}
	if _, err := within("", c.WorkingDirectory); err != nil {
		return inputErrorf("working directory %.200q of the command %s", c.WorkingDirectory, err)
	}
	return nil
}
