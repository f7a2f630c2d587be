// Package layers holds the rules of who may import whom, and tests them.
//
// [Rules] is the order of the packages as text, like that of Go's own tree
// (go/build/deps_test.go), with one difference: a permission isn't passed on.
// Each package lists all it may import, so that an import shows in a diff here.
// A package without a line fails the test.
//
// The tests beside it check what packages may use of other modules and of the
// standard library: pure packages neither look at the clock nor start
// goroutines, nobody uses OpenTelemetry's or Prometheus's globals, runners stay
// small. Test files may import and call what they like, but for those globals.
package layers

// Rules says which packages of this module may import which. A line
//
//	a, b < c, d
//
// lets c and d import a and b, and nothing but those and the words, which
// everybody may import and which import nothing (NONE). A package stands on the
// right of one line, and on the left of lines below it only, so that no cycle can
// be written down. ALL is every package above that line. A line that begins
// with "planned" is for packages that may not be there yet.
const Rules = `
# Words: names and messages, for everybody.
NONE < system/digest, system/proto/admin, system/proto/batch, system/proto/bots, system/proto/localcas, system/proto/executionstats, system/proto/notes
NONE < traces/semconv, traces/tracecontext
NONE < reports/result

# Pure: no clock, goroutine, log, I/O, context or randomness of its own.
NONE < system/queue, traces/build
system/queue < system/queue/journal
NONE < internal/portmath
internal/portmath < loadgen/workload
NONE < sim/des
NONE < reports/stats

# The store and its parts, and a log.
NONE < system/cas/lru, system/segments
system/cas/lru < system/cas/files
system/cas/lru < system/queue/sizing
system/cas/files, system/cas/lru < system/cas
system/cas, system/cas/files, system/cas/lru < system/actioncache

# The client, and what runs an action. Runners are small, see TestRunnersStaySmall:
# the client knows its compressor by an interface only.
system/cas < system/remote
NONE < system/remote/zstd
system/remote < system/options
NONE < system/runner/early, system/runner/proctree
system/cas, system/options, system/remote, system/runner/early, system/runner/proctree < system/runner

# Spans as files, in Jaeger, and as trees: nothing of system.
NONE < traces/otlpfile, traces/jaeger
traces/build < traces/lifecycle, traces/foreign

# What one concludes from traces.
traces/lifecycle < traces/analysis
traces/analysis, traces/lifecycle < traces/waterfall

# Exception of 2026-11-21: the spans of the run folder are written by the role
# that emits them, so telemetry is given an otlpfile.Writer.
traces/build, traces/otlpfile < system/telemetry

# The servers. None imports another, but for casd, which serves its blobs by the
# storage-server's services, and the worker, which starts runners.
system/telemetry < system/proxy
system/actioncache, system/cas, system/telemetry < system/storage
system/cas, system/queue, system/queue/journal, system/queue/sizing, system/remote, system/segments, system/telemetry, traces/build < system/execution
system/actioncache, system/cas, system/cas/lru, system/remote, system/storage, system/telemetry < system/casd
system/cas, system/options, system/remote, system/runner, system/runner/proctree, system/telemetry < system/worker

# The whole cluster in one process.
system/actioncache, system/cas, system/cas/lru, system/casd, system/execution, system/options, system/proxy, system/queue, system/remote, system/runner, system/storage, system/telemetry, system/worker < system/stack

# Load and simulation: of system they see the client and the queue.
# system/cas for the errors that the client's wrap.
loadgen/workload < loadgen/scenario
loadgen/scenario, loadgen/workload, system/cas, system/remote, system/remote/zstd < loadgen/drive
system/remote, system/remote/zstd < loadgen/fake
loadgen/drive, loadgen/fake, loadgen/scenario, loadgen/workload, system/remote, system/remote/zstd < loadgen/k6ext
loadgen/scenario, loadgen/workload, sim/des, system/queue, system/queue/sizing < sim/model
NONE < sim/theory
loadgen/scenario, loadgen/workload, sim/theory, system/queue < sim/analytic
loadgen/scenario, loadgen/workload, sim/des, sim/model, system/queue, system/queue/journal < sim/tape
loadgen/scenario, loadgen/workload, sim/model, system/queue < sim/fuzz
loadgen/scenario, loadgen/workload, sim/des, sim/model, system/queue, traces/build, traces/otlpfile < sim/observe
loadgen/scenario, loadgen/workload, reports/stats, sim/des, sim/model, sim/observe, system/queue < sim/experiment

# What is read off a run.
NONE < reports/render
NONE < dashboards

# The root package registers the k6 extension.
loadgen/k6ext < .

# A build to try the cluster with.
system/remote < internal/demo

# Programs.
NONE < system/proto/generate, traces/semconv/generate, reports/result/generate
dashboards < dashboards/generate
system/runner/early < cmd/buildbox-run-hosttools/early, cmd/buildbox-run-namespaces/early, cmd/buildbox-run-sleep/early
cmd/buildbox-run-hosttools/early, system/runner < cmd/buildbox-run-hosttools
cmd/buildbox-run-namespaces/early, system/runner < cmd/buildbox-run-namespaces
cmd/buildbox-run-sleep/early, system/runner < cmd/buildbox-run-sleep
. < cmd/weir-k6
ALL < cmd/weir

# Help for tests, and tests of the whole: imported by test files only.
system/cas < system/cas/castest
system/queue, system/queue/journal < system/queue/queuetest
loadgen/workload, system/queue, system/queue/journal < sim/tape/tapetest
NONE < system/runner/runnertest
traces/build, traces/lifecycle, traces/otlpfile < traces/tracetest
system/remote, system/stack, system/telemetry, traces/otlpfile < internal/clustertest
NONE < internal/freeport, internal/layers, internal/schema, internal/bench, internal/integration
`
