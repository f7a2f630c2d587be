// Package casd is the cache on a worker's machine: it brings the inputs of an
// action from the remote CAS, makes them appear as a directory, and stores what
// the action leaves behind.
//
//	server, err := casd.New(casd.Config{
//		Dir:       "/var/cache/casd",
//		Instances: map[string]casd.Remotes{"": {CAS: client, ActionCache: client}},
//	})
//	…
//	g := grpc.NewServer(grpc.MaxRecvMsgSize(storage.MaxRecvMsgBytes))
//	server.Register(g)
//	…
//	server.Close() // ends the stagings, whose calls would keep g from stopping
//	g.GracefulStop()
//
// It serves LocalCAS (BuildBox's protocol for this job) and, over the same
// blobs, the CAS, ByteStream, ActionCache, Capabilities, Execution and Operations
// services of REAPI and the Remote Asset API, so that a runner needs no other
// server. Words:
//
//   - The local cache is a cas.Disk in Config.Dir, the remote a REAPI server.
//     Blobs are read through the one from the other, see readThrough.
//   - An instance is a name with remotes of its own before the one local cache:
//     configured, or registered by a client that says what its remotes are.
//   - Staging makes a tree appear: as a FUSE mount, in which a file is fetched
//     when it is opened, or as real files, reflinked, hard-linked or copied.
//     Either way nothing an action does to its inputs reaches the cache.
//   - Capturing stores files and directories and sends them to the remote.
//
// Whoever can reach the services can read and write what casd can: they belong
// on a socket that only the worker reaches.
package casd

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/storage"
	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

// Config configures a Server.
type Config struct {
	// Dir is the folder of the cache, made if need be: objects/<2 hex>/<62 hex>,
	// as BuildBox has it, and staging. Required. One casd at a time uses it.
	Dir string
	// QuotaBytes is how large the cache may get; 0 means no limit. It is also the
	// size of the largest blob that can pass through.
	QuotaBytes int64
	// LowBytes is how much is left of the cache when it was full and the least
	// recently used went; 0 makes only as much room as is needed.
	LowBytes int64
	// KeepFreeBytes is how much of the cache's disk is left to others, whatever the
	// quota.
	KeepFreeBytes int64
	// ProtectSession never evicts a blob that was stored or used since casd started.
	ProtectSession bool
	// Instances are the REAPI instance names that clients use here, and the remotes
	// behind each; the clients stay the caller's. None means one without a name and
	// without remotes. Clients may register more.
	Instances map[string]Remotes
	// DialOptions are for connections to remotes that clients register.
	DialOptions []grpc.DialOption
	// NoFailures keeps results with an exit code other than 0 out of casd's own
	// action cache.
	NoFailures bool
	// NoFUSE stages real files even where FUSE works.
	NoFUSE bool
	// NoPassthrough makes what actions read and write in FUSE mounts pass through
	// casd, for kernels whose FUSE passthrough (new in Linux 6.9) isn't trusted.
	NoPassthrough bool
	// UnstageCommands are the programs, as absolute paths, that clients may have run
	// by casd's user on a tree before it goes.
	UnstageCommands []string
	// NestedUpdates lets actions update the action cache by the socket in their tree.
	NestedUpdates bool
	// ServerOptions are for the servers behind these sockets.
	ServerOptions []grpc.ServerOption
	// Logger hears of what an operator should know. nil means silence.
	Logger *slog.Logger
	// Registerer gets the metrics. nil means nobody reads them.
	Registerer prometheus.Registerer
}

// Validate reports all that is wrong with the configuration.
func (c *Config) Validate() error {
	var problems []error
	if c.Dir == "" {
		problems = append(problems, errors.New("no folder for the cache"))
	}
	if c.QuotaBytes < 0 {
		problems = append(problems, fmt.Errorf("quota of %d bytes is negative", c.QuotaBytes))
	}
	switch {
	case c.LowBytes < 0:
		problems = append(problems, fmt.Errorf("low mark of %d bytes is negative", c.LowBytes))
	case c.LowBytes > 0 && c.QuotaBytes == 0:
		problems = append(problems, fmt.Errorf("low mark of %d bytes needs a quota", c.LowBytes))
	case c.LowBytes > c.QuotaBytes:
		problems = append(problems, fmt.Errorf("low mark of %d bytes is above the quota of %d", c.LowBytes, c.QuotaBytes))
	}
	if c.KeepFreeBytes < 0 {
		problems = append(problems, fmt.Errorf("%d bytes to keep free is negative", c.KeepFreeBytes))
	}
	problems = append(problems, checkAllowed(c.UnstageCommands))
	for name := range c.Instances {
		problems = append(problems, digest.CheckInstance(name))
	}
	return errors.Join(problems...)
}

