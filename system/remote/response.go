package remote

import (
	"unicode/utf8"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// timesMost is how many times an ExecutedActionMetadata has, less the virtual duration.
const timesMost = 9

// executeResponse is an ExecuteResponse and what almost every one consists of, made at
// once: the generated code makes a dozen small messages for it, one after the other.
type executeResponse struct {
	whole    repb.ExecuteResponse
	result   repb.ActionResult
	metadata repb.ExecutedActionMetadata
	times    [timesMost]timestamppb.Timestamp
	used     int // of times
	// strange says that there is something that isn't read here: a field that is rare or
	// not known, a message that comes in pieces, or what is no protobuf.
	strange bool
}

// readExecuteResponse reads a response. What is strange is the generated code's.
func readExecuteResponse(data []byte) (*repb.ExecuteResponse, error) {
	r := new(executeResponse)
	if r.read(data); !r.strange {
		return &r.whole, nil
	}
	whole := new(repb.ExecuteResponse)
	return whole, proto.Unmarshal(data, whole)
}

// fields calls f with the fields of a message.
func (r *executeResponse) fields(data []byte, f func(tag uint64, bytes []byte, number uint64)) {
	if eachField(data, f) != nil {
		r.strange = true
	}
}

// Tags of what is read here.
const (
	responseResult  = 1<<3 | uint64(protowire.BytesType)
	responseCached  = 2<<3 | uint64(protowire.VarintType)
	responseStatus  = 3<<3 | uint64(protowire.BytesType)
	responseMessage = 5<<3 | uint64(protowire.BytesType)

	resultOutputFile   = 2<<3 | uint64(protowire.BytesType)
	resultExitCode     = 4<<3 | uint64(protowire.VarintType)
	resultStdout       = 5<<3 | uint64(protowire.BytesType)
	resultStdoutDigest = 6<<3 | uint64(protowire.BytesType)
	resultStderr       = 7<<3 | uint64(protowire.BytesType)
	resultStderrDigest = 8<<3 | uint64(protowire.BytesType)
	resultMetadata     = 9<<3 | uint64(protowire.BytesType)

	metadataWorker           = 1<<3 | uint64(protowire.BytesType)
	metadataQueued           = 2<<3 | uint64(protowire.BytesType)
	metadataWorkerStart      = 3<<3 | uint64(protowire.BytesType)
	metadataWorkerCompleted  = 4<<3 | uint64(protowire.BytesType)
	metadataFetchStart       = 5<<3 | uint64(protowire.BytesType)
	metadataFetchCompleted   = 6<<3 | uint64(protowire.BytesType)
	metadataRunStart         = 7<<3 | uint64(protowire.BytesType)
	metadataRunCompleted     = 8<<3 | uint64(protowire.BytesType)
	metadataUploadStart      = 9<<3 | uint64(protowire.BytesType)
	metadataUploadCompleted  = 10<<3 | uint64(protowire.BytesType)
	metadataAuxiliary        = 11<<3 | uint64(protowire.BytesType)
	metadataVirtualExecution = 12<<3 | uint64(protowire.BytesType)

	filePath       = 1<<3 | uint64(protowire.BytesType)
	fileDigest     = 2<<3 | uint64(protowire.BytesType)
	fileExecutable = 4<<3 | uint64(protowire.VarintType)

	digestHash = 1<<3 | uint64(protowire.BytesType)
	digestSize = 2<<3 | uint64(protowire.VarintType)

	timeSeconds = 1<<3 | uint64(protowire.VarintType)
	timeNanos   = 2<<3 | uint64(protowire.VarintType)
)

func (r *executeResponse) read(data []byte) {
	r.fields(data, func(tag uint64, bytes []byte, number uint64) {
		switch tag {
		case responseResult:
			r.readResult(bytes)
		case responseCached:
			r.whole.CachedResult = number != 0
		case responseStatus:
			r.whole.Status = other(r, r.whole.Status, bytes, new(statuspb.Status))
		case responseMessage:
			r.whole.Message = r.text(bytes)
		default:
			r.strange = true
		}
	})
}

func (r *executeResponse) readResult(data []byte) {
	if r.whole.Result != nil {
		r.strange = true
		return
	}
	out := &r.result
	r.whole.Result = out
	r.fields(data, func(tag uint64, bytes []byte, number uint64) {
		switch tag {
		case resultOutputFile:
			out.OutputFiles = append(out.OutputFiles, r.file(bytes))
		case resultExitCode:
			out.ExitCode = int32(number)
		case resultStdout:
			out.StdoutRaw = append([]byte(nil), bytes...)
		case resultStdoutDigest:
			r.digest(&out.StdoutDigest, new(repb.Digest), bytes)
		case resultStderr:
			out.StderrRaw = append([]byte(nil), bytes...)
		case resultStderrDigest:
			r.digest(&out.StderrDigest, new(repb.Digest), bytes)
		case resultMetadata:
			r.readMetadata(bytes)
		default:
			r.strange = true
		}
	})
}

func (r *executeResponse) readMetadata(data []byte) {
	if r.result.ExecutionMetadata != nil {
		r.strange = true
		return
	}
	out := &r.metadata
	r.result.ExecutionMetadata = out
	r.fields(data, func(tag uint64, bytes []byte, _ uint64) {
		switch tag {
		case metadataWorker:
			out.Worker = r.text(bytes)
		case metadataQueued:
			r.time(&out.QueuedTimestamp, bytes)
		case metadataWorkerStart:
			r.time(&out.WorkerStartTimestamp, bytes)
		case metadataWorkerCompleted:
			r.time(&out.WorkerCompletedTimestamp, bytes)
		case metadataFetchStart:
			r.time(&out.InputFetchStartTimestamp, bytes)
		case metadataFetchCompleted:
			r.time(&out.InputFetchCompletedTimestamp, bytes)
		case metadataRunStart:
			r.time(&out.ExecutionStartTimestamp, bytes)
		case metadataRunCompleted:
			r.time(&out.ExecutionCompletedTimestamp, bytes)
		case metadataUploadStart:
			r.time(&out.OutputUploadStartTimestamp, bytes)
		case metadataUploadCompleted:
			r.time(&out.OutputUploadCompletedTimestamp, bytes)
		case metadataAuxiliary:
			out.AuxiliaryMetadata = append(out.AuxiliaryMetadata, other(r, nil, bytes, new(anypb.Any)))
		case metadataVirtualExecution:
			out.VirtualExecutionDuration = other(r, out.VirtualExecutionDuration, bytes, new(durationpb.Duration))
		default:
			r.strange = true
		}
	})
}

func (r *executeResponse) file(data []byte) *repb.OutputFile {
	file := new(struct {
		repb.OutputFile
		digest repb.Digest
	})
	r.fields(data, func(tag uint64, bytes []byte, number uint64) {
		switch tag {
		case filePath:
			file.Path = r.text(bytes)
		case fileDigest:
			r.digest(&file.Digest, &file.digest, bytes)
		case fileExecutable:
			file.IsExecutable = number != 0
		default:
			r.strange = true
		}
	})
	return &file.OutputFile
}

// digest has at point to d, and reads it.
func (r *executeResponse) digest(at **repb.Digest, d *repb.Digest, data []byte) {
	r.strange = r.strange || *at != nil
	*at = d
	r.fields(data, func(tag uint64, bytes []byte, number uint64) {
		switch tag {
		case digestHash:
			d.Hash = r.text(bytes)
		case digestSize:
			d.SizeBytes = int64(number)
		default:
			r.strange = true
		}
	})
}

// time has at point to a time that is read.
func (r *executeResponse) time(at **timestamppb.Timestamp, data []byte) {
	if *at != nil {
		r.strange = true
		return
	}
	t := &r.times[r.used]
	r.used++
	*at = t
	r.fields(data, func(tag uint64, _ []byte, number uint64) {
		switch tag {
		case timeSeconds:
			t.Seconds = int64(number)
		case timeNanos:
			t.Nanos = int32(number)
		default:
			r.strange = true
		}
	})
}

func (r *executeResponse) text(data []byte) string {
	r.strange = r.strange || !utf8.Valid(data)
	return string(data)
}

// other has the generated code read a message that isn't in every response.
func other[M interface {
	comparable
	proto.Message
}](r *executeResponse, before M, data []byte, m M) M {
	var none M
	if before != none || proto.Unmarshal(data, m) != nil {
		r.strange = true
	}
	return m
}
