// Package runnertest has a casd for tests of runners and workers: a real gRPC
// server with CAS and LocalCAS that keeps blobs in memory, stages by copying and
// counts what it is asked.
package runnertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/traces/tracecontext"
)

// CASD is the server. Its methods are safe for concurrent use.
type CASD struct {
	repb.UnimplementedContentAddressableStorageServer
	repb.UnimplementedCapabilitiesServer
	bspb.UnimplementedByteStreamServer
	localcas.UnimplementedLocalContentAddressableStorageServer

	// URL is what --remote gets.
	URL string
	// OnStage, if set before use, is called when StageTree has its request; an
	// error ends the call.
	OnStage func(context.Context) error
	// CaptureError and WriteError, if set before use, are what each path of a
	// capture and each small upload ends with.
	CaptureError, WriteError error

	dir string // of staged trees

	// mu guards the fields below.
	mu      sync.Mutex
	blobs   map[digest.Digest][]byte
	staged  int
	changed *sync.Cond // staged has changed
	parents map[string][]string
	stages  []*localcas.StageTreeRequest
}

// OpenDir returns a folder that ends with the test and that everybody can enter and
// write to, unlike t.TempDir: where a test is root the processes of actions are not.
func OpenDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "runner-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *CASD {
	t.Helper()
	s := &CASD{dir: OpenDir(t), blobs: make(map[digest.Digest][]byte), parents: make(map[string][]string)}
	s.changed = sync.NewCond(&s.mu)
	s.blobs[digest.Empty] = nil
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.URL = "grpc://" + listener.Addr().String()
	server := grpc.NewServer(grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))
	repb.RegisterContentAddressableStorageServer(server, s)
	repb.RegisterCapabilitiesServer(server, s)
	bspb.RegisterByteStreamServer(server, s)
	localcas.RegisterLocalContentAddressableStorageServer(server, s)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() { server.Stop(); <-served })
	return s
}

func (s *CASD) unary(ctx context.Context, r any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	s.note(ctx, info.FullMethod)
	return next(ctx, r)
}

func (s *CASD) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	s.note(stream.Context(), info.FullMethod)
	return next(srv, stream)
}

func (s *CASD) note(ctx context.Context, method string) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parents[filepath.Base(method)] = append(s.parents[filepath.Base(method)], md.Get(tracecontext.Header)...)
}

// Parents returns the traceparent headers that came with calls of a method.
func (s *CASD) Parents(method string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.parents[method])
}

// Staged returns how many trees are staged now.
func (s *CASD) Staged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.staged
}

// AwaitUnstaged returns when no tree is staged: the end of a tree whose client
// broke the call is nothing the client could wait for.
func (s *CASD) AwaitUnstaged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.staged > 0 {
		s.changed.Wait()
	}
}

// Stages returns the requests that began a staging.
func (s *CASD) Stages() []*localcas.StageTreeRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.stages)
}

// Put stores a blob.
func (s *CASD) Put(data []byte) *repb.Digest {
	d := digest.Of(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = data
	return d.Proto()
}

// PutMessage stores a message.
func (s *CASD) PutMessage(t testing.TB, m proto.Message) *repb.Digest {
	t.Helper()
	data, _, err := digest.OfMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	return s.Put(data)
}

// Blob returns a blob, and an error if it isn't there.
func (s *CASD) Blob(p *repb.Digest) ([]byte, error) {
	d, err := digest.FromProto(p)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.blobs[d]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "blob %v not found", d)
	}
	return data, nil
}

// GetCapabilities answers with no more than must be.
func (s *CASD) GetCapabilities(context.Context, *repb.GetCapabilitiesRequest) (*repb.ServerCapabilities, error) {
	return &repb.ServerCapabilities{CacheCapabilities: &repb.CacheCapabilities{}}, nil
}

// FindMissingBlobs says which blobs aren't there.
func (s *CASD) FindMissingBlobs(_ context.Context, r *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	response := new(repb.FindMissingBlobsResponse)
	for _, d := range r.BlobDigests {
		if _, err := s.Blob(d); err != nil {
			response.MissingBlobDigests = append(response.MissingBlobDigests, d)
		}
	}
	return response, nil
}

// BatchUpdateBlobs stores blobs.
func (s *CASD) BatchUpdateBlobs(_ context.Context, r *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	if s.WriteError != nil {
		return nil, s.WriteError
	}
	response := new(repb.BatchUpdateBlobsResponse)
	for _, blob := range r.Requests {
		response.Responses = append(response.Responses, &repb.BatchUpdateBlobsResponse_Response{Digest: s.Put(blob.Data)})
	}
	return response, nil
}

// BatchReadBlobs reads blobs.
func (s *CASD) BatchReadBlobs(_ context.Context, r *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
	response := new(repb.BatchReadBlobsResponse)
	for _, d := range r.Digests {
		data, err := s.Blob(d)
		response.Responses = append(response.Responses, &repb.BatchReadBlobsResponse_Response{Digest: d, Data: data, Status: status.Convert(err).Proto()})
	}
	return response, nil
}

// Read sends a blob.
func (s *CASD) Read(r *bspb.ReadRequest, stream bspb.ByteStream_ReadServer) error {
	_, d, err := digest.ParseReadName(r.ResourceName)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	data, err := s.Blob(d.Proto())
	if err != nil {
		return err
	}
	for piece := range slices.Chunk(data[r.ReadOffset:], 64<<10) {
		if err := stream.Send(&bspb.ReadResponse{Data: piece}); err != nil {
			return err
		}
	}
	return nil
}

