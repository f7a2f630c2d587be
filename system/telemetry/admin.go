package telemetry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/traces/semconv"
)

// processRole is the label role of what belongs to the process, not to one of
// its roles: the Go runtime's metrics and the operating system's.
const processRole = "process"

const (
	// headerTimeout bounds how long a client may take to send its request's head.
	headerTimeout = 5 * time.Second
	// adminGrace is how long a scrape under way may take to end at shutdown.
	adminGrace = 2 * time.Second
	// maxScrapes bounds concurrent scrapes, each of which holds a snapshot of all
	// metrics: two Prometheus servers, and a person.
	maxScrapes = 4
)

// Admin is the HTTP side of a process: whether its roles are ready, and the
// metrics of all of them.
//
//	/healthz            200 and "ok", or 503 and the reason
//	/metrics, /metricsz Prometheus text, OpenMetrics or protobuf, as asked for
//
// and the pages of its roles.
type Admin struct {
	ready    func() error
	gatherer prometheus.Gatherers
	pages    map[string]http.Handler // by pattern
}

// NewAdmin returns the admin parts of a process with these roles. ready is
// asked at each /healthz: nil means that all roles can serve; it returns an
// error while they start and from the moment they drain, so that a load
// balancer looks elsewhere before calls fail. It is called concurrently.
func NewAdmin(ready func() error, roles ...*Telemetry) *Admin {
	process := prometheus.NewRegistry()
	prometheus.WrapRegistererWith(prometheus.Labels{semconv.Role: processRole}, process).MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	a := &Admin{ready: ready, gatherer: prometheus.Gatherers{process}}
	for _, t := range roles {
		a.gatherer = append(a.gatherer, t.Registry)
	}
	return a
}

// AddPages adds pages of a role, by the patterns of their paths. It is called before
// Handler and Serve.
func (a *Admin) AddPages(pages map[string]http.Handler) {
	if a.pages == nil {
		a.pages = make(map[string]http.Handler)
	}
	maps.Copy(a.pages, pages)
}

// Gatherer gathers the metrics of the process and all its roles.
func (a *Admin) Gatherer() prometheus.Gatherer { return a.gatherer }

// Handler serves all paths of Admin.
func (a *Admin) Handler() http.Handler {
	metrics := promhttp.HandlerFor(a.gatherer, promhttp.HandlerOpts{
		EnableOpenMetrics:   true, // exemplars exist only there and in protobuf
		MaxRequestsInFlight: maxScrapes,
		// A role whose collector fails doesn't take the others' metrics away.
		ErrorHandling: promhttp.ContinueOnError,
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", a.health)
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /metricsz", metrics)
	for pattern, page := range a.pages {
		mux.Handle(pattern, page)
	}
	return mux
}

func (a *Admin) health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := a.ready(); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Serve serves Handler on each listener until ctx is done or one of them fails,
// and closes them. It returns nil after ctx. Health and metrics have ports of
// their own by custom; both answer all paths.
func (a *Admin) Serve(ctx context.Context, listeners ...net.Listener) error {
	server := &http.Server{Handler: a.Handler(), ReadHeaderTimeout: headerTimeout}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve admin HTTP on %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminGrace)
		defer cancel()
		if server.Shutdown(grace) != nil {
			return server.Close()
		}
		return nil
	})
	return g.Wait()
}
