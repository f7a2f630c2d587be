package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/stats"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/semconv"
)

// Keepalive of client connections: what clients may do and what the server does.
// Load balancers cut connections that are idle for minutes (the old system's for
// 15), and clients are told to ping more often than that.
const (
	clientPingMin     = 10 * time.Second
	serverPing        = 5 * time.Minute
	serverPingTimeout = 20 * time.Second
)

// Invocations is told of the calls of builds whose client knows nothing of
// traces, so that somebody writes the root span of their trace. It is safe for
// concurrent use.
type Invocations interface {
	// Begin is called as such a call begins, and what it returns once, as the
	// call ends.
	Begin(rm *repb.RequestMetadata, now time.Time) (end func(now time.Time))
}

// Deps are what a proxy uses but doesn't own. Logger and Registerer are needed.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	// ServerHandler and ClientHandler trace and measure the calls served and
	// made. The client's handler writes the traceparent that backends get. Nil:
	// nobody does.
	ServerHandler, ClientHandler stats.Handler

	// Invocations may be nil. It is told only of calls that ServerHandler, if it
	// is package telemetry's, found to have no traceparent.
	Invocations Invocations

	// Resolver takes the place of DNS if it isn't nil; its scheme must be dns.
	Resolver resolver.Builder
}

// A Server is a proxy-server. Its methods are safe for concurrent use.
type Server struct {
	config Config
	deps   Deps
	codec  codec
	health *health.Server

	keys   *watched[*verifier]    // nil if no listener has the scheme JWT
	tokens *watched[workerTokens] // nil if no listener has the scheme AuthToken
	certs  []credentials.TransportCredentials

	failures *prometheus.CounterVec
	uploads  sync.WaitGroup // goroutines of relay
}

// New returns a proxy-server with the given configuration, which it validates.
// It reads the credentials: a proxy that would refuse everybody doesn't start.
func New(config Config, deps Deps) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("configure proxy: %w", err)
	}
	s := &Server{
		config:   config,
		deps:     deps,
		codec:    newCodec(),
		health:   health.NewServer(),
		failures: telemetry.NewCounter(deps.Registerer, semconv.ProxyAuthFailures),
	}
	loaded := telemetry.NewGauge(deps.Registerer, semconv.ProxyCredentialsLoaded)
	failures := telemetry.NewCounter(deps.Registerer, semconv.ProxyCredentialsFailures)
	if config.uses(JWT) {
		s.keys = &watched[*verifier]{path: config.JWKSetPath, interval: defaultRefresh, parse: parseVerifier, logger: deps.Logger,
			loaded: loaded.WithLabelValues("keys"), failures: failures.WithLabelValues("keys")}
	}
	if config.uses(AuthToken) {
		s.tokens = &watched[workerTokens]{path: config.Tokens.Path, interval: config.Tokens.refresh(), parse: parseTokens, logger: deps.Logger,
			loaded: loaded.WithLabelValues("tokens"), failures: failures.WithLabelValues("tokens")}
	}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	if config.Infra.SentryDSN != "" {
		deps.Logger.Warn("sentry is not supported", "key", "infra.sentry_dsn")
	}
	if err := s.loadCertificates(); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload reads the credentials now. Those that can't be read stay as they are.
// While the server runs it does so by itself, every 20 s or as configured.
func (s *Server) Reload() error {
	var errs []error
	if s.keys != nil {
		errs = append(errs, s.keys.reload())
	}
	if s.tokens != nil {
		errs = append(errs, s.tokens.reload())
	}
	return errors.Join(errs...)
}

func (s *Server) loadCertificates() error {
	s.certs = make([]credentials.TransportCredentials, len(s.config.Listeners))
	for i, l := range s.config.Listeners {
		if l.TLS == nil {
			continue
		}
		var err error
		if s.certs[i], err = credentials.NewServerTLSFromFile(l.TLS.CertFile, l.TLS.KeyFile); err != nil {
			return fmt.Errorf("read certificate of %s: %w", l.Addr, err)
		}
	}
	return nil
}

