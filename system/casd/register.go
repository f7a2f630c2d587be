package casd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
)

// GetInstanceNameForRemote implements the LocalCAS service.
func (s *Server) GetInstanceNameForRemote(_ context.Context, request *lcpb.GetInstanceNameForRemoteRequest) (*lcpb.GetInstanceNameForRemoteResponse, error) {
	name, err := s.register(&lcpb.GetInstanceNameForRemotesRequest{ContentAddressableStorage: &lcpb.Remote{
		Url: request.Url, InstanceName: request.InstanceName,
		ServerCert: request.ServerCert, ClientKey: request.ClientKey, ClientCert: request.ClientCert,
	}})
	if err != nil {
		return nil, toStatus(err).Err()
	}
	return &lcpb.GetInstanceNameForRemoteResponse{InstanceName: name}, nil
}

// GetInstanceNameForRemotes implements the LocalCAS service.
func (s *Server) GetInstanceNameForRemotes(_ context.Context, request *lcpb.GetInstanceNameForRemotesRequest) (*lcpb.GetInstanceNameForRemotesResponse, error) {
	name, err := s.register(request)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	return &lcpb.GetInstanceNameForRemotesResponse{InstanceName: name}, nil
}

// register returns the name of the instance that has the remotes of a request. Who
// asks in a namespace stays there. Otherwise the request's instance says nothing:
// BuildStream leaves it empty, whatever instances there are.
func (s *Server) register(request *lcpb.GetInstanceNameForRemotesRequest) (string, error) {
	var root, namespace string
	if asked, err := s.instances.find(request.InstanceName); err == nil && asked.root != "" {
		root, namespace = asked.root, asked.name
		for _, r := range []*lcpb.Remote{request.ContentAddressableStorage, request.ActionCache, request.Execution, request.RemoteAsset} {
			if r.GetAccessTokenPath() != "" {
				return "", &inputError{fmt.Sprintf("access_token_path %q: tokens aren't read for clients in a namespace", r.AccessTokenPath)}
			}
		}
	} else if request.InstanceName != "" && err != nil {
		return "", err
	}
	name, err := nameFor("remotes", &lcpb.GetInstanceNameForRemotesRequest{
		InstanceName:              namespace,
		ContentAddressableStorage: request.ContentAddressableStorage, RemoteAsset: request.RemoteAsset,
		ActionCache: request.ActionCache, Execution: request.Execution,
	})
	if err != nil {
		return "", err
	}
	in, err := s.instances.register(name, func() (*instance, []func() error, error) {
		r, closers, err := s.dial(request)
		if err != nil {
			return nil, closers, err
		}
		in, err := s.newInstance(name, r)
		if err != nil {
			return nil, closers, err
		}
		in.root = root
		return in, closers, s.storage.Add(name, in.served(), s.like)
	})
	if err != nil {
		return "", err
	}
	return in.name, nil
}

// nameFor returns the name of what a request asks for: equal requests have equal
// names, also after a restart, and nobody can choose one.
func nameFor(kind string, request proto.Message) (string, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(data)
	return kind + "-" + hex.EncodeToString(hash[:16]), nil
}

// dial returns clients of the remotes that a request names, and what closes them,
// whatever the error.
func (s *Server) dial(request *lcpb.GetInstanceNameForRemotesRequest) (r Remotes, closers []func() error, err error) {
	for _, each := range []struct {
		field  string
		remote *lcpb.Remote
		client **remote.Client
	}{
		{"content_addressable_storage", request.ContentAddressableStorage, &r.CAS},
		{"action_cache", request.ActionCache, &r.ActionCache},
		{"execution", request.Execution, &r.Execution},
		{"remote_asset", request.RemoteAsset, &r.Assets},
	} {
		if each.remote.GetUrl() == "" {
			continue
		}
		if *each.client, err = s.dialOne(each.remote); err != nil {
			return Remotes{}, closers, &inputError{fmt.Sprintf("%s: %v", each.field, err)}
		}
		closers = append(closers, (*each.client).Close)
	}
	r.CASReadOnly = request.ContentAddressableStorage.GetReadOnly()
	r.ActionCacheReadOnly = request.ActionCache.GetReadOnly()
	r.AssetsReadOnly = request.RemoteAsset.GetReadOnly()
	return r, closers, nil
}

func (s *Server) dialOne(r *lcpb.Remote) (*remote.Client, error) {
	config := remote.Config{
		URL: r.Url, Instance: r.InstanceName,
		ServerPEM: string(r.ServerCert), ClientKeyPEM: string(r.ClientKey), ClientCertPEM: string(r.ClientCert),
		AccessToken: r.AccessTokenPath,
		RetryLimit:  int(min(r.RetryLimit, math.MaxInt32)),
	}
	for _, each := range []struct {
		field string
		from  *durationpb.Duration
		to    *time.Duration
	}{
		{"keepalive_time", r.KeepaliveTime, &config.Keepalive},
		{"access_token_reload_interval", r.AccessTokenReloadInterval, &config.TokenReload},
		{"retry_delay", r.RetryDelay, &config.RetryDelay},
		{"request_timeout", r.RequestTimeout, &config.RequestTimeout},
	} {
		if each.from == nil {
			continue
		}
		if *each.to = each.from.AsDuration(); !each.from.IsValid() || *each.to < 0 {
			return nil, fmt.Errorf("%s of %v is no span of time", each.field, *each.to)
		}
	}
	if r.RetryLimit < 0 {
		return nil, fmt.Errorf("retry_limit %d is negative", r.RetryLimit)
	}
	return remote.Dial(config, s.dialOptions...)
}
