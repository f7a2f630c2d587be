package casd

import (
	"context"
	"fmt"

	assetpb "github.com/bazelbuild/remote-apis/build/bazel/remote/asset/v1"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/remote"
)

// assetService forwards the Remote Asset API, which finds and keeps blobs by URIs, to
// the asset remotes of instances. The blobs themselves go by the CAS; casd remembers
// nothing of what it was told here.
type assetService struct {
	assetpb.UnimplementedFetchServer
	assetpb.UnimplementedPushServer
	find func(name string) (*instance, error)
}

func (a *assetService) register(registrar grpc.ServiceRegistrar) {
	assetpb.RegisterFetchServer(registrar, a)
	assetpb.RegisterPushServer(registrar, a)
}

// behind returns the asset remote of an instance, and makes the name in the request
// the one that the instance has there.
func (a *assetService) behind(name *string, push bool) (*remote.Client, error) {
	in, err := a.find(*name)
	switch {
	case err != nil:
	case in.remotes.Assets == nil:
		err = fmt.Errorf("assets of instance %q, without a remote for them: %w", in.name, errNoService)
	case push && in.remotes.AssetsReadOnly:
		err = fmt.Errorf("push an asset to instance %q, whose remote is read-only: %w", in.name, errForbidden)
	default:
		*name = in.remotes.Assets.Instance()
		return in.remotes.Assets, nil
	}
	return nil, toStatus(err).Err()
}

// FetchBlob implements the Fetch service.
func (a *assetService) FetchBlob(ctx context.Context, request *assetpb.FetchBlobRequest) (*assetpb.FetchBlobResponse, error) {
	client, err := a.behind(&request.InstanceName, false)
	if err != nil {
		return nil, err
	}
	return assetpb.NewFetchClient(client.Conn()).FetchBlob(ctx, request)
}

// FetchDirectory implements the Fetch service.
func (a *assetService) FetchDirectory(ctx context.Context, request *assetpb.FetchDirectoryRequest) (*assetpb.FetchDirectoryResponse, error) {
	client, err := a.behind(&request.InstanceName, false)
	if err != nil {
		return nil, err
	}
	return assetpb.NewFetchClient(client.Conn()).FetchDirectory(ctx, request)
}

// PushBlob implements the Push service.
func (a *assetService) PushBlob(ctx context.Context, request *assetpb.PushBlobRequest) (*assetpb.PushBlobResponse, error) {
	client, err := a.behind(&request.InstanceName, true)
	if err != nil {
		return nil, err
	}
	return assetpb.NewPushClient(client.Conn()).PushBlob(ctx, request)
}

// PushDirectory implements the Push service.
func (a *assetService) PushDirectory(ctx context.Context, request *assetpb.PushDirectoryRequest) (*assetpb.PushDirectoryResponse, error) {
	client, err := a.behind(&request.InstanceName, true)
	if err != nil {
		return nil, err
	}
	return assetpb.NewPushClient(client.Conn()).PushDirectory(ctx, request)
}
