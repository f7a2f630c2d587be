package k6ext_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.k6.io/k6/v2/js/modulestest"
	"go.k6.io/k6/v2/lib"
	"go.k6.io/k6/v2/lib/fsext"
	"go.k6.io/k6/v2/metrics"
	"go.k6.io/k6/v2/output"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/weir-build/weir/loadgen/fake"
	"github.com/weir-build/weir/loadgen/k6ext"
	"github.com/weir-build/weir/reports/result"
	"github.com/weir-build/weir/system/digest"
)

// script is a virtual user that runs a test's JavaScript.
type script struct {
	*modulestest.Runtime
	t       *testing.T
	root    *k6ext.Root
	samples chan metrics.SampleContainer
}

// newScript has the module imported as reapi, and target be the URL of a fake server.
func newScript(t *testing.T, c fake.Config) *script {
	t.Helper()
	server, err := fake.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	s := &script{Runtime: modulestest.NewRuntime(t), t: t, root: k6ext.New(), samples: make(chan metrics.SampleContainer, 100_000)}
	if err := s.SetupModuleSystem(map[string]any{k6ext.ImportPath: s.root}, nil, nil); err != nil {
		t.Fatal(err)
	}
	s.eval(`var reapi = require("k6/x/reapi"); var target = "` + server.URL + `"`)
	return s
}

// user moves to the context of a virtual user, in which there is a network.
func (s *script) user() {
	registry := metrics.NewRegistry()
	s.MoveToVUContext(&lib.State{
		Options: lib.Options{SystemTags: &metrics.DefaultSystemTagSet}, Samples: s.samples, VUID: 1, VUIDGlobal: 1,
		Tags: lib.NewVUStateTags(registry.RootTagSet().With("group", "test")), TracerProvider: noop.NewTracerProvider(), Logger: logrus.New(),
	})
}

func (s *script) eval(code string) {
	s.t.Helper()
	if _, err := s.RunOnEventLoop(code); err != nil {
		s.t.Fatal(err)
	}
}

// run runs the body of an async function; what it throws fails the test.
func (s *script) run(body string) {
	s.t.Helper()
	if err := s.try(body); err != "" {
		s.t.Fatal(err)
	}
}

// try returns what it throws.
func (s *script) try(body string) string {
	s.t.Helper()
	s.eval(`var failure = ""; (async () => { ` + body + ` })().catch(e => { failure = String(e) + "" })`)
	return s.VU.Runtime().Get("failure").String()
}

// drain returns the samples so far, by metric.
func (s *script) drain() map[string][]metrics.Sample {
	all := make(map[string][]metrics.Sample)
	for {
		select {
		case c := <-s.samples:
			for _, sample := range c.GetSamples() {
				all[sample.Metric.Name] = append(all[sample.Metric.Name], sample)
			}
		default:
			return all
		}
	}
}