// Write takes a blob.
func (s *CASD) Write(stream bspb.ByteStream_WriteServer) error {
	var name string
	var data []byte
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		if name == "" {
			name = r.ResourceName
		}
		data = append(data, r.Data...)
		if r.FinishWrite {
			break
		}
	}
	_, _, d, err := digest.ParseWriteName(name)
	if err != nil || digest.Of(data) != d {
		return status.Errorf(codes.InvalidArgument, "%d bytes are not %s", len(data), name)
	}
	s.Put(data)
	return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: int64(len(data))})
}

// StageTree copies a tree into a directory.
func (s *CASD) StageTree(stream grpc.BidiStreamingServer[localcas.StageTreeRequest, localcas.StageTreeResponse]) error {
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.stages = append(s.stages, r)
	s.mu.Unlock()
	if s.OnStage != nil {
		if err := s.OnStage(stream.Context()); err != nil {
			return err
		}
	}
	path := r.Path
	if path == "" {
		if path, err = os.MkdirTemp(s.dir, "tree-"); err != nil {
			return err
		}
	}
	if err := s.stage(stream, r, path); err != nil {
		return err
	}
	return stream.Send(&localcas.StageTreeResponse{})
}

// stage has a tree in path until the client ends it.
func (s *CASD) stage(stream grpc.BidiStreamingServer[localcas.StageTreeRequest, localcas.StageTreeResponse], r *localcas.StageTreeRequest, path string) error {
	s.count(1)
	defer s.count(-1)
	defer os.RemoveAll(path)
	if err := s.copyOut(r.RootDigest, path); err != nil {
		return err
	}
	if err := giveAll(path, r.AccessCredentials); err != nil {
		return err
	}
	if err := stream.Send(&localcas.StageTreeResponse{Path: path}); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// giveAll makes everything below a path the reader's, if this process may.
func giveAll(path string, to *localcas.StageTreeRequest_Credentials) error {
	if to == nil || os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(path, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(to.Uid), int(to.Gid))
	})
}

func (s *CASD) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.staged += n
	s.changed.Broadcast()
}

func (s *CASD) copyOut(d *repb.Digest, path string) error {
	data, err := s.Blob(d)
	if err != nil {
		return err
	}
	directory := new(repb.Directory)
	if err := proto.Unmarshal(data, directory); err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for _, f := range directory.Files {
		data, err := s.Blob(f.Digest)
		if err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if f.IsExecutable {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(path, f.Name), data, mode); err != nil {
			return err
		}
	}
	for _, l := range directory.Symlinks {
		if err := os.Symlink(l.Target, filepath.Join(path, l.Name)); err != nil {
			return err
		}
	}
	for _, sub := range directory.Directories {
		if err := s.copyOut(sub.Digest, filepath.Join(path, sub.Name)); err != nil {
			return err
		}
	}
	return nil
}

// CaptureFiles stores files below a root.
func (s *CASD) CaptureFiles(_ context.Context, r *localcas.CaptureFilesRequest) (*localcas.CaptureFilesResponse, error) {
	response := new(localcas.CaptureFilesResponse)
	for _, path := range r.Path {
		one := &localcas.CaptureFilesResponse_Response{Path: path}
		response.Responses = append(response.Responses, one)
		if s.CaptureError != nil {
			one.Status = status.Convert(s.CaptureError).Proto()
			continue
		}
		full := filepath.Join(r.Root, path)
		data, err := os.ReadFile(full)
		if err != nil {
			return nil, err
		}
		one.Digest = s.Put(data)
		info, err := os.Stat(full)
		if err != nil {
			return nil, err
		}
		one.IsExecutable = info.Mode()&0o100 != 0
	}
	return response, nil
}

// CaptureTree stores flat directories below a root.
func (s *CASD) CaptureTree(_ context.Context, r *localcas.CaptureTreeRequest) (*localcas.CaptureTreeResponse, error) {
	response := new(localcas.CaptureTreeResponse)
	for _, path := range r.Path {
		one := &localcas.CaptureTreeResponse_Response{Path: path}
		response.Responses = append(response.Responses, one)
		if s.CaptureError != nil {
			one.Status = status.Convert(s.CaptureError).Proto()
			continue
		}
		directory, err := s.copyIn(filepath.Join(r.Root, path))
		if err != nil {
			return nil, err
		}
		root, _, err := digest.OfMessage(directory)
		if err != nil {
			return nil, err
		}
		if r.OutputDirectoryFormat != repb.Command_TREE_ONLY {
			one.RootDirectoryDigest = s.Put(root)
		}
		if r.OutputDirectoryFormat != repb.Command_DIRECTORY_ONLY {
			tree, _, err := digest.OfMessage(&repb.Tree{Root: directory})
			if err != nil {
				return nil, err
			}
			one.TreeDigest = s.Put(tree)
		}
	}
	return response, nil
}

func (s *CASD) copyIn(path string) (*repb.Directory, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	directory := new(repb.Directory)
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			return nil, fmt.Errorf("%s: this casd captures flat directories only", filepath.Join(path, entry.Name()))
		}
		data, err := os.ReadFile(filepath.Join(path, entry.Name()))
		if err != nil {
			return nil, err
		}
		directory.Files = append(directory.Files, &repb.FileNode{Name: entry.Name(), Digest: s.Put(data)})
	}
	return directory, nil
}
