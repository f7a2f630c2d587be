// Package storage is the storage-server: the REAPI services
// ContentAddressableStorage, ByteStream, ActionCache and Capabilities over the
// stores of system/cas and system/actioncache.
//
//	server, err := storage.New(storage.Config{
//		Instances: map[string]storage.Instance{"main": {CAS: blobs, AC: results}},
//	})
//	…
//	g := grpc.NewServer(grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes))
//	server.Register(g)
//
// An instance is a name space of its own. A request for an instance the server
// doesn't have, or by a digest function that isn't one of the server's, like any other
// that can't be understood, is INVALID_ARGUMENT with the reason. Sizes that clients claim
// are checked before anything is allocated for them. The action cache always checks that
// all outputs of a result are still there.
//
// It is not a proxy: it neither authenticates nor balances.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/batch"
)

// Limits of messages.
const (
	// DefaultMaxBatchBytes is how much blob data a batch may hold unless
	// Config.MaxBatchBytes says otherwise. It stays under 4 MiB, the default
	// receive limit of gRPC clients, by enough for a full BatchReadBlobs
	// response of 2,500 blobs to pass.
	DefaultMaxBatchBytes = 4<<20 - 256<<10
	// MaxRecvMsgBytes is the receive limit the gRPC server needs
	// (grpc.MaxRecvMsgSize). A blob takes at most 90 bytes of a
	// BatchUpdateBlobs request beside its data, so that a batch of the default
	// size passes even if its blobs have only 32 bytes each.
	MaxRecvMsgBytes = 16 << 20
	// maxMaxBatchBytes leaves half of a received message for what isn't data.
	maxMaxBatchBytes = MaxRecvMsgBytes / 2
)

// Instance is where the blobs and results of one REAPI instance are.
type Instance struct {
	CAS cas.Store
	AC  actioncache.Cache
	// Extend, if not nil, is called for each answer about what the instance can do,
	// to say what it does beside or doesn't do.
	Extend func(context.Context, *repb.ServerCapabilities) error
}

// Config configures a Server.
type Config struct {
	// Instances by name; "" is the name of an unnamed one. Required.
	Instances map[string]Instance
	// Functions are the digest functions that clients may use, of those in
	// cas.Functions; the first is that of requests that name none. nil means SHA-256
	// alone.
	Functions []digest.Func
	// MaxBatchBytes is how much blob data BatchUpdateBlobs and BatchReadBlobs
	// take in one call, as advertised to clients. 0 means DefaultMaxBatchBytes.
	MaxBatchBytes int64
	// Registerer gets the server's metrics. nil means nobody reads them.
	Registerer prometheus.Registerer
	// Logger hears of failures of the stores. nil means silence.
	Logger *slog.Logger
}

// Validate reports all that is wrong with the configuration.
func (c *Config) Validate() error {
	var problems []error
	if len(c.Instances) == 0 {
		problems = append(problems, errors.New("no instances"))
	}
	for name, instance := range c.Instances {
		if err := digest.CheckInstance(name); err != nil {
			problems = append(problems, err)
		}
		if instance.CAS == nil || instance.AC == nil {
			problems = append(problems, fmt.Errorf("instance %q needs a CAS and an action cache", name))
		}
	}
	for _, f := range c.Functions {
		if !slices.Contains(cas.Functions, f) {
			problems = append(problems, fmt.Errorf("digest function %v is not one that stores take: %s", f, digest.Join(cas.Functions)))
		}
	}
	if c.MaxBatchBytes < 0 || c.MaxBatchBytes > maxMaxBatchBytes {
		problems = append(problems, fmt.Errorf("max batch of %d bytes is not between 1 and %d", c.MaxBatchBytes, maxMaxBatchBytes))
	}
	return errors.Join(problems...)
}

// Server serves stores. Its methods are safe for concurrent use.
type Server struct {
	instances     instances
	functions     []digest.Func // at least one
	maxBatchBytes int64
	logger        *slog.Logger
	uploads       *uploads
	buffers       sync.Pool // of *digestBuffer
}

// New returns a server of the configured instances. The stores remain the
// caller's; Close comes before theirs.
func New(config Config) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure storage: %w", err)
	}
	if config.MaxBatchBytes == 0 {
		config.MaxBatchBytes = DefaultMaxBatchBytes
	}
	if len(config.Functions) == 0 {
		config.Functions = []digest.Func{digest.SHA256}
	}
	if config.Registerer == nil {
		config.Registerer = prometheus.NewRegistry()
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	metrics := newMetrics(config.Registerer, config.Instances)
	all := make(map[string]*instance, len(config.Instances))
	for name, i := range config.Instances {
		all[name] = newInstance(i, metrics.of(name))
	}
	return newServer(all, config.Functions, config.MaxBatchBytes, config.Logger), nil
}

func newServer(all map[string]*instance, functions []digest.Func, maxBatchBytes int64, logger *slog.Logger) *Server {
	s := &Server{
		functions:     functions,
		maxBatchBytes: maxBatchBytes,
		logger:        logger,
		uploads:       newUploads(),
		buffers:       sync.Pool{New: func() any { return new(digestBuffer) }},
	}
	s.instances.byName.Store(&all)
	return s
}

// Register adds the services to a gRPC server, which must take messages of
// MaxRecvMsgBytes.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {
	repb.RegisterContentAddressableStorageServer(registrar, casService{Server: s})
	repb.RegisterActionCacheServer(registrar, actionCacheService{Server: s})
	batch.RegisterActionCacheServer(registrar, batchService{actionCacheService: actionCacheService{Server: s}})
	repb.RegisterCapabilitiesServer(registrar, capabilitiesService{Server: s})
	registerByteStream(registrar, byteStreamService{s})
}

// Close forgets the uploads that were to be resumed. The gRPC server has
// stopped before.
func (s *Server) Close() { s.uploads.close() }