func TestStorage(t *testing.T) {
	s := newScript(t, fake.Config{})
	s.eval(`
		var client = new reapi.Client(target);
		var corpus = new reapi.Corpus({seed: 42, sizes: "buildbuddy-cacheload", dedup: 0.5, compressibility: 4});`)
	s.user()
	s.run(`
		const blobs = corpus.take(50);
		const missing = await client.findMissingBlobs(blobs);
		if (missing.count < 20 || missing.count > 50) throw "missing before: " + missing.count;
		await client.upload(missing);
		const left = await client.findMissingBlobs(blobs, {tags: {mine: "yes"}});
		if (left.count !== 0) throw "missing after: " + left.count;
		const bytes = await client.read(blobs);
		if (bytes !== blobs.sizeBytes()) throw bytes + " of " + blobs.sizeBytes();
		const digests = blobs.digests();
		if (digests.length !== 50 || !/^[0-9a-f]{64}\/\d+$/.test(digests[0])) throw digests[0];
		const none = await client.findMissingBlobs([digests[0], {hash: "a".repeat(64), sizeBytes: 5}]);
		if (none.length !== 1 || none[0] !== "a".repeat(64) + "/5") throw "strings: " + none;
		if (blobs.arrayBuffer().byteLength !== Number(digests[0].split("/")[1])) throw "arrayBuffer";
		if (await client.getActionResult(digests[0]) !== null) throw "a result before";
		await client.updateActionResult(digests[0], corpus.pick());
		if ((await client.getActionResult(digests[0])).outputs.length !== 1) throw "no result after";
		const c = await client.capabilities();
		if (!c.execEnabled || c.digestFunctions[0] !== "SHA256") throw JSON.stringify(c);`)
	got := s.drain()
	calls := map[string]int{}
	for _, sample := range got["reapi_reqs"] {
		method, _ := sample.Tags.Get("method")
		calls[method]++
		if group, _ := sample.Tags.Get("group"); group != "test" {
			t.Errorf("a sample without the tags of its user: %v", sample.Tags)
		}
		for _, never := range []string{"digest", "invocation", "trace_id"} {
			if _, ok := sample.Tags.Get(never); ok {
				t.Errorf("%s is a tag", never)
			}
		}
		if sample.Metadata["trace_id"] == "" {
			t.Errorf("no trace in the metadata of %v", sample.Tags)
		}
	}
	if calls["FindMissingBlobs"] != 3 || calls["GetActionResult"] != 2 || calls["UpdateActionResult"] != 1 {
		t.Errorf("calls %v", calls)
	}
	mine := 0
	for _, sample := range got["reapi_req_duration"] {
		if v, _ := sample.Tags.Get("mine"); v == "yes" {
			mine++
		}
	}
	if mine != 1 {
		t.Errorf("%d samples have the tag of their call, want 1", mine)
	}
	if n := len(got["grpc_req_duration"]); n != len(got["reapi_reqs"]) {
		t.Errorf("%d samples for k6's own dashboards, want %d", n, len(got["reapi_reqs"]))
	}
	hits := 0.0
	for _, sample := range got["reapi_cache_hit"] {
		hits += sample.Value
	}
	if len(got["reapi_cache_hit"]) != 2 || hits != 1 {
		t.Errorf("%v hits of %d lookups, want 1 of 2", hits, len(got["reapi_cache_hit"]))
	}
}

func TestExecute(t *testing.T) {
	s := newScript(t, fake.Config{})
	s.eval(`var client = new reapi.Client(target, {connections: {mode: "perVU", count: 2}}); var corpus = new reapi.Corpus({});`)
	s.user()
	s.run(`
		const command = {argv: ["/bin/sleep", "30ms", "--output=out/x=1000"], outputs: ["out/x"], inputs: corpus.take(3), platform: {OSFamily: "linux"}, tags: {kind: "a"}};
		const r = await client.execute(command);
		if (r.exitCode !== 0 || r.cached || r.outputs.length !== 1 || r.worker !== "fake") throw JSON.stringify(r);
		if (r.stages.run < 30 || r.duration < r.stages.run || r.stages.overhead <= 0) throw JSON.stringify(r);
		const again = await client.execute(command);
		if (!again.cached) throw "not cached: " + JSON.stringify(again);
		const failed = await client.execute({argv: ["/bin/sleep", "0s", "--exit=3"]});
		if (failed.exitCode !== 3) throw JSON.stringify(failed);
		client.close();`)
	got := s.drain()
	if len(got["reapi_exec_run_duration"]) != 2 || len(got["reapi_exec_duration"]) != 3 {
		t.Errorf("%d ran, %d in all; want 2 and 3", len(got["reapi_exec_run_duration"]), len(got["reapi_exec_duration"]))
	}
}

