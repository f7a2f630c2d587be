package execution

import (
	"context"
	"errors"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// instance is what belongs to one REAPI instance. What many operations ask of the
// storage at a time is asked in one call for all.
type instance struct {
	name    string
	storage *remote.Client
	loads   *remote.Batcher[digest.Digest, loaded]
	lookups *remote.Batcher[digest.Digest, *repb.ActionResult]
	updates *remote.Batcher[remote.ActionUpdate, struct{}]
}

func newInstance(name string, storage *remote.Client) *instance {
	return &instance{
		name: name, storage: storage,
		loads: remote.NewBatcher(func(ctx context.Context, actions []digest.Digest) []remote.Result[loaded] {
			return loadAll(ctx, storage, actions)
		}),
		lookups: remote.NewBatcher(storage.ActionResults),
		updates: remote.NewBatcher(storage.UpdateActionResults),
	}
}

// result asks the action cache for the result of an action: in a call of its own, if
// that is traced, so that its trace has it.
func (i *instance) result(ctx context.Context, action digest.Digest, traced bool) (*repb.ActionResult, error) {
	if traced {
		return i.storage.ActionResult(ctx, action)
	}
	return i.lookups.Do(ctx, action)
}

// update writes a result to the action cache, likewise.
func (i *instance) update(ctx context.Context, action digest.Digest, result *repb.ActionResult, traced bool) error {
	if traced {
		return i.storage.UpdateActionResult(ctx, action, result)
	}
	_, err := i.updates.Do(ctx, remote.ActionUpdate{Action: action, Result: result})
	return err
}

// loaded is an action, also as bytes, and its command.
type loaded struct {
	action  *repb.Action
	data    []byte
	command *repb.Command
}

// loadAll reads actions and then their commands: two calls, where they are small.
func loadAll(ctx context.Context, from *remote.Client, actions []digest.Digest) []remote.Result[loaded] {
	results := make([]remote.Result[loaded], len(actions))
	var (
		commands []digest.Digest
		of       []int // the action of each
	)
	for i, blob := range readAll(ctx, from, "action", actions, maxActionBytes) {
		r := &results[i]
		command, err := digest.Empty, blob.Err
		if err == nil {
			r.Value.data = blob.Value
			r.Value.action, command, err = decodeAction(actions[i], blob.Value)
		}
		if r.Err = err; err == nil {
			commands, of = append(commands, command), append(of, i)
		}
	}
	for i, blob := range readAll(ctx, from, "command", commands, maxCommandBytes) {
		r := &results[of[i]]
		if r.Err = blob.Err; r.Err == nil {
			r.Value.command, r.Err = decodeCommand(actions[of[i]], commands[i], blob.Value)
		}
	}
	return results
}

func decodeAction(d digest.Digest, data []byte) (action *repb.Action, command digest.Digest, err error) {
	action = new(repb.Action)
	if err := proto.Unmarshal(data, action); err != nil {
		return nil, command, invalid("action %v can't be decoded: %v", d, err)
	}
	if command, err = digest.FromProto(action.CommandDigest); err != nil {
		return nil, command, invalid("action %v: command digest: %v", d, err)
	}
	if _, err := digest.FromProto(action.InputRootDigest); err != nil {
		return nil, command, invalid("action %v: input root digest: %v", d, err)
	}
	return action, command, nil
}

func decodeCommand(action, d digest.Digest, data []byte) (*repb.Command, error) {
	command := new(repb.Command)
	if err := proto.Unmarshal(data, command); err != nil {
		return nil, invalid("command %v can't be decoded: %v", d, err)
	}
	if len(command.Arguments) == 0 {
		return nil, invalid("command %v of action %v has no arguments", d, action)
	}
	return command, nil
}

// readAll reads blobs of which none may be larger than the limit.
func readAll(ctx context.Context, from *remote.Client, what string, blobs []digest.Digest, limit int64) []remote.Result[[]byte] {
	results := make([]remote.Result[[]byte], len(blobs))
	var (
		small []digest.Digest
		of    []int // the result of each
	)
	for i, d := range blobs {
		if d.SizeBytes > limit {
			results[i].Err = invalid("%s %v is larger than %d bytes", what, d, limit)
			continue
		}
		small, of = append(small, d), append(of, i)
	}
	if len(small) == 0 {
		return results
	}
	for i, blob := range from.ReadBlobs(ctx, small) {
		if errors.Is(blob.Err, cas.ErrNotFound) {
			blob.Err = &missingError{what, small[i]}
		}
		results[of[i]] = blob
	}
	return results
}
