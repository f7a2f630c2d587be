package drive

import (
	"context"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/digest"
)

const (
	// prepareBytes is how much is made and sent at once before the run.
	prepareBytes = 16 << 20
	// prepareAtOnce is how many such are under way.
	prepareAtOnce = 4
	// prepareDigests bounds a question for what is missing.
	prepareDigests = 2000
)

// preparePhase marks the calls before the measured part.
const preparePhase = "prepare"

// Prepare stores what a scenario expects to be there: the stored blobs of mixes with their
// results, and the results of warm actions. It may be repeated, and done by several
// generators at a time: what is there already isn't sent again.
func (r *run) prepare(ctx context.Context) error {
	l := labelOf(ctx)
	l.phase = preparePhase
	ctx = WithInvocation(l.on(ctx), r.Config.Run, invocationID(r.Config.Run, preparePhase, 0))
	for i := range r.Scenario.Calls {
		if err := r.prepareMix(ctx, &r.Scenario.Calls[i]); err != nil {
			return fmt.Errorf("store the blobs of %s: %w", r.Scenario.Calls[i].Name, explain(err))
		}
	}
	for i := range r.Scenario.Demand {
		if err := r.prepareWarm(ctx, i); err != nil {
			return fmt.Errorf("store the results of %s: %w", r.Scenario.Demand[i].Name, explain(err))
		}
	}
	return nil
}

func (r *run) prepareMix(ctx context.Context, m *workload.Mix) error {
	looksUp := false
	for _, c := range m.Calls {
		looksUp = looksUp || c.Op == workload.ActionResult && c.Present > 0
	}
	blobs := make([]workload.Blob, m.Stored.Blobs)
	for i := range blobs {
		blobs[i] = m.StoredBlob(r.Scenario.Seed, i)
	}
	if err := r.store(ctx, r.client, blobs); err != nil || !looksUp {
		return err
	}
	return each(ctx, len(blobs), func(ctx context.Context, i int) error {
		action, result := r.client.resultOf(blobs[i])
		return r.update(ctx, r.client, action, result)
	})
}

func (r *run) prepareWarm(ctx context.Context, i int) error {
	d := &r.Scenario.Demand[i]
	client := r.builders[i].Client
	actions := d.WarmActions(r.Scenario.Seed)
	var blobs []workload.Blob
	for _, a := range actions {
		if a.Output.Size > 0 {
			blobs = append(blobs, a.Output)
		}
	}
	if err := r.store(ctx, client, blobs); err != nil {
		return err
	}
	return each(ctx, len(actions), func(ctx context.Context, j int) error {
		a := &actions[j]
		result := new(repb.ActionResult)
		if a.Output.Size > 0 {
			result.OutputFiles = []*repb.OutputFile{{Path: outputPath, Digest: client.Digest(a.Output).Proto()}}
		}
		return r.update(ctx, client, client.newRequest(&d.Classes[a.Class], a, nil, r.Scenario.Client.Command).digest, result)
	})
}

// update stores a result. A target that takes results from its own workers only, as many
// do, has the actions be misses.
func (r *run) update(ctx context.Context, client *Client, action digest.Digest, result *repb.ActionResult) error {
	err := client.Remote().UpdateActionResult(ctx, action, result)
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unimplemented:
		r.recorder.Note("the target takes no action results from clients (" + status.Convert(err).Message() + "): what the scenario has in the cache is executed the first time")
		return nil
	}
	return err
}

// store stores those of blobs that the target lacks.
func (r *run) store(ctx context.Context, client *Client, blobs []workload.Blob) error {
	var group errgroup.Group
	group.SetLimit(prepareAtOnce)
	for len(blobs) > 0 && ctx.Err() == nil {
		n, size := 0, int64(0)
		for n < len(blobs) && n < prepareDigests && (n == 0 || size+blobs[n].Size <= prepareBytes) {
			size += blobs[n].Size
			n++
		}
		some := blobs[:n]
		blobs = blobs[n:]
		group.Go(func() error {
			digests := make([]digest.Digest, 0, len(some))
			of := make(map[digest.Digest]workload.Blob, len(some))
			for _, b := range some {
				d := client.Digest(b)
				if _, twice := of[d]; !twice {
					of[d] = b
					digests = append(digests, d)
				}
			}
			missing, err := client.Missing(ctx, digests)
			if err != nil {
				return err
			}
			r.progress.prepared.Add(int64(len(some)))
			return client.Put(ctx, missing, func(d digest.Digest) []byte { return of[d].Bytes() })
		})
	}
	return group.Wait()
}

// each calls f for each of n, several at a time, and returns the first error.
func each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8 * prepareAtOnce)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}
