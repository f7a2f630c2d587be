// Package scenario reads scenario files: what is asked of a cluster, what the cluster is,
// what goes wrong in it, and what has to come of that.
//
//	version: 1
//	duration: 30s
//	demand:
//	  arrivals: {poisson: {rate: 0.5}}
//	  jobs: 20
//	  dag: [{class: compile, actions: 50}, {class: link, actions: 2, fan_in: 25}]
//	  actions:
//	    - {name: compile, duration: {preset: compile}, output: {preset: object-file}}
//	    - {name: link, duration: 2s, output: 4M}
//	objectives: [action.response.p99 < 30s, errors < 0.1%]
//
// The same file is run for real, by `weir load`, and in the simulator. An error names the
// line, what stands there and what may stand there; [Parse] reports all of a file's.
// scenario.schema.json is the same for editors.
package scenario

import (
	"embed"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
)

// Version is that of the format.
const Version = 1

// Scenario is a scenario file.
type Scenario struct {
	Name        string
	Description string
	Seed        uint64
	// Duration is for how long builds and calls begin; what has begun is waited for.
	Duration time.Duration
	Demand   []Demand
	Calls    []workload.Mix
	Client   Client
	Cluster  *Cluster // nil if the file has none
	Faults   []Fault
	// Objectives are what has to be true of the result.
	Objectives []result.Expr
	// Assumed names the presets in use whose figures nobody has measured.
	Assumed []string
}

// Demand is a stream of builds, and how its client behaves.
type Demand struct {
	workload.Stream
	Instance string
	// Download is which outputs a client reads: all, toplevel (of actions that none of
	// the build depends on) or minimal, none.
	Download Download
	// SkipCache has actions executed although their result is cached.
	SkipCache bool
}

// Download says which outputs are read.
type Download string

// What is downloaded, as Bazel's --remote_download_… name it.
const (
	DownloadAll      Download = "all"
	DownloadToplevel Download = "toplevel"
	DownloadMinimal  Download = "minimal"
)

// Client is how the load generator behaves as a client.
type Client struct {
	// Connections are how many there are to the target.
	Connections int
	// MaxInFlight bounds the builds and calls under way; what is due beyond is dropped
	// and counted.
	MaxInFlight int
	// Timeout bounds each action from the client's side.
	Timeout time.Duration
	// Command is what actions run: synthetic commands, which the sleep runner does
	// without a process, or a shell's, which any worker with /bin/sh runs.
	Command Command
	// TraceSample is the share of builds and calls that ask to be traced.
	TraceSample float64
	// Compression is zstd, if blobs travel compressed where the target can do it.
	Compression string
	// DigestFunction is REAPI's name of what blobs are named by, or Auto.
	DigestFunction string
	// Verify is the share of results whose outputs are looked for in the storage, beside
	// those that are read.
	Verify float64
	// Latency is what a look-up of a result takes a simulated client, and a request for an
	// execution, there and back.
	Latency time.Duration
	// Retries is how often a simulated client calls a scheduler again that is away.
	Retries int
}

// How a client calls a scheduler again that is away: as Bazel does, by --remote_retries and
// --remote_retry_max_delay, the pause after the first call being FirstPause and each
// further one twice the one before, up to LastPause.
const (
	DefaultRetries = 5
	FirstPause     = 100 * time.Millisecond
	LastPause      = 5 * time.Second
)

// Auto has the target say what digest function it takes.
const Auto = "auto"

// Command says what runs.
type Command string

// The kinds of commands.
const (
	Synthetic Command = "synthetic"
	Shell     Command = "shell"
)

// Cluster is a cluster of ours.
type Cluster struct {
	Workers []Workers
	Policy  string
	// PolicyLine is where the file has the policy, for errors of who knows policies; 0 if it
	// has none.
	PolicyLine int
	// SessionTimeout is how long a worker may be silent before it counts as lost; 0 is the
	// scheduler's default.
	SessionTimeout time.Duration
	// NoWorkerTimeout is how long an action waits while no worker serves its platform, before
	// it fails; 0 is a server's default, Immediately or Never.
	NoWorkerTimeout time.Duration
	// Storage is what transfers have to share; nil if they take no time. Only the simulator
	// can have one as described.
	Storage *Storage
	// Runner is sleep, which runs synthetic commands without a process, or the name of
	// another: hosttools, namespaces.
	Runner string
}

