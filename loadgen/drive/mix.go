package drive

import (
	"context"
	"errors"
	"io"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// resultOf returns the result of an action that is named by a blob, as a mix has it: one
// output file, the blob.
func (c *Client) resultOf(b workload.Blob) (action digest.Digest, found *repb.ActionResult) {
	d := c.Digest(b)
	return d, &repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: outputPath, Digest: d.Proto()}}}
}

// Call makes one call of a mix that was intended for a moment. What the target should
// have and doesn't, or has and shouldn't, is told as a violation.
func (c *Client) Call(ctx context.Context, call *workload.Call, intended time.Time) error {
	ctx = WithIntended(ctx, intended)
	digests := make([]digest.Digest, len(call.Blobs))
	for i, b := range call.Blobs {
		digests[i] = c.Digest(b)
	}
	switch call.Op {
	case workload.FindMissing:
		missing, err := c.Missing(ctx, digests)
		if err != nil {
			return err
		}
		// They come in the order of the question.
		for i := range digests {
			if len(missing) > 0 && missing[0] == digests[i] {
				missing = missing[1:]
				if call.Present[i] {
					c.observer.Violation("lost_blob", digests[i].String()+" was stored before the run and is missing")
				}
			}
		}
	case workload.BatchRead:
		for i, err := range c.Check(ctx, digests) {
			if err := expected(err, call.Present[i]); err != nil {
				return err
			}
		}
	case workload.Read:
		return expected(c.readStream(ctx, digests[0]), call.Present[0])
	case workload.BatchUpdate:
		return c.PutAll(ctx, call.Blobs)
	case workload.Write:
		return c.writeStream(ctx, digests[0], call.Blobs[0])
	case workload.ActionResult:
		action, _ := c.resultOf(call.Blobs[0])
		found, err := c.ActionResult(ctx, action)
		if err == nil && found == nil && call.Present[0] {
			c.observer.Violation("lost_result", action.String()+" was stored before the run and is missing")
		}
		return err
	}
	return nil
}

// expected takes it for no error that what wasn't stored isn't there.
func expected(err error, stored bool) error {
	if !stored && errors.Is(err, cas.ErrNotFound) {
		return nil
	}
	return err
}

// pieceBytes is how much is sent and read at a time.
const pieceBytes = 256 << 10

// readStream reads a blob by ByteStream, whatever its size.
func (c *Client) readStream(ctx context.Context, d digest.Digest) error {
	l := labelOf(ctx)
	l.blobs, l.size = 1, d.SizeBytes
	reader, err := c.Remote().Open(l.on(ctx), d, 0)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		switch _, err := reader.Next(pieceBytes); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			c.corrupt(err)
			return err
		}
	}
}

// writeStream writes a blob by ByteStream, whatever its size.
func (c *Client) writeStream(ctx context.Context, d digest.Digest, b workload.Blob) error {
	l := labelOf(ctx)
	l.blobs, l.size = 1, d.SizeBytes
	writer, err := c.Remote().Create(l.on(ctx), d)
	if err != nil {
		return err
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for at := int64(0); at < b.Size; {
		piece := (*buffer)[:min(b.Size-at, int64(len(*buffer)))]
		b.Fill(piece, at)
		if err := writer.Append(piece); err != nil {
			writer.Abort()
			return err
		}
		at += int64(len(piece))
	}
	return writer.Commit()
}
