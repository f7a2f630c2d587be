package storage

import (
	"context"
	"errors"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// Limits of action results.
const (
	// maxResultBytes bounds a result with all that is inlined in it, so that it
	// passes the 4 MiB that gRPC clients receive by default, and passes again
	// inside an ExecuteResponse.
	maxResultBytes = 3 << 20
	// maxInlineBytes bounds what is inlined at a client's wish in one result.
	// REAPI calls the wish a hint.
	maxInlineBytes = 1 << 20
	// maxRawBytes is how long an output may be that is kept inside a result as
	// the client gave it. Longer ones go to the CAS.
	maxRawBytes = 4 << 10
)

type actionCacheService struct {
	repb.UnimplementedActionCacheServer
	*Server
}

// GetActionResult returns a result whose outputs are all in the CAS.
func (s actionCacheService) GetActionResult(ctx context.Context, request *repb.GetActionResultRequest) (*repb.ActionResult, error) {
	result, hits, err := s.get(ctx, request)
	if err == nil {
		hits.Inc()
	}
	return result, s.wire(ctx, err)
}

// get counts a look-up that comes to nothing; one that is a hit is the caller's to
// count, if it answers with it.
func (s actionCacheService) get(ctx context.Context, request *repb.GetActionResultRequest) (_ *repb.ActionResult, hits prometheus.Counter, _ error) {
	in, function, err := s.asked(request.InstanceName, request.DigestFunction)
	if err != nil {
		return nil, nil, err
	}
	action, err := function.FromProto(request.ActionDigest)
	if err != nil {
		return nil, nil, fmt.Errorf("action_digest: %w", err)
	}
	result, err := in.complete.Get(ctx, action)
	switch {
	case errors.Is(err, actioncache.ErrIncomplete):
		in.incompletions.Inc()
	case errors.Is(err, actioncache.ErrNotFound):
		in.misses.Inc()
	}
	if err != nil {
		return nil, nil, err
	}
	i := inliner{store: in.CAS, function: function, rest: int64(min(maxInlineBytes, maxResultBytes-proto.Size(result)))}
	return result, in.hits, i.inline(ctx, result, request)
}

// inliner puts blobs into a result while there is room.
type inliner struct {
	store    cas.Store
	function digest.Func
	rest     int64 // bytes
}

func (i *inliner) inline(ctx context.Context, result *repb.ActionResult, request *repb.GetActionResultRequest) error {
	if request.InlineStdout {
		if err := i.fill(ctx, &result.StdoutRaw, result.StdoutDigest); err != nil {
			return err
		}
	}
	if request.InlineStderr {
		if err := i.fill(ctx, &result.StderrRaw, result.StderrDigest); err != nil {
			return err
		}
	}
	if len(request.InlineOutputFiles) == 0 {
		return nil
	}
	wanted := make(map[string]bool, len(request.InlineOutputFiles))
	for _, path := range request.InlineOutputFiles {
		wanted[path] = true
	}
	for _, file := range result.OutputFiles {
		if wanted[file.Path] {
			if err := i.fill(ctx, &file.Contents, file.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill reads the blob of a digest to where it belongs, unless it is there, or
// there is no room. A blob evicted since it was checked is left to the client to
// miss, as it would be a moment later.
func (i *inliner) fill(ctx context.Context, to *[]byte, p *repb.Digest) error {
	if len(*to) > 0 || p == nil {
		return nil
	}
	d, err := i.function.FromProto(p)
	if err != nil {
		return err
	}
	if d.SizeBytes > i.rest {
		return nil
	}
	data, err := i.store.Read(ctx, d)
	if errors.Is(err, cas.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	*to = data
	i.rest -= d.SizeBytes
	return nil
}

// UpdateActionResult keeps a result. Contents that are inlined in it are
// verified against their digests, if given, and go to the CAS; only short output
// without a digest stays. The answer is the result as it is kept.
func (s actionCacheService) UpdateActionResult(ctx context.Context, request *repb.UpdateActionResultRequest) (*repb.ActionResult, error) {
	err := s.update(ctx, request)
	if err != nil {
		return nil, s.wire(ctx, err)
	}
	return request.ActionResult, nil
}

func (s actionCacheService) update(ctx context.Context, request *repb.UpdateActionResultRequest) error {
	in, function, err := s.asked(request.InstanceName, request.DigestFunction)
	if err != nil {
		return err
	}
	action, err := function.FromProto(request.ActionDigest)
	if err != nil {
		return fmt.Errorf("action_digest: %w", err)
	}
	if request.ActionResult == nil {
		return invalid("action_result is not set")
	}
	if err := checkResult(function, request.ActionResult); err != nil {
		return err
	}
	if err := moveContents(ctx, in.CAS, function, request.ActionResult); err != nil {
		return err
	}
	if size := proto.Size(request.ActionResult); size > maxResultBytes {
		return invalid("action_result has %d bytes, the limit is %d", size, maxResultBytes)
	}
	return in.AC.Put(ctx, action, request.ActionResult)
}

// checkResult checks every digest of a result.
func checkResult(function digest.Func, result *repb.ActionResult) error {
	check := func(what string, p *repb.Digest, required bool) error {
		if p == nil && !required {
			return nil
		}
		if _, err := function.FromProto(p); err != nil {
			return fmt.Errorf("action_result: %s: %w", what, err)
		}
		return nil
	}
	problems := []error{
		check("stdout_digest", result.StdoutDigest, false),
		check("stderr_digest", result.StderrDigest, false),
	}
	for _, file := range result.OutputFiles {
		problems = append(problems, check(fmt.Sprintf("output file %q", file.Path), file.Digest, true))
	}
	for _, directory := range result.OutputDirectories {
		needsTree := directory.RootDirectoryDigest == nil
		problems = append(problems,
			check(fmt.Sprintf("tree of output directory %q", directory.Path), directory.TreeDigest, needsTree),
			check(fmt.Sprintf("root of output directory %q", directory.Path), directory.RootDirectoryDigest, false))
	}
	for _, err := range problems {
		if err != nil {
			return err
		}
	}
	return nil
}

// moveContents moves long contents from a result to the CAS.
func moveContents(ctx context.Context, store cas.Store, function digest.Func, result *repb.ActionResult) error {
	if err := moveOut(ctx, store, function, "stdout_raw", &result.StdoutRaw, &result.StdoutDigest); err != nil {
		return err
	}
	if err := moveOut(ctx, store, function, "stderr_raw", &result.StderrRaw, &result.StderrDigest); err != nil {
		return err
	}
	for _, file := range result.OutputFiles {
		if err := moveOut(ctx, store, function, fmt.Sprintf("contents of output file %q", file.Path), &file.Contents, &file.Digest); err != nil {
			return err
		}
	}
	return nil
}

// moveOut moves data to the blob of a digest, which is set. Short data without a
// digest stays. If both are given they must match, and the blob is stored even
// if short: other clients go by the digest.
func moveOut(ctx context.Context, store cas.Store, function digest.Func, what string, data *[]byte, to **repb.Digest) error {
	if len(*data) == 0 || len(*data) <= maxRawBytes && *to == nil {
		return nil
	}
	d := function.Of(*data)
	if *to != nil && ((*to).Hash != d.Hex() || (*to).SizeBytes != d.SizeBytes) {
		return invalid("action_result: %s is blob %v, but its digest is given as %s/%d", what, d, (*to).Hash, (*to).SizeBytes)
	}
	if err := store.Write(ctx, d, *data); err != nil {
		return fmt.Errorf("store %s: %w", what, err)
	}
	*data, *to = nil, d.Proto()
	return nil
}
