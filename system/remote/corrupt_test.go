package remote_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

var (
	good       = []byte("what was asked for")
	goodDigest = digest.Of(good)
	flipped    = []byte("what was asked fxr")
)

func TestWrongBatchAnswers(t *testing.T) {
	type answer = repb.BatchReadBlobsResponse_Response
	for _, c := range []struct {
		name    string
		answers []*answer
		corrupt *cas.CorruptError // or
		text    string
	}{
		{"other bytes", []*answer{{Digest: goodDigest.Proto(), Data: flipped}},
			&cas.CorruptError{Want: goodDigest, Got: digest.Of(flipped)}, ""},
		{"too few bytes", []*answer{{Digest: goodDigest.Proto(), Data: good[1:]}},
			&cas.CorruptError{Want: goodDigest, Got: digest.Of(good[1:])}, ""},
		{"no bytes", []*answer{{Digest: goodDigest.Proto()}},
			&cas.CorruptError{Want: goodDigest, Got: digest.Empty}, ""},
		{"no answer", nil, nil, "left it out"},
		{"another blob", []*answer{{Digest: digest.Of(flipped).Proto(), Data: flipped}}, nil, "left it out"},
		{"the same hash, another size", []*answer{{Digest: &repb.Digest{Hash: goodDigest.Hex(), SizeBytes: 1}, Data: good}}, nil, "left it out"},
		{"no digest", []*answer{{Data: good}}, nil, "malformed digest"},
		{"a malformed digest", []*answer{{Digest: &repb.Digest{Hash: "../../etc"}, Data: good}}, nil, "malformed digest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := dialFake(t, &fakeBlobs{read: func(*repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
				return &repb.BatchReadBlobsResponse{Responses: c.answers}, nil
			}})
			data, err := client.ReadBlob(t.Context(), goodDigest)
			if data != nil {
				t.Errorf("got %q beside the error", data)
			}
			checkCorrupt(t, err, c.corrupt, c.text)
			checkCorrupt(t, client.CheckBlobs(t.Context(), []digest.Digest{goodDigest})[0], c.corrupt, c.text)
		})
	}
}

// Answers may come in any order, and two digests of one hash are two blobs.
func TestBatchAnswersAreFoundByDigest(t *testing.T) {
	client := dialFake(t, &fakeBlobs{read: func(r *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
		response := new(repb.BatchReadBlobsResponse)
		for _, d := range slices.Backward(r.Digests) {
			one := &repb.BatchReadBlobsResponse_Response{Digest: d}
			switch d.SizeBytes {
			case int64(len(good)):
				one.Data = good
			default:
				one.Status = status.New(codes.NotFound, "no such size").Proto()
			}
			response.Responses = append(response.Responses, one)
		}
		return response, nil
	}})
	longer := digest.Digest{Hash: goodDigest.Hash, SizeBytes: goodDigest.SizeBytes + 1}
	results := client.ReadBlobs(t.Context(), []digest.Digest{longer, goodDigest, longer})
	for i, want := range []error{cas.ErrNotFound, nil, cas.ErrNotFound} {
		if !errors.Is(results[i].Err, want) || want == nil && string(results[i].Value) != string(good) {
			t.Errorf("result %d: %q, error %v, want error %v", i, results[i].Value, results[i].Err, want)
		}
	}
	for i, err := range client.CheckBlobs(t.Context(), []digest.Digest{longer, goodDigest, longer}) {
		if want := results[i].Err; (err == nil) != (want == nil) || errors.Is(err, cas.ErrNotFound) != errors.Is(want, cas.ErrNotFound) {
			t.Errorf("check %d: %v, want %v", i, err, want)
		}
	}
}

func TestWrongWriteAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		response *repb.BatchUpdateBlobsResponse
		text     string
	}{
		"no answer": {&repb.BatchUpdateBlobsResponse{}, "left it out"},
		"another blob": {&repb.BatchUpdateBlobsResponse{Responses: []*repb.BatchUpdateBlobsResponse_Response{
			{Digest: digest.Empty.Proto()}}}, "left it out"},
		"no digest": {&repb.BatchUpdateBlobsResponse{Responses: []*repb.BatchUpdateBlobsResponse_Response{{}}}, "malformed digest"},
	} {
		client := dialFake(t, &fakeBlobs{update: func(*repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
			return c.response, nil
		}})
		if err := client.WriteBlob(t.Context(), goodDigest, good); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want one about %q", name, err, c.text)
		}
	}
}