// TestExecuteIsTakenUpAsBazelDoes: by WaitExecution after a stream that broke, by Execute
// where the operation was forgotten or the server was away.
func TestExecuteIsTakenUpAsBazelDoes(t *testing.T) {
	for name, faults := range map[string]map[fake.Fault]float64{
		"away":      {fake.Unavailable: 0.3},
		"breaks":    {fake.BreaksStream: 1},
		"forgotten": {fake.BreaksStream: 0.5, fake.ForgetsOperation: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, fake.Config{Faults: faults, Seed: 1})
			s.eval(`var client = new reapi.Client(target, {retryDelay: "1ms"});`)
			s.user()
			s.run(`
				for (let i = 0; i < 6; i++) {
					const r = await client.execute({argv: ["/bin/sleep", "1ms"], salt: String(i), skipCache: true});
					if (r.exitCode !== 0) throw JSON.stringify(r);
				}`)
			methods := map[string]int{}
			for _, sample := range s.drain()["reapi_reqs"] {
				method, _ := sample.Tags.Get("method")
				methods[method[strings.LastIndexByte(method, '/')+1:]]++
			}
			again, waited := methods["Execute"]-6, methods["WaitExecution"]
			if (again > 0) != (name != "breaks") || (waited > 0) != (name != "away") {
				t.Errorf("executed %d times more than there are actions, waited for %d times", again, waited)
			}
		})
	}
}

// TestDigestFunction: by each, against a server that takes no other.
func TestDigestFunction(t *testing.T) {
	for _, f := range digest.Funcs() {
		s := newScript(t, fake.Config{Functions: []digest.Func{f}})
		s.eval(`
			var client = new reapi.Client(target, {digestFunction: "` + f.String() + `"});
			var sha256 = new reapi.Client(target);
			var corpus = new reapi.Corpus({seed: 1, sizes: 2000});`)
		s.user()
		s.run(`
			const blobs = corpus.take(5), names = blobs.digests("` + strings.ToLower(f.String()) + `");
			await client.upload(blobs);
			if ((await client.findMissingBlobs(names)).length !== 0) throw "missing by name";
			if ((await client.findMissingBlobs(blobs)).count !== 0) throw "missing";
			if (await client.read(names) !== blobs.sizeBytes()) throw "read";
			const r = await client.execute({argv: ["/bin/sleep", "1ms", "--output=o=100"], outputs: ["o"], inputs: blobs});
			if (await client.read(r.outputs) !== 100) throw "output " + r.outputs;
			const o = await reapi.runScenario({version: 1, duration: "100ms", calls: [{arrivals: {burst: 3}, mix: [{op: "write"}]}]}, {target, digestFunction: "` + f.String() + `"});
			if (o.verdict.outcome === "failed") throw JSON.stringify(o.verdict);`)
		if got := s.try(`await sha256.upload(corpus.take(1))`); (got == "") != (f == digest.SHA256) {
			t.Errorf("%v: a client by SHA256 gets %q", f, got)
		}
	}
}

// TestCommonBlobsAreSharedByVirtualUsers, but not the handles, which are the scripts'.
func TestCommonBlobsAreSharedByVirtualUsers(t *testing.T) {
	root := k6ext.New()
	handle := func(code string) *k6ext.Blobs {
		s := &script{Runtime: modulestest.NewRuntime(t), t: t}
		if err := s.SetupModuleSystem(map[string]any{k6ext.ImportPath: root}, nil, nil); err != nil {
			t.Fatal(err)
		}
		s.eval(`var reapi = require("k6/x/reapi"); var all = new reapi.Corpus(` + code + `).all();`)
		return s.VU.Runtime().Get("all").Export().(*k6ext.Blobs)
	}
	one := handle(`{seed: 3, sizes: {min: 1, max: 2}}`)
	if other := handle(`{seed: 3, sizes: {min: 1, max: 2}}`); other == one || !other.Shares(one) {
		t.Error("the second virtual user has the handle of the first, or blobs of its own")
	}
	for _, code := range []string{`{seed: 4, sizes: {min: 1, max: 2}}`, `{seed: 3, sizes: {min: 1, max: 3}}`, `{seed: 3, sizes: "buildbuddy-cacheload"}`, `{seed: 3, sizes: {min: 1, max: 2}, count: 1001}`} {
		if handle(code).Shares(one) {
			t.Errorf("%s shares the blobs of another corpus", code)
		}
	}
}

