package scenario

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
)

// Bounds of what a scenario may ask for; each is more than one machine can send.
const (
	maxActions     = 100_000 // of a build
	maxJobs        = 100_000
	maxWorkers     = 100_000
	maxSlots       = 4096     // what a worker's session may have
	maxFile        = 64 << 20 // with the tape of a large build
	maxPriority    = 1_000_000
	maxBlobs       = 10_000_000
	maxConnections = 1000
	// maxFiles is how many files an action, and blobs a call, has: what a distribution
	// draws beyond is cut to it. 100,000 digests are 7 MB of messages.
	maxFiles    = 100_000
	maxInFlight = 1_000_000
	maxRetries  = 1000
	// minRetries keeps a client of a closed loop that finds nobody from beginning one build
	// after the other at one moment.
	minRetries = 1
)

// Defaults of what a file leaves out.
const (
	defaultDuration    = 30 * time.Second
	defaultJobs        = 50 // between Bazel's number of CPUs and the hundreds of a remote build
	defaultInFlight    = 2000
	defaultConnections = 4 // as many as keep two CPUs busy; gRPC-Go's servers allow 100 streams each and more
	defaultTimeout     = 15 * time.Minute
	defaultPatience    = time.Minute
	defaultSlowness    = 3
)

// Parse reads a scenario file. The name is that of the scenario unless the file says so.
// The error lists every problem with its line.
func Parse(name string, data []byte) (*Scenario, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%d bytes: a scenario has at most %d", len(data), maxFile)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(document.Content) == 0 {
		return nil, errors.New("the file is empty; begin with: version: 1")
	}
	// Aliases are followed where they stand; a file that bends back on itself isn't read.
	if cyclic(document.Content[0], nil) {
		return nil, errors.New("an alias refers to what it is part of")
	}
	r := new(reader)
	s := r.scenario(name, document.Content[0])
	if err := r.err(); err != nil {
		return nil, err
	}
	slices.Sort(r.assumed)
	s.Assumed = slices.Compact(r.assumed)
	return s, nil
}

func cyclic(n *yaml.Node, above []*yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if slices.Contains(above, n) {
		return true
	}
	above = append(above, n)
	return slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return cyclic(c, above) })
}

func (r *reader) scenario(name string, n *yaml.Node) *Scenario {
	o := r.object(n, "scenario")
	defer o.end()
	if version := o.get("version"); o.require("version") && version.Value != strconv.Itoa(Version) {
		r.wrong(version, "version: %s, want %d: this program knows no other", describe(version), Version)
	}
	s := &Scenario{
		Name:        r.text(o.get("name"), "name", name),
		Description: r.text(o.get("description"), "description", ""),
		Seed:        r.seed(o.get("seed")),
		Duration:    r.duration(o.get("duration"), "duration", defaultDuration),
	}
	demand := o.get("demand")
	switch {
	case demand == nil:
	case demand.Kind == yaml.SequenceNode:
		for i, one := range demand.Content {
			s.Demand = append(s.Demand, r.demand(one, fmt.Sprintf("demand[%d]", i), fmt.Sprintf("demand-%d", i+1)))
		}
	default:
		s.Demand = append(s.Demand, r.demand(demand, "demand", "builds"))
	}
	for i, one := range r.list(o.get("calls"), "calls") {
		s.Calls = append(s.Calls, r.mix(one, fmt.Sprintf("calls[%d]", i), fmt.Sprintf("calls-%d", i+1)))
	}
	if len(s.Demand)+len(s.Calls) == 0 && n.Kind == yaml.MappingNode {
		r.wrong(n, "scenario: neither demand nor calls: nothing would be asked of the cluster")
	}
	r.uniqueNames(n, s)
	s.Client = r.client(o.get("client"))
	if c := o.get("cluster"); c != nil {
		s.Cluster = r.cluster(c)
	}
	for i, one := range r.list(o.get("faults"), "faults") {
		s.Faults = append(s.Faults, r.fault(one, fmt.Sprintf("faults[%d]", i), 0, s.Cluster))
	}
	for i, one := range r.list(o.get("objectives"), "objectives") {
		e, err := result.ParseExpr(r.text(one, fmt.Sprintf("objectives[%d]", i), ""))
		if err != nil {
			r.wrong(one, "%v", err)
		}
		s.Objectives = append(s.Objectives, e)
	}
	return s
}