// Server is a casd. Its methods are safe for concurrent use.
type Server struct {
	lcpb.UnimplementedLocalContentAddressableStorageServer

	dir         string
	instances   instances
	like        string // the instance as which registered ones are counted
	local       *cas.Disk
	results     resultsFolder // of instances without a remote for them
	noFailures  bool
	stager      *stager
	storage     *storage.Server
	unstage     []string // commands that clients may have run
	dialOptions []grpc.DialOption
	logger      *slog.Logger

	fetched, uploaded prometheus.Counter

	closing chan struct{}
	once    sync.Once
	closed  error
	// calls are the StageTree calls under way and their goroutines.
	calls calls
}

// New opens the cache, removes what an earlier casd that was killed has left
// staged, and finds out whether FUSE works. The caller calls Close.
func New(config Config) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure casd: %w", err)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Registerer == nil {
		config.Registerer = prometheus.NewRegistry()
	}
	// Stagings are told apart by their paths, so the paths must be the real ones.
	if err := os.MkdirAll(config.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("open casd: %w", err)
	}
	dir, err := filepath.Abs(config.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open casd: %w", err)
	}
	local, err := cas.OpenDisk(dir, cas.DiskConfig{
		QuotaBytes: config.QuotaBytes, LowBytes: config.LowBytes, KeepFreeBytes: config.KeepFreeBytes,
		ProtectUsed: config.ProtectSession, EmptyFile: true, Logger: config.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open casd: %w", err)
	}
	s := &Server{
		dir: dir, local: local, results: resultsFolder{dir: filepath.Join(dir, "ac"), logger: config.Logger}, noFailures: config.NoFailures,
		unstage: config.UnstageCommands, dialOptions: config.DialOptions, logger: config.Logger, closing: make(chan struct{}),
		fetched:  telemetry.NewCounter(config.Registerer, semconv.CasdFetched).WithLabelValues(),
		uploaded: telemetry.NewCounter(config.Registerer, semconv.CasdUploaded).WithLabelValues(),
	}
	if err = s.serve(config); err == nil {
		s.stager, err = newStager(config, dir, &api{options: config.ServerOptions, updates: config.NestedUpdates, storage: s.storage, like: s.like})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open casd: %w", err), s.results.close(), local.Close())
	}
	return s, nil
}

// serve makes the configured instances.
func (s *Server) serve(config Config) (err error) {
	if len(config.Instances) == 0 {
		config.Instances = map[string]Remotes{"": {}}
	}
	s.instances.byName = make(map[string]*instance)
	served := make(map[string]storage.Instance)
	for name, remotes := range config.Instances {
		in, err := s.newInstance(name, remotes)
		if err != nil {
			return err
		}
		s.instances.put(in)
		served[name] = in.served()
	}
	s.like = slices.Min(slices.Collect(maps.Keys(config.Instances)))
	s.storage, err = storage.New(storage.Config{Instances: served, Registerer: config.Registerer, Logger: config.Logger})
	return err
}

func newStager(config Config, dir string, a *api) (*stager, error) {
	s := &stager{
		dir:      filepath.Join(dir, "staging"),
		mounting: mounting{owner: dir, noPassthrough: config.NoPassthrough, logger: config.Logger},
		logger:   config.Logger,
		staged:   telemetry.NewGauge(config.Registerer, semconv.CasdStaged),
		duration: telemetry.NewHistogram(config.Registerer, semconv.CasdStageDuration),
		api:      a,
		live:     make(map[*staging]bool),
	}
	if err := removeLeftovers(s.dir, dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	if config.NoFUSE {
		s.noFUSE = errors.New("it is switched off")
		return s, nil
	}
	if s.noFUSE = probeMount(s.dir, s.mounting); s.noFUSE != nil {
		config.Logger.Info("FUSE doesn't work here, staging real files", "err", s.noFUSE)
	}
	return s, nil
}

// Register adds the services to a gRPC server, which must take messages of
// storage.MaxRecvMsgBytes.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {
	lcpb.RegisterLocalContentAddressableStorageServer(registrar, s)
	s.storage.Register(registrar)
	(&executionService{find: s.instances.find}).register(registrar)
	(&assetService{find: s.instances.find}).register(registrar)
}

// Close takes down all stagings, ends the StageTree calls, and closes the cache.
// Other calls must have ended, or fail.
func (s *Server) Close() error {
	s.once.Do(func() {
		close(s.closing)
		staged := s.stager.close()
		s.calls.wait()
		s.storage.Close()
		s.closed = errors.Join(staged, s.instances.close(), s.results.close(), s.local.Close())
	})
	return s.closed
}