// TestErrorsSayWhatToDo: scripts get a sentence, and the code of gRPC.
func TestErrorsSayWhatToDo(t *testing.T) {
	s := newScript(t, fake.Config{Token: "secret"})
	for code, want := range map[string]string{
		`new reapi.Client()`:                                     "target is missing",
		`new reapi.Client(target, {instance: "x"})`:              `unknown option "instance"; there are instanceName`,
		`new reapi.Client("ftp://x")`:                            "unknown scheme",
		`new reapi.Client(target, {timeout: "soon"})`:            "want a duration",
		`new reapi.Client(target, {connections: {mode: "one"}})`: "want shared or perVU",
		`new reapi.Client(target, {digestFunction: "VSO"})`:      "want one of SHA256, SHA1, MD5, SHA384, SHA512, BLAKE3",
		`new reapi.Corpus({}).take(1).digests("x")`:              `digest function "x" is not supported, only SHA256`,
		`reapi.runScenario("x", {target, digestFunction: "y"})`:  "want auto or one of SHA256, SHA1",
		`new reapi.Corpus({sizes: "huge"})`:                      "want a preset: buildbuddy-cacheload",
		`new reapi.Corpus({dedup: 2})`:                           "want a number from 0 to 1",
		`new reapi.Client(target).capabilities()`:                "init context",
		`reapi.runScenario("version: 1", {target})`:              "neither demand nor calls",
		`reapi.runScenario("version: 1", {})`:                    "target is missing",
		`reapi.scenario("none")`:                                 "there are [cas-mix",
		`reapi.pace({rate: 0}, () => {})`:                        "nothing would arrive",
	} {
		if got := s.try(code); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", code, got, want)
		}
	}
	s.eval(`var client = new reapi.Client(target)`)
	s.user()
	for code, want := range map[string]string{
		`await client.findMissingBlobs("x")`:                                       "digest",
		`await client.findMissingBlobs()`:                                          "first argument is missing",
		`await client.upload(["a/1"])`:                                             "want blobs of a Corpus",
		`await client.execute({})`:                                                 "argv is missing",
		`await client.execute({argv: ["a"], x: 1})`:                                `unknown option "x"`,
		`await client.capabilities()`:                                              "Unauthenticated",
		`try { await client.capabilities() } catch (e) { throw "code " + e.code }`: "code 16",
	} {
		if got := s.try(code); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", code, got, want)
		}
	}
}

const tiny = `
version: 1
duration: 300ms
demand:
  arrivals: {burst: 2}
  jobs: 3
  dag: [{class: compile, actions: 4}]
  actions: [{name: compile, duration: 10ms, output: 100}]
objectives: [errors == 0]
`

func TestRunScenario(t *testing.T) {
	s := newScript(t, fake.Config{})
	s.user()
	s.run(`
		const r = await reapi.runScenario(` + "`" + tiny + "`" + `, {target, name: "tiny"});
		if (r.verdict.outcome !== "passed" || r.builds.count !== 2) throw JSON.stringify(r.verdict);
		if (r.schema !== "` + result.Schema + `" || r.run.scenario !== "tiny") throw JSON.stringify(r.run);
		const o = await reapi.runScenario({version: 1, duration: "100ms", calls: [{arrivals: {burst: 3}, mix: [{op: "write"}]}]}, {target, metrics: "none"});
		if (o.calls.length === 0) throw JSON.stringify(o);`)
	got := s.drain()
	if len(got["reapi_build_duration"]) != 2 || len(got["reapi_exec_run_duration"]) != 8 {
		t.Errorf("%d builds and %d actions told to k6, want 2 and 8", len(got["reapi_build_duration"]), len(got["reapi_exec_run_duration"]))
	}
}