func TestWrongFindMissingAnswer(t *testing.T) {
	client := dialFake(t, &fakeBlobs{missing: func(*repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
		return &repb.FindMissingBlobsResponse{MissingBlobDigests: []*repb.Digest{{Hash: "nonsense"}}}, nil
	}})
	if _, err := client.Missing(t.Context(), []digest.Digest{goodDigest}, nil); err == nil || !strings.Contains(err.Error(), "malformed digest") {
		t.Errorf("error %v, want one about a malformed digest", err)
	}
}

// fakeStream answers every Read with the same messages.
type fakeStream struct {
	bspb.UnimplementedByteStreamServer
	messages  [][]byte
	err       error
	committed int64
}

func (f *fakeStream) Read(_ *bspb.ReadRequest, stream bspb.ByteStream_ReadServer) error {
	for _, data := range f.messages {
		if err := stream.Send(&bspb.ReadResponse{Data: data}); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fakeStream) Write(stream bspb.ByteStream_WriteServer) error {
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if message.FinishWrite {
			return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: f.committed})
		}
	}
}

func TestWrongStreams(t *testing.T) {
	long := append(slices.Clone(good), '!')
	for _, c := range []struct {
		name    string
		stream  fakeStream
		corrupt *cas.CorruptError // or
		text    string
	}{
		{"other bytes", fakeStream{messages: [][]byte{flipped[:5], flipped[5:]}}, &cas.CorruptError{Want: goodDigest, Got: digest.Of(flipped)}, ""},
		{"too few bytes", fakeStream{messages: [][]byte{good[:5]}}, &cas.CorruptError{Want: goodDigest, Got: digest.Of(good[:5])}, ""},
		{"no bytes", fakeStream{}, &cas.CorruptError{Want: goodDigest, Got: digest.Empty}, ""},
		{"too many bytes", fakeStream{messages: [][]byte{good, {'!'}}}, &cas.CorruptError{Want: goodDigest, Got: digest.Of(long)}, ""},
		{"too many at once", fakeStream{messages: [][]byte{long}}, &cas.CorruptError{Want: goodDigest, Got: digest.Of(long)}, ""},
		{"it breaks", fakeStream{messages: [][]byte{good[:5]}, err: status.Error(codes.DataLoss, "bad disk")}, nil, "at 5: rpc error: code = DataLoss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := dial(t, serve(t, func(g *grpc.Server) { bspb.RegisterByteStreamServer(g, &c.stream) }), "main")
			r, err := client.Open(t.Context(), goodDigest, 0)
			for err == nil {
				_, err = r.Next(3)
			}
			checkCorrupt(t, err, c.corrupt, c.text)
			if r != nil {
				if _, again := r.Next(3); !errors.Is(again, err) && again.Error() != err.Error() {
					t.Errorf("after %v comes %v", err, again)
				}
				r.Close()
			}
		})
	}
}

// Empty messages are legal; Next never returns an empty piece.
func TestEmptyMessagesAreSkipped(t *testing.T) {
	stream := &fakeStream{messages: [][]byte{{}, good[:5], {}, {}, good[5:], {}}}
	client := dial(t, serve(t, func(g *grpc.Server) { bspb.RegisterByteStreamServer(g, stream) }), "main")
	r, err := client.Open(t.Context(), goodDigest, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []byte
	for {
		piece, err := r.Next(4)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(piece) == 0 || len(piece) > 4 {
			t.Fatalf("piece %q, error %v", piece, err)
		}
		got = append(got, piece...)
	}
	if string(got) != string(good) {
		t.Errorf("got %q, want %q", got, good)
	}
}

func TestShortCommitIsAnError(t *testing.T) {
	stream := &fakeStream{committed: 1}
	client := dial(t, serve(t, func(g *grpc.Server) { bspb.RegisterByteStreamServer(g, stream) }), "main")
	w, err := client.Create(t.Context(), goodDigest)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(good); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err == nil || !strings.Contains(err.Error(), "committed 1 bytes") {
		t.Errorf("error %v, want one about 1 byte", err)
	}
}

// A server that takes anything gets no wrong data from us.
func TestWrongDataIsNotFinished(t *testing.T) {
	stream := &fakeStream{committed: goodDigest.SizeBytes}
	client := dial(t, serve(t, func(g *grpc.Server) { bspb.RegisterByteStreamServer(g, stream) }), "main")
	w, err := client.Create(t.Context(), goodDigest)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(flipped); err != nil {
		t.Fatal(err)
	}
	checkCorrupt(t, w.Commit(), &cas.CorruptError{Want: goodDigest, Got: digest.Of(flipped)}, "")
}

func checkCorrupt(t *testing.T, err error, want *cas.CorruptError, text string) {
	t.Helper()
	if want == nil {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want one about %q", err, text)
		}
		return
	}
	var got *cas.CorruptError
	if !errors.As(err, &got) || *got != *want {
		t.Errorf("error %v, want %v", err, want)
	}
}
