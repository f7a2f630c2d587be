package remote

import (
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/mem"

	"github.com/weir-build/weir/system/digest"
)

// Waiting returns how many requests wait for a call that takes them along.
func (b *Batcher[K, V]) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// The limits that tests run into.
const (
	FullBatch     = fullBatch
	MaxCalls      = maxCalls
	ChunkBytes    = chunkBytes
	MaxResumes    = maxResumes
	MaxReconnects = maxReconnects
	MaxDigests    = maxDigests
	MinCompressed = minCompressed
	BatchRetry    = batchRetry
)

// Later lets so much time pass for what is known of the server.
func (c *Client) Later(d time.Duration) { c.plainUntil.Add(-int64(d)) }

// ReadOperation reads an operation on top of what was read before.
func ReadOperation(before string, data []byte) (Update, *repb.ExecuteResponse, error, error) {
	o := &operation{Update: Update{Name: before}}
	err := o.read(data)
	return o.Update, o.response, o.err, err
}

// ReadAnswer reads an answer that comes in pieces, as gRPC has it.
func ReadAnswer(pieces [][]byte, scratch bool) (*repb.BatchReadBlobsResponse, error) {
	var data mem.BufferSlice
	for _, piece := range pieces {
		data = append(data, mem.SliceBuffer(piece))
	}
	response := new(repb.BatchReadBlobsResponse)
	return response, newAnswerCodec(scratch).Unmarshal(data, response)
}

// ParseHelperReply is what reads the reply of a credential helper.
var ParseHelperReply = parseHelperReply

// ReadExecuteResponse reads a response as an operation has it.
var ReadExecuteResponse = readExecuteResponse

// MissingQuestion is the request of a FindMissingBlobs.
func MissingQuestion(instance string, asked []digest.Digest) []byte {
	return (&question{instance, asked}).marshal()
}

// MissingAnswer reads the answer, and appends what is missing.
func MissingAnswer(asked, missing []digest.Digest, data []byte) (got []digest.Digest, malformed, err error) {
	a := &answered{asked: asked, missing: missing}
	err = a.read(data)
	return a.missing, a.err, err
}
