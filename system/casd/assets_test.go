package casd_test

import (
	"context"
	"testing"

	assetpb "github.com/bazelbuild/remote-apis/build/bazel/remote/asset/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// librarian is an asset remote that remembers what it was asked.
type librarian struct {
	assetpb.UnimplementedFetchServer
	assetpb.UnimplementedPushServer
	asked []string
}

func (l *librarian) FetchBlob(_ context.Context, request *assetpb.FetchBlobRequest) (*assetpb.FetchBlobResponse, error) {
	if len(request.Uris) == 0 {
		return nil, status.Error(codes.InvalidArgument, "no URIs")
	}
	l.asked = append(l.asked, "fetch blob in "+request.InstanceName)
	return &assetpb.FetchBlobResponse{Uri: request.Uris[0]}, nil
}

func (l *librarian) FetchDirectory(_ context.Context, request *assetpb.FetchDirectoryRequest) (*assetpb.FetchDirectoryResponse, error) {
	l.asked = append(l.asked, "fetch directory in "+request.InstanceName)
	return &assetpb.FetchDirectoryResponse{Uri: request.Uris[0]}, nil
}

func (l *librarian) PushBlob(_ context.Context, request *assetpb.PushBlobRequest) (*assetpb.PushBlobResponse, error) {
	l.asked = append(l.asked, "push blob in "+request.InstanceName)
	return new(assetpb.PushBlobResponse), nil
}

func (l *librarian) PushDirectory(_ context.Context, request *assetpb.PushDirectoryRequest) (*assetpb.PushDirectoryResponse, error) {
	l.asked = append(l.asked, "push directory in "+request.InstanceName)
	return new(assetpb.PushDirectoryResponse), nil
}

func TestAssetsAreForwarded(t *testing.T) {
	w := newWorld(t)
	l := new(librarian)
	url := "grpc://" + serve(t, func(r grpc.ServiceRegistrar) {
		assetpb.RegisterFetchServer(r, l)
		assetpb.RegisterPushServer(r, l)
	})
	register := func(readOnly bool) string {
		return w.register(&lcpb.GetInstanceNameForRemotesRequest{RemoteAsset: &lcpb.Remote{Url: url, InstanceName: "far", ReadOnly: readOnly}}).Instance()
	}
	fetch, push := assetpb.NewFetchClient(w.conn), assetpb.NewPushClient(w.conn)
	ctx, uris := t.Context(), []string{"urn:x"}

	there := register(false)
	if got, err := fetch.FetchBlob(ctx, &assetpb.FetchBlobRequest{InstanceName: there, Uris: uris}); err != nil || got.Uri != "urn:x" {
		t.Errorf("blob: got %v, %v", got, err)
	}
	if got, err := fetch.FetchDirectory(ctx, &assetpb.FetchDirectoryRequest{InstanceName: there, Uris: uris}); err != nil || got.Uri != "urn:x" {
		t.Errorf("directory: got %v, %v", got, err)
	}
	if _, err := push.PushBlob(ctx, &assetpb.PushBlobRequest{InstanceName: there, Uris: uris}); err != nil {
		t.Error(err)
	}
	if _, err := push.PushDirectory(ctx, &assetpb.PushDirectoryRequest{InstanceName: there, Uris: uris}); err != nil {
		t.Error(err)
	}
	want := []string{"fetch blob in far", "fetch directory in far", "push blob in far", "push directory in far"}
	if diff := cmp.Diff(l.asked, want); diff != "" {
		t.Errorf("the remote was asked (-got +want):\n%s", diff)
	}
	// As BuildStream finds out whether there is such a service.
	for instance, want := range map[string]codes.Code{there: codes.InvalidArgument, "near": codes.Unimplemented, "other": codes.InvalidArgument} {
		if _, err := fetch.FetchBlob(ctx, &assetpb.FetchBlobRequest{InstanceName: instance}); status.Code(err) != want {
			t.Errorf("fetch nothing in %q: got %v, want %v", instance, err, want)
		}
	}
	readOnly := register(true)
	if _, err := push.PushBlob(ctx, &assetpb.PushBlobRequest{InstanceName: readOnly, Uris: uris}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("push to a read-only remote: got %v, want PERMISSION_DENIED", err)
	}
	if _, err := fetch.FetchBlob(ctx, &assetpb.FetchBlobRequest{InstanceName: readOnly, Uris: uris}); err != nil {
		t.Errorf("fetch from a read-only remote: %v", err)
	}
}