// Of Cluster.NoWorkerTimeout.
const (
	Immediately time.Duration = -1
	Never       time.Duration = math.MaxInt64
)

// Workers are workers that are alike.
type Workers struct {
	Count, Slots int
	Platform     map[string]string
	// SlotHour is what an hour of a slot costs, in whatever currency; 0 if nobody said.
	SlotHour float64

	// What a simulator can have only.

	// Boot is how long it takes until a worker that is started is there.
	Boot workload.Dist
	// Lifetime is after what time a worker is taken away, as spot instances are, and
	// another one started; nil is never. It is told so Notice before.
	Lifetime *workload.Dist
	Notice   time.Duration
	// Slow is the share of workers that take Slowness times as long to run anything.
	Slow, Slowness float64
	// Cache is how many bytes of inputs a worker keeps.
	Cache int64
	// Zone names what they have in common that can go down with all of them.
	Zone string
	// Autoscaler changes how many there are; nil leaves it at Count.
	Autoscaler *Autoscaler
}

// Serves tells whether these workers offer all that is wanted of one, as the
// execution-server has it: one that says nothing of its system runs Linux.
func (w *Workers) Serves(wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := w.Platform[key]; (!ok || got != value) && !(key == "OSFamily" && value == "linux" && !ok) {
			return false
		}
	}
	return true
}

// Most is how many there may be: what an autoscaler may grow them to.
func (w *Workers) Most() int {
	if w.Autoscaler != nil {
		return max(w.Count, w.Autoscaler.Max)
	}
	return w.Count
}

// CostPerHour is what the workers that there are at the beginning cost in an hour; 0 if nobody said.
func (c *Cluster) CostPerHour() float64 {
	sum := 0.0
	for i := range c.Workers {
		w := &c.Workers[i]
		sum += float64(w.Count*w.Slots) * w.SlotHour
	}
	return sum
}

// Storage is how fast inputs and outputs travel.
type Storage struct {
	// Bandwidth is that of the storage, PerWorker that of a transfer, in bytes a second; 0
	// is no bound.
	Bandwidth, PerWorker int64
	// Latency is what a transfer takes however small it is.
	Latency time.Duration
}

// SimulatedOnly names what the scenario has and no cluster of ours can be given: only the
// simulator goes by it.
func (s *Scenario) SimulatedOnly() (keys []string) {
	has := func(key string, is bool) {
		if is && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for i := range s.Demand {
		for _, class := range s.Demand[i].Classes {
			has("demand.actions.outgrows", class.Outgrows > 0)
		}
	}
	if s.Cluster == nil {
		return keys
	}
	has("cluster.storage", s.Cluster.Storage != nil)
	for _, w := range s.Cluster.Workers {
		has("cluster.workers.boot", w.Boot.Mean() > 0)
		has("cluster.workers.lifetime", w.Lifetime != nil)
		has("cluster.workers.slow", w.Slow > 0)
		has("cluster.workers.cache", w.Cache > 0)
		has("cluster.workers.autoscaler", w.Autoscaler != nil)
	}
	has("client.latency", s.Client.Latency > 0)
	has("client.retries", s.Client.Retries != DefaultRetries)
	for i := range s.Faults {
		s.Faults[i].simulatedOnly(has)
	}
	return keys
}

// Traced tells whether a build, by its number in its stream, asks to be traced: an even
// share of all, the same ones each time.
func (s *Scenario) Traced(number int) bool {
	return s.Client.TraceSample >= 1 || workload.Spread(s.Seed+1, uint64(number)) < s.Client.TraceSample
}

//go:embed scenarios
var shipped embed.FS

// Shipped returns the names of the scenarios that come with the program.
func Shipped() []string {
	files, err := fs.Glob(shipped, "scenarios/*.yaml")
	if err != nil {
		panic("scenarios: " + err.Error()) // the pattern is fine
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".yaml")
	}
	return files
}

// ReadShipped returns the file of a scenario that comes with the program.
func ReadShipped(name string) ([]byte, error) {
	return shipped.ReadFile("scenarios/" + name + ".yaml")
}

//go:embed scenario.schema.json
var schema []byte

// Schema returns the JSON Schema of scenario files.
func Schema() []byte { return schema }