// Serve serves until ctx ends, then drains and returns nil. It is called once.
//
// The listeners are those of the configuration, in its order; without any, Serve
// listens on the configured addresses. It closes them.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	listeners, err := s.listen(listeners)
	if err != nil {
		return err
	}
	routes, err := dialing{s.codec, s.deps.ClientHandler, s.deps.Resolver}.dial(&s.config)
	if err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	g, gctx := errgroup.WithContext(ctx)
	servers := make([]*grpc.Server, len(listeners))
	for i := range listeners {
		servers[i] = s.server(gctx, i, routes)
	}
	for i, l := range listeners {
		g.Go(func() error {
			s.deps.Logger.Info("serving", "addr", l.Addr().String(), "auth_scheme", string(s.config.Listeners[i].Scheme))
			if err := servers[i].Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	if s.keys != nil {
		g.Go(func() error { s.keys.watch(gctx); return nil })
	}
	if s.tokens != nil {
		g.Go(func() error { s.tokens.watch(gctx); return nil })
	}
	g.Go(func() error {
		<-gctx.Done()
		s.Drain()
		s.stop(servers)
		return nil
	})
	err = g.Wait()
	s.uploads.Wait()
	return errors.Join(err, routes.close())
}

// Drain makes the health service answer NOT_SERVING, so that load balancers turn
// away, while calls are still served. Serve drains by itself when its context
// ends; a program that can wait calls Drain some seconds before.
func (s *Server) Drain() { s.health.Shutdown() }

// stop lets calls under way finish, for as long as is configured.
func (s *Server) stop(servers []*grpc.Server) {
	var graceful sync.WaitGroup
	for _, server := range servers {
		graceful.Go(server.GracefulStop)
	}
	done := make(chan struct{})
	go func() {
		graceful.Wait()
		close(done)
	}()
	timer := time.NewTimer(s.config.drain())
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.deps.Logger.Warn("calls were cut off at shutdown", "after", s.config.drain())
		for _, server := range servers {
			server.Stop()
		}
		<-done
	}
}

// server returns the gRPC server of the i-th listener, to be drained when ctx
// ends.
func (s *Server) server(ctx context.Context, i int, routes *routes) *grpc.Server {
	config := s.config.Listeners[i]
	f := &front{server: s, routes: routes, auth: s.authenticator(config.Scheme), methods: make(map[string]*method)}
	for _, name := range config.Services {
		name, _ = canonicalService(name)
		maps.Copy(f.methods, methodsOf(name))
		s.health.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(s.codec),
		grpc.UnknownServiceHandler(f.serve),
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.MaxHeaderListSize(MaxHeaderBytes),
		grpc.MaxConcurrentStreams(s.config.streams()),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: clientPingMin, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: serverPing, Timeout: serverPingTimeout}),
		grpc.WaitForHandlers(true),
	}
	if s.deps.ServerHandler != nil {
		options = append(options, grpc.StatsHandler(s.deps.ServerHandler))
	}
	if s.certs[i] != nil {
		options = append(options, grpc.Creds(s.certs[i]))
	}
	server := grpc.NewServer(options...)
	healthpb.RegisterHealthServer(server, healthService{s.health, ctx.Done()})
	if full := "/" + serviceCapabilities + "/GetCapabilities"; f.methods[full] != nil {
		repb.RegisterCapabilitiesServer(server, &capabilities{front: f, full: full})
	}
	return server
}

// methodsOf returns the methods of a service by their full names.
func methodsOf(service string) map[string]*method {
	of := make(map[string]*method)
	for _, m := range methodTable() {
		if m.service == service {
			of[m.full()] = &m
		}
	}
	return of
}

func (s *Server) authenticator(scheme Scheme) authenticator {
	switch scheme {
	case JWT:
		return jwtAuth{s.keys, time.Now}
	case AuthToken:
		return tokenAuth{s.tokens}
	case NoAuth:
		return noAuth{}
	}
	panic("auth scheme " + string(scheme) + " passed validation")
}

// timeout returns how long a backend may take for m; zero is no limit.
func (s *Server) timeout(m *method) time.Duration {
	if m.service == serviceActionCache && m.name == "GetActionResult" {
		return time.Duration(s.config.Timeouts.GetActionResultMillis) * time.Millisecond
	}
	return 0
}

// begin notes that a call begins and returns what notes its end.
func (s *Server) begin(ctx context.Context) (end func()) {
	if s.deps.Invocations == nil || !telemetry.Derived(ctx) {
		return func() {}
	}
	ended := s.deps.Invocations.Begin(telemetry.RequestMetadata(ctx), time.Now())
	return func() { ended(time.Now()) }
}