func TestPaceKeepsItsTimes(t *testing.T) {
	s := newScript(t, fake.Config{Latency: 50 * time.Millisecond})
	s.eval(`var client = new reapi.Client(target), began = [];`)
	s.user()
	s.run(`
		const r = await reapi.pace({rate: 100, distribution: "constant", duration: "500ms", maxInFlight: 1000}, async n => {
			began.push(Date.now());
			await client.capabilities();
		});
		if (r.ended !== 50 || r.dropped !== 0) throw JSON.stringify(r);
		// A closed loop would have begun one in 50 ms.
		if (began[49] - began[0] > 1500) throw "the last began after " + (began[49] - began[0]);
		const d = await reapi.pace({rate: 100, distribution: "constant", duration: "500ms", maxInFlight: 1}, () => client.capabilities());
		if (d.dropped < 30 || d.ended + d.dropped !== 50) throw JSON.stringify(d);`)
	got := s.drain()
	if len(got["reapi_schedule_delay"]) < 50 || len(got["reapi_dropped"]) < 30 {
		t.Errorf("%d delays and %d drops told to k6", len(got["reapi_schedule_delay"]), len(got["reapi_dropped"]))
	}
	if got := s.try(`await reapi.pace({rate: 1, distribution: "constant", duration: "10ms"}, async () => { await client.capabilities(); throw "the last" })`); got != "the last" {
		t.Errorf("what the last one throws is %q", got)
	}
	if got := s.try(`await reapi.pace({rate: 100, duration: "5s"}, () => { throw "at once" })`); !strings.Contains(got, "at once") {
		t.Errorf("what a plain function throws is %q", got)
	}
	if got := s.try(`await reapi.pace({rate: 100, duration: "100ms"}, async () => { throw "mine" })`); got != "mine" {
		t.Errorf("what the function throws is %q", got)
	}
}

// TestReportIsWritten: of scenarios, or of a script's own calls.
func TestReportIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want func(r *result.Result) bool
	}{
		"script":   {`await client.execute({argv: ["/bin/true"]})`, func(r *result.Result) bool { return len(r.Actions) == 1 && r.Run.Scenario == "script" }},
		"scenario": {`await reapi.runScenario(` + "`" + tiny + "`" + `, {target, name: "tiny"})`, func(r *result.Result) bool { return r.Builds.Count == 2 && r.Run.Scenario == "tiny" }},
	} {
		s := newScript(t, fake.Config{})
		s.eval(`var client = new reapi.Client(target)`)
		s.user()
		fs := fsext.NewMemMapFs()
		o, err := s.root.NewOutput(output.Params{ConfigArgument: "out.json", FS: fs, Logger: logrus.New()})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Start(); err != nil {
			t.Fatal(err)
		}
		s.run(c.body)
		if err := o.Stop(); err != nil {
			t.Fatal(err)
		}
		file, err := fs.Open("out.json")
		if err != nil {
			t.Fatal(err)
		}
		r, err := result.Read(file)
		if err != nil || !c.want(r) {
			t.Errorf("%s: %v, got %+v", name, err, r)
		}
	}
}

// TestUsersAtOnce has many users share one module, as k6 does: for the race detector.
func TestUsersAtOnce(t *testing.T) {
	server, err := fake.Start(fake.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	root := k6ext.New()
	var users sync.WaitGroup
	for range 8 {
		s := &script{Runtime: modulestest.NewRuntime(t), t: t, root: root, samples: make(chan metrics.SampleContainer, 10_000)}
		if err := s.SetupModuleSystem(map[string]any{k6ext.ImportPath: root}, nil, nil); err != nil {
			t.Fatal(err)
		}
		s.eval(fmt.Sprintf(`var reapi = require("k6/x/reapi"); var client = new reapi.Client(%q); var corpus = new reapi.Corpus({dedup: 0.5})`, server.URL))
		s.user()
		users.Go(func() {
			for range 20 {
				_, err := s.RunOnEventLoop(`(async () => {
					const blobs = corpus.take(10);
					await Promise.all([client.upload(blobs), client.findMissingBlobs(blobs), client.execute({argv: ["/bin/true"]})]);
				})()`)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Wait()
}
