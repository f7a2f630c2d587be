package execution

import (
	"context"
	"errors"
	"unicode/utf8"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/encoding/protowire"
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
	finds   *remote.Batcher[remote.ActionQuery, found]
	loads   *remote.Batcher[digest.Digest, loaded]
	updates *remote.Batcher[remote.ActionUpdate, struct{}]
}

func newInstance(name string, storage *remote.Client) *instance {
	return &instance{
		name: name, storage: storage,
		finds: remote.NewBatcher(func(ctx context.Context, queries []remote.ActionQuery) []remote.Result[found] {
			return findAll(ctx, storage, queries)
		}),
		loads: remote.NewBatcher(func(ctx context.Context, actions []digest.Digest) []remote.Result[loaded] {
			return loadAll(ctx, storage, actions)
		}),
		updates: remote.NewBatcher(storage.UpdateActionResults),
	}
}

// find asks for what the storage has of an action: its result, unless that isn't
// wanted, or else the action itself, if that can be had in the same call. A traced action
// is looked up by a call of its own, so that its trace has it.
func (i *instance) find(ctx context.Context, query remote.ActionQuery, traced bool) (found, error) {
	switch {
	case !traced:
		return i.finds.Do(ctx, query)
	case query.SkipResult:
		return found{}, nil
	}
	result, err := i.storage.ActionResult(ctx, query.Action)
	if errors.Is(err, cas.ErrNotFound) {
		err = nil
	}
	return found{result: result}, err
}

// update writes a result to the action cache, likewise.
func (i *instance) update(ctx context.Context, action digest.Digest, result *repb.ActionResult, traced bool) error {
	if traced {
		return i.storage.UpdateActionResult(ctx, action, result)
	}
	_, err := i.updates.Do(ctx, remote.ActionUpdate{Action: action, Result: result})
	return err
}

// loaded is an action, also as bytes, and the platform that its command asks for: nil,
// unless the client is of before REAPI 2.2.
type loaded struct {
	action   *repb.Action
	data     []byte
	platform *repb.Platform
}

// found is what find came to: a result, or an action, or neither, and then the action is
// to be loaded.
type found struct {
	result *repb.ActionResult
	loaded *loaded
}

func findAll(ctx context.Context, from *remote.Client, queries []remote.ActionQuery) []remote.Result[found] {
	results := make([]remote.Result[found], len(queries))
	for i, r := range from.FindActions(ctx, queries) {
		results[i].Err = r.Err
		results[i].Value = found{result: r.Value.Result, loaded: decodeFound(queries[i].Action, &r.Value)}
	}
	return results
}

// decodeFound returns nil for what can't be used: loadAll tells what is wrong with it.
func decodeFound(d digest.Digest, f *remote.FoundAction) *loaded {
	if f.Action == nil || d.SizeBytes > maxActionBytes || digest.Of(f.Action) != d {
		return nil
	}
	l := &loaded{data: f.Action}
	var command digest.Digest
	var err error
	if l.action, command, err = decodeAction(d, f.Action); err != nil || digest.Of(f.Command) != command {
		return nil
	}
	if l.platform, err = platformOf(d, command, f.Command); err != nil {
		return nil
	}
	return l
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
			r.Value.platform, r.Err = platformOf(actions[of[i]], commands[i], blob.Value)
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

// Numbers of fields.
var (
	commandArguments = fieldNumber(new(repb.Command), "arguments")
	commandPlatform  = fieldNumber(new(repb.Command), "platform")
)

// platformOf returns the platform of a command, or what is wrong with the command.
// Arguments, of which there may be hundreds, are looked at where they are, as nobody needs
// them here. What is within other fields is the worker's to decode.
func platformOf(action, d digest.Digest, data []byte) (platform *repb.Platform, err error) {
	arguments := 0
	for rest := data; len(rest) > 0; {
		number, kind, tag := protowire.ConsumeTag(rest)
		n := tag
		if tag >= 0 {
			rest = rest[tag:]
			n = protowire.ConsumeFieldValue(number, kind, rest)
		}
		if n < 0 {
			return nil, invalid("command %v can't be decoded: %v", d, protowire.ParseError(n))
		}
		value := rest[:n]
		rest = rest[n:]
		if kind != protowire.BytesType {
			continue
		}
		value, _ = protowire.ConsumeBytes(value)
		switch number {
		case commandArguments:
			arguments++
			if !utf8.Valid(value) {
				return nil, invalid("command %v can't be decoded: argument %d is not UTF-8", d, arguments)
			}
		case commandPlatform:
			if platform == nil {
				platform = new(repb.Platform)
			}
			// What is there several times merges (Protocol Buffers, Encoding).
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(value, platform); err != nil {
				return nil, invalid("command %v can't be decoded: platform: %v", d, err)
			}
		}
	}
	if arguments == 0 {
		return nil, invalid("command %v of action %v has no arguments", d, action)
	}
	return platform, nil
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