func (r *reader) seed(n *yaml.Node) uint64 {
	text := r.text(n, "seed", "1")
	seed, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		r.wrong(n, "seed: %q is not a whole number from 0 to 2^64-1", text)
	}
	return seed
}

func (r *reader) uniqueNames(n *yaml.Node, s *Scenario) {
	var names []string
	for _, d := range s.Demand {
		names = append(names, d.Name)
	}
	for _, c := range s.Calls {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	for i := range names {
		if i > 0 && names[i] == names[i-1] {
			r.wrong(n, "scenario: two streams are called %q; their random numbers would be the same", names[i])
		}
	}
}

func (r *reader) demand(n *yaml.Node, what, name string) Demand {
	o := r.object(n, what)
	defer o.end()
	d := Demand{Instance: r.text(o.get("instance"), what+".instance", "")}
	if err := digest.CheckInstance(d.Instance); err != nil {
		r.wrong(o.get("instance"), "%s.instance: %v", what, err)
	}
	s := &d.Stream
	s.Name = r.text(o.get("name"), what+".name", name)
	s.Arrivals = r.arrivals(o, what)
	s.Jobs = r.whole(o.get("jobs"), what+".jobs", defaultJobs, 1, maxJobs)
	s.Priority = int32(r.whole(o.get("priority"), what+".priority", 0, -maxPriority, maxPriority))
	s.Cancel = r.share(o.get("cancel"), what+".cancel", 0)
	s.Patience = r.duration(o.get("patience"), what+".patience", defaultPatience)
	s.KeepGoing = r.boolean(o.get("keep_going"), what+".keep_going")
	s.Herd = r.boolean(o.get("herd"), what+".herd")
	if edit := o.get("edit"); edit != nil {
		s.Incremental, s.Edit = true, r.share(edit, what+".edit", 0)
	}
	d.SkipCache = r.boolean(o.get("skip_cache"), what+".skip_cache")
	d.Download = Download(r.choice(o.get("download"), what+".download", string(DownloadToplevel), string(DownloadAll), string(DownloadMinimal)))
	if shared := o.get("shared"); shared != nil {
		s.Shared = r.corpus(shared, what+".shared")
	}
	if tape := o.get("tape"); tape != nil {
		for _, key := range []string{"dag", "actions", "edit", "shared"} {
			if other := o.get(key); other != nil {
				r.wrong(other, "%s: both tape and %s; want one", what, key)
			}
		}
		r.tape(tape, what+".tape", s)
		return d
	}
	if !o.require("actions") || !o.require("dag") {
		o.get("dag")
		return d
	}
	for i, class := range r.list(o.get("actions"), what+".actions") {
		s.Classes = append(s.Classes, r.class(class, fmt.Sprintf("%s.actions[%d]", what, i)))
	}
	total := 0
	dag := o.get("dag")
	for i, layer := range r.list(dag, what+".dag") {
		s.Layers = append(s.Layers, r.layer(layer, fmt.Sprintf("%s.dag[%d]", what, i), s.Classes))
		total += s.Layers[i].Actions
	}
	if total < 1 || total > maxActions {
		r.wrong(dag, "%s.dag: %d actions in a build, want from 1 to %d", what, total, maxActions)
	}
	return d
}

// tape reads recorded builds, each a list of actions.
func (r *reader) tape(n *yaml.Node, what string, s *workload.Stream) {
	classes := make(map[string]int)
	for i, build := range r.list(n, what) {
		what := fmt.Sprintf("%s[%d]", what, i)
		var actions []workload.Recorded
		for j, one := range r.list(build, what) {
			actions = append(actions, r.recorded(one, fmt.Sprintf("%s[%d]", what, j), j, s, classes))
		}
		if len(actions) < 1 || len(actions) > maxActions {
			r.wrong(build, "%s: %d actions in a build, want from 1 to %d", what, len(actions), maxActions)
		}
		s.Tape = append(s.Tape, actions)
	}
	if len(s.Tape) == 0 {
		r.wrong(n, "%s: want at least one build", what)
	}
}

func (r *reader) recorded(n *yaml.Node, what string, index int, s *workload.Stream, classes map[string]int) workload.Recorded {
	o := r.object(n, what)
	defer o.end()
	a := workload.Recorded{
		Duration: r.duration(o.get("duration"), what+".duration", 0),
		Output:   int64(r.number(o.get("output"), what+".output", sizes, 0)),
		Hit:      r.boolean(o.get("hit"), what+".hit"),
		Fails:    r.boolean(o.get("fails"), what+".fails"),
	}
	for _, dep := range r.list(o.get("after"), what+".after") {
		if index == 0 {
			r.wrong(dep, "%s.after: the first action of a build waits for none", what)
			continue
		}
		a.After = append(a.After, r.whole(dep, what+".after", 0, 0, index-1))
	}
	class := r.text(o.get("class"), what+".class", "action")
	at, ok := classes[class]
	if !ok {
		at = len(s.Classes)
		classes[class] = at
		s.Classes = append(s.Classes, workload.Class{Name: class, Mnemonic: class})
	}
	a.Class = at
	return a
}

func (r *reader) layer(n *yaml.Node, what string, classes []workload.Class) workload.Layer {
	o := r.object(n, what)
	defer o.end()
	l := workload.Layer{
		Actions: r.whole(o.get("actions"), what+".actions", 1, 1, maxActions),
		FanIn:   r.dist(o.get("fan_in"), what+".fan_in", counts, workload.Constant(1)),
	}
	name := o.get("class")
	if !o.require("class") {
		return l
	}
	l.Class = slices.IndexFunc(classes, func(c workload.Class) bool { return c.Name == name.Value })
	if l.Class < 0 {
		var names []string
		for _, c := range classes {
			names = append(names, c.Name)
		}
		r.wrong(name, "%s.class: no action is called %s; there are: %s", what, describe(name), strings.Join(names, ", "))
		l.Class = 0
	}
	return l
}

func (r *reader) class(n *yaml.Node, what string) workload.Class {
	o := r.object(n, what)
	defer o.end()
	o.require("name")
	c := workload.Class{
		Name:        r.text(o.get("name"), what+".name", ""),
		Duration:    r.dist(o.get("duration"), what+".duration", durations, workload.Dist{}),
		OutputBytes: r.dist(o.get("output"), what+".output", sizes, workload.Dist{}),
		HitRate:     r.share(o.get("hit_rate"), what+".hit_rate", 0),
		FailureRate: r.share(o.get("failure_rate"), what+".failure_rate", 0),
		Platform:    r.words(o.get("platform"), what+".platform"),
		Larger:      r.words(o.get("larger"), what+".larger"),
		Outgrows:    r.share(o.get("outgrows"), what+".outgrows", 0),
		Priority:    int32(r.whole(o.get("priority"), what+".priority", 0, -maxPriority, maxPriority)),
	}
	c.Mnemonic = r.text(o.get("mnemonic"), what+".mnemonic", c.Name)
	switch {
	case (c.Outgrows > 0) != (len(c.Larger) > 0):
		r.wrong(n, "%s: want both outgrows, the share of actions that are too large for their workers, and larger, the platform of those that they run on again; or neither", what)
	case c.Larger != nil && maps.Equal(c.Larger, c.Platform):
		r.wrong(o.get("larger"), "%s.larger: it is the action's platform: what is too large for its workers is so for these", what)
	}
	if inputs := o.get("inputs"); inputs != nil {
		in := r.object(inputs, what+".inputs")
		c.InputFiles = r.dist(in.get("files"), what+".inputs.files", counts, workload.Constant(1)).AtMost(maxFiles)
		c.InputBytes = r.dist(in.get("size"), what+".inputs.size", sizes, workload.Constant(1000))
		c.SharedInputs = r.share(in.get("shared"), what+".inputs.shared", 0)
		in.end()
	}
	return c
}

func (r *reader) corpus(n *yaml.Node, what string) workload.Corpus {
	o := r.object(n, what)
	defer o.end()
	return workload.Corpus{
		Blobs: r.whole(o.get("blobs"), what+".blobs", 0, 0, maxBlobs),
		Sizes: r.dist(o.get("size"), what+".size", sizes, workload.Constant(1000)),
		Ratio: uint8(r.whole(o.get("compressibility"), what+".compressibility", 1, 1, 255)),
	}
}

func (r *reader) mix(n *yaml.Node, what, name string) workload.Mix {
	o := r.object(n, what)
	defer o.end()
	m := workload.Mix{Name: r.text(o.get("name"), what+".name", name), Arrivals: r.arrivals(o, what)}
	if stored := o.get("stored"); stored != nil {
		m.Stored = r.corpus(stored, what+".stored")
	}
	mix := o.get("mix")
	if !o.require("mix") {
		return m
	}
	total := 0.0
	for i, one := range r.list(mix, what+".mix") {
		m.Calls = append(m.Calls, r.mixCall(one, fmt.Sprintf("%s.mix[%d]", what, i)))
		total += m.Calls[i].Weight
	}
	if !(total > 0) {
		r.wrong(mix, "%s.mix: want at least one call with a weight", what)
	}
	return m
}

func (r *reader) mixCall(n *yaml.Node, what string) workload.MixCall {
	o := r.object(n, what)
	defer o.end()
	c := workload.MixCall{
		Weight:  r.number(o.get("weight"), what+".weight", counts, 1),
		Blobs:   r.dist(o.get("blobs"), what+".blobs", counts, workload.Constant(1)).AtMost(maxFiles),
		Present: r.share(o.get("present"), what+".present", 1),
	}
	var names []string
	for op := range workload.Ops {
		names = append(names, op.String())
	}
	if o.require("op") {
		c.Op, _ = workload.ParseOp(r.choice(o.get("op"), what+".op", names...))
	}
	if c.Op == workload.BatchUpdate || c.Op == workload.Write {
		if o.found["present"] == nil {
			c.Present = 0
		}
	}
	return c
}

func (r *reader) client(n *yaml.Node) Client {
	o := r.object(n, "client")
	defer o.end()
	return Client{
		Connections:    r.whole(o.get("connections"), "client.connections", defaultConnections, 1, maxConnections),
		MaxInFlight:    r.whole(o.get("max_in_flight"), "client.max_in_flight", defaultInFlight, 1, maxInFlight),
		Timeout:        r.duration(o.get("timeout"), "client.timeout", defaultTimeout),
		Command:        Command(r.choice(o.get("command"), "client.command", string(Synthetic), string(Shell))),
		TraceSample:    r.share(o.get("trace_sample"), "client.trace_sample", 1),
		Compression:    r.choice(o.get("compression"), "client.compression", "none", "zstd"),
		DigestFunction: r.function(o.get("digest_function")),
		Verify:         r.share(o.get("verify"), "client.verify", 0.01),
		Latency:        r.duration(o.get("latency"), "client.latency", 0),
		Retries:        r.whole(o.get("retries"), "client.retries", DefaultRetries, minRetries, maxRetries),
	}
}

// function reads the name of a digest function, in capitals or not.
func (r *reader) function(n *yaml.Node) string {
	name := r.text(n, "client.digest_function", Auto)
	if name == Auto {
		return name
	}
	f, err := digest.ParseFunc(name)
	if err != nil {
		r.wrong(n, "client.digest_function: %v, and %s: what the target takes", err, Auto)
	}
	return f.String()
}

func (r *reader) cluster(n *yaml.Node) *Cluster {
	o := r.object(n, "cluster")
	defer o.end()
	c := &Cluster{
		Policy:         r.text(o.get("policy"), "cluster.policy", ""),
		SessionTimeout: r.duration(o.get("session_timeout"), "cluster.session_timeout", 0),
		Runner:         r.choice(o.get("runner"), "cluster.runner", "sleep", "hosttools", "namespaces"),
	}
	if n := o.get("policy"); n != nil {
		c.PolicyLine = n.Line
	}
	switch n := o.get("no_worker_timeout"); {
	case n != nil && n.Value == "immediately":
		c.NoWorkerTimeout = Immediately
	case n != nil && n.Value == "never":
		c.NoWorkerTimeout = Never
	default:
		c.NoWorkerTimeout = r.duration(n, "cluster.no_worker_timeout", 0)
	}
	if !o.require("workers") {
		return c
	}
	for i, one := range r.list(o.get("workers"), "cluster.workers") {
		what := fmt.Sprintf("cluster.workers[%d]", i)
		w := r.object(one, what)
		c.Workers = append(c.Workers, Workers{
			Count:    r.whole(w.get("count"), what+".count", 1, 0, maxWorkers),
			Slots:    r.whole(w.get("slots"), what+".slots", 1, 1, maxSlots),
			Platform: r.words(w.get("platform"), what+".platform"),
			SlotHour: r.number(w.get("slot_hour"), what+".slot_hour", counts, 0),
			Boot:     r.dist(w.get("boot"), what+".boot", durations, workload.Dist{}),
			Notice:   r.duration(w.get("notice"), what+".notice", 0),
			Slow:     r.share(w.get("slow"), what+".slow", 0),
			Slowness: r.number(w.get("slowness"), what+".slowness", factors, defaultSlowness),
			Cache:    int64(r.number(w.get("cache"), what+".cache", sizes, 0)),
			Zone:     r.text(w.get("zone"), what+".zone", ""),
		})
		if n := w.get("autoscaler"); n != nil {
			a := r.autoscaler(n, what+".autoscaler")
			count := w.get("count")
			if count == nil {
				c.Workers[i].Count = a.Min
			} else if got := c.Workers[i].Count; got < a.Min || got > a.Max {
				r.wrong(count, "%s.count: %d is not what its autoscaler allows, from %d to %d", what, got, a.Min, a.Max)
			}
			c.Workers[i].Autoscaler = a
		}
		if lifetime := w.get("lifetime"); lifetime != nil {
			d := r.dist(lifetime, what+".lifetime", durations, workload.Dist{})
			if !(d.Mean() > 0) {
				r.wrong(lifetime, "%s.lifetime: 0: a worker that is taken away at once does nothing", what)
			}
			c.Workers[i].Lifetime = &d
		}
		w.end()
	}
	if storage := o.get("storage"); storage != nil {
		in := r.object(storage, "cluster.storage")
		c.Storage = &Storage{
			Bandwidth: int64(r.number(in.get("bandwidth"), "cluster.storage.bandwidth", sizes, 0)),
			PerWorker: int64(r.number(in.get("per_worker"), "cluster.storage.per_worker", sizes, 0)),
			Latency:   r.duration(in.get("latency"), "cluster.storage.latency", 0),
		}
		in.end()
	}
	if len(c.Workers) == 0 {
		r.wrong(o.node, "cluster.workers: the list is empty")
	}
	return c
}
