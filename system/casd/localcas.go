package casd

import (
	"context"
	"errors"
	"fmt"
	"os"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// maxRequestBlobs bounds the digests and paths of one request. BuildStream sends
// at most 13 000, 1 MiB of digests.
const maxRequestBlobs = 100_000

// GetLocalServerDetails implements the LocalCAS service.
func (s *Server) GetLocalServerDetails(_ context.Context, request *lcpb.GetLocalServerDetailsRequest) (*lcpb.LocalServerDetails, error) {
	if _, err := s.instances.find(request.InstanceName); err != nil {
		return nil, toStatus(err).Err()
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, toStatus(err).Err()
	}
	return &lcpb.LocalServerDetails{Hostname: host, ProcessUid: int64(os.Geteuid()), StorageRoot: s.dir}, nil
}

// GetLocalDiskUsage implements the LocalCAS service.
func (s *Server) GetLocalDiskUsage(context.Context, *lcpb.GetLocalDiskUsageRequest) (*lcpb.GetLocalDiskUsageResponse, error) {
	usage := s.local.Usage()
	return &lcpb.GetLocalDiskUsageResponse{SizeBytes: usage.SizeBytes, QuotaBytes: usage.QuotaBytes}, nil
}

// digests reads and checks the digests of a request.
func digests(in []*repb.Digest) ([]digest.Digest, error) {
	if len(in) > maxRequestBlobs {
		return nil, tooMany("blob_digests", len(in))
	}
	out := make([]digest.Digest, len(in))
	for i, p := range in {
		d, err := digest.FromProto(p)
		if err != nil {
			return nil, fmt.Errorf("blob_digests[%d]: %w", i, err)
		}
		out[i] = d
	}
	return out, nil
}

func tooMany(field string, n int) error {
	return &inputError{fmt.Sprintf("%s has %d entries, more than the %d of one request", field, n, maxRequestBlobs)}
}

func statusProto(err error) *statuspb.Status { return toStatus(err).Proto() }

func notHere(d digest.Digest) error { return fmt.Errorf("blob %v: %w", d, cas.ErrNotFound) }

// FetchMissingBlobs implements the LocalCAS service.
func (s *Server) FetchMissingBlobs(ctx context.Context, request *lcpb.FetchMissingBlobsRequest) (*lcpb.FetchMissingBlobsResponse, error) {
	missing, err := s.fetchMissing(ctx, request)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	response := new(lcpb.FetchMissingBlobsResponse)
	for _, d := range missing {
		response.Responses = append(response.Responses, &lcpb.FetchMissingBlobsResponse_Response{
			Digest: d.Proto(), Status: statusProto(notHere(d)),
		})
	}
	return response, nil
}

func (s *Server) fetchMissing(ctx context.Context, request *lcpb.FetchMissingBlobsRequest) ([]digest.Digest, error) {
	in, err := s.instances.find(request.InstanceName)
	if err != nil {
		return nil, err
	}
	wanted, err := digests(request.BlobDigests)
	if err != nil {
		return nil, err
	}
	return in.store.ensure(ctx, wanted)
}

// sending returns the instance of a request to send something to its remote. With one
// that is only read the service isn't there, as in BuildBox: BuildStream then asks
// what is missing instead.
func (s *Server) sending(name string) (*instance, error) {
	in, err := s.instances.find(name)
	if err == nil && in.store.readOnly {
		err = fmt.Errorf("upload to instance %q, whose remote is read-only: %w", name, errNoService)
	}
	return in, err
}

// UploadMissingBlobs implements the LocalCAS service.
func (s *Server) UploadMissingBlobs(ctx context.Context, request *lcpb.UploadMissingBlobsRequest) (*lcpb.UploadMissingBlobsResponse, error) {
	failed, digests, err := s.uploadMissing(ctx, request)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	response := new(lcpb.UploadMissingBlobsResponse)
	for _, d := range digests {
		if err, ok := failed[d]; ok {
			delete(failed, d) // once, however often it was asked for
			response.Responses = append(response.Responses, &lcpb.UploadMissingBlobsResponse_Response{
				Digest: d.Proto(), Status: statusProto(err),
			})
		}
	}
	return response, nil
}

func (s *Server) uploadMissing(ctx context.Context, request *lcpb.UploadMissingBlobsRequest) (map[digest.Digest]error, []digest.Digest, error) {
	in, err := s.sending(request.InstanceName)
	if err != nil {
		return nil, nil, err
	}
	digests, err := digests(request.BlobDigests)
	if err != nil {
		return nil, nil, err
	}
	absent, err := s.local.Missing(ctx, digests, nil)
	if err != nil {
		return nil, nil, err
	}
	failed, err := in.store.upload(ctx, digests)
	if failed == nil {
		failed = make(map[digest.Digest]error)
	}
	// Also those that the remote has: the client thinks that they are here.
	for _, d := range absent {
		failed[d] = notHere(d)
	}
	return failed, digests, err
}

// FetchTree implements the LocalCAS service.
func (s *Server) FetchTree(ctx context.Context, request *lcpb.FetchTreeRequest) (*lcpb.FetchTreeResponse, error) {
	err := s.fetchTree(ctx, request)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	return new(lcpb.FetchTreeResponse), nil
}

func (s *Server) fetchTree(ctx context.Context, request *lcpb.FetchTreeRequest) error {
	in, err := s.instances.find(request.InstanceName)
	if err != nil {
		return err
	}
	tree, err := wholeSnapshot(ctx, in.store, request.RootDigest)
	if err != nil || !request.FetchFileBlobs {
		return err
	}
	missing, err := in.store.ensure(ctx, tree.files)
	if err == nil && len(missing) > 0 {
		err = absentBlobs(&missingError{missing})
	}
	return err
}

// wholeSnapshot reads a tree for calls that say NOT_FOUND if it isn't whole.
func wholeSnapshot(ctx context.Context, store *readThrough, root *repb.Digest) (*snapshot, error) {
	d, err := digest.FromProto(root)
	if err != nil {
		return nil, fmt.Errorf("root_digest: %w", err)
	}
	tree, err := readSnapshot(ctx, store, d)
	var missing *missingError
	if errors.As(err, &missing) {
		err = absentBlobs(missing)
	}
	return tree, err
}

// absentBlobs makes missing blobs NOT_FOUND: only who stages has to tell a
// client what to upload.
func absentBlobs(e *missingError) error {
	return fmt.Errorf("%s: %w", e.Error(), cas.ErrNotFound)
}

// UploadTree implements the LocalCAS service.
func (s *Server) UploadTree(ctx context.Context, request *lcpb.UploadTreeRequest) (*lcpb.UploadTreeResponse, error) {
	if err := s.uploadTree(ctx, request); err != nil {
		return nil, toStatus(err).Err()
	}
	return new(lcpb.UploadTreeResponse), nil
}

func (s *Server) uploadTree(ctx context.Context, request *lcpb.UploadTreeRequest) error {
	in, err := s.sending(request.InstanceName)
	if err != nil {
		return err
	}
	// What is to be uploaded is here, not at the remote.
	tree, err := wholeSnapshot(ctx, &readThrough{local: s.local}, request.RootDigest)
	if err != nil {
		return err
	}
	absent, err := s.local.Missing(ctx, tree.files, nil)
	if err != nil {
		return err
	}
	if len(absent) > 0 {
		return absentBlobs(&missingError{absent})
	}
	// Files before directories, so that no directory at the remote names a file
	// that isn't there yet.
	failed, err := in.store.upload(ctx, tree.files)
	if err == nil && len(failed) == 0 {
		directories := make([]digest.Digest, 0, len(tree.dirs))
		for d := range tree.dirs {
			directories = append(directories, d)
		}
		failed, err = in.store.upload(ctx, directories)
	}
	for d, reason := range failed {
		return fmt.Errorf("upload blob %v: %w", d, reason)
	}
	return err
}
