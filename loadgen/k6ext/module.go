// Package k6ext is the k6 module k6/x/reapi and the output reapi-report.
//
//	import { Client, Corpus } from 'k6/x/reapi';
//
//	const corpus = new Corpus({ seed: 42, sizes: 'buildbuddy-cacheload' });
//	const client = new Client(__ENV.TARGET);
//
//	export default async function () {
//	  const missing = await client.findMissingBlobs(corpus.take(100));
//	  await client.upload(missing);
//	}
//
// It is thin: what is measured, and how, is loadgen/drive's. Here are the conversions
// between JavaScript and Go, k6's metrics, and the output that writes results.json. All
// calls that do I/O return promises, options with unknown keys are errors, and blobs are
// handles: their bytes are made in Go and never cross into JavaScript unless asked for.
//
// loadgen/index.d.ts is its documentation for those who write scripts.
package k6ext

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"
	"go.k6.io/k6/v2/js/modules"
	"go.k6.io/k6/v2/output"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/reports/result"
)

// Names under which k6 finds them.
const (
	ImportPath = "k6/x/reapi"
	OutputName = "reapi-report"
)

// Register makes module and output known to k6. It is called once, before main.
func Register() {
	root := New()
	modules.Register(ImportPath, root)
	output.RegisterExtension(OutputName, root.NewOutput)
}

// Root is what all virtual users share: connections, and what is to be written at the end.
type Root struct {
	run string // id of this process's run

	mu      sync.Mutex // guards what follows
	clients map[string]*drive.Client
	commons map[string]*content
	fakes   []*fake.Server
	results []*result.Result // of scenarios
	metrics *reapiMetrics    // nil before the first virtual user

	report   report
	observer drive.Observer // report's, for the clients of scripts
	crew     crew
}

var (
	_ modules.Module   = (*Root)(nil)
	_ modules.Instance = (*instance)(nil)
)

// New returns the module.
func New() *Root {
	r := &Root{run: uuid.NewString(), clients: make(map[string]*drive.Client), commons: make(map[string]*content), crew: newCrew()}
	r.observer = &r.report
	return r
}

// NewModuleInstance is called once for each virtual user that imports the module.
func (r *Root) NewModuleInstance(vu modules.VU) modules.Instance {
	m := &instance{root: r, vu: vu}
	if env := vu.InitEnv(); env != nil {
		var err error
		if m.metrics, err = r.metricsIn(env.Registry); err != nil {
			common.Throw(vu.Runtime(), err)
		}
	}
	m.exports = modules.Exports{Default: moduleClass.of(vu.Runtime(), m)}
	return m
}

// moduleClass is what scripts import. k6 takes names from a default export that has no
// named ones beside it.
var moduleClass = newClass(map[string]property[*instance]{
	"Client":      func(m *instance) any { return m.newClient },
	"Corpus":      func(m *instance) any { return m.newCorpus },
	"FakeServer":  func(m *instance) any { return m.newFakeServer },
	"runScenario": func(m *instance) any { return m.runScenario },
	"scenario":    func(m *instance) any { return m.shippedScenario },
	"pace":        func(m *instance) any { return m.pace },
})

// instance is the module for one virtual user.
type instance struct {
	root    *Root
	vu      modules.VU
	metrics *reapiMetrics
	exports modules.Exports
	tags    tagCache
	call    invocation
}

// Exports returns what scripts import.
func (m *instance) Exports() modules.Exports { return m.exports }

// async calls a function that may block, and returns a promise of what it returns. It must
// be called on the event loop. The context is that of the iteration, its calls are
// measured, with these tags of the script's.
func (m *instance) async(what string, userTags sobek.Value, f func(ctx context.Context) (any, error)) *sobek.Promise {
	rt := m.vu.Runtime()
	if m.vu.State() == nil {
		common.Throw(rt, common.NewInitContextError(what+" in the init context is not possible: there is no network before the test begins"))
	}
	observer, err := m.observe(userTags)
	if err != nil {
		common.Throw(rt, err)
	}
	ctx := drive.WithObserver(m.vu.Context(), observer)
	promise, resolve, reject := rt.NewPromise()
	enqueue := m.vu.RegisterCallback()
	m.root.crew.do(func() {
		value, err := f(ctx)
		enqueue(func() error {
			if err != nil {
				return reject(m.jsError(what, err))
			}
			return resolve(value)
		})
	})
	return promise
}

// jsError is an Error whose code is that of gRPC, so that scripts can tell.
func (m *instance) jsError(what string, err error) sobek.Value {
	rt := m.vu.Runtime()
	e := rt.NewGoError(fmt.Errorf("%s: %w", what, err))
	code := status.Code(err)
	if errors.Is(err, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	if err := e.Set("code", int(code)); err != nil {
		return rt.ToValue(err)
	}
	return e
}

// invocation gives each iteration of a virtual user an id, as each build has one.
type invocation struct {
	iteration int64
	id        string
}

func (m *instance) invocationID() string {
	state := m.vu.State()
	if m.call.id == "" || m.call.iteration != state.Iteration {
		m.call = invocation{state.Iteration, uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %d %d", m.root.run, state.VUIDGlobal, state.Iteration)).String()}
	}
	return m.call.id
}

// milliseconds is how k6 has durations.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
