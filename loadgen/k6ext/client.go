package k6ext

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/grafana/sobek"
	"go.k6.io/k6/v2/js/common"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/remote/zstd"
)

// Modes of connections.
const (
	shared = "shared" // of all virtual users
	perVU  = "perVU"
)

// Client is what a script has of a target.
type Client struct {
	m        *instance
	config   remote.Config
	mode     string
	count    int
	timeout  time.Duration
	trace    bool
	plain    bool // without RequestMetadata
	function digest.Func
	client   *drive.Client
}

func (m *instance) newClient(call sobek.ConstructorCall) *sobek.Object {
	rt := m.vu.Runtime()
	target, ok := call.Argument(0).Export().(string)
	if !ok || target == "" {
		common.Throw(rt, errors.New(`new Client(target, options): target is missing; want for example "grpc://127.0.0.1:8980"`))
	}
	if !strings.Contains(target, "://") && !strings.HasPrefix(target, "unix:") {
		target = "grpc://" + target
	}
	o := m.read("Client", call.Argument(1))
	c := &Client{m: m, config: o.remote(target)}
	c.config.RetryLimit, c.config.RetryDelay = int(o.number("retries", 4, 0, 4)), o.duration("retryDelay", retryDelay)
	c.config.Keepalive = o.duration("keepalive", 0)
	if c.config.RetryLimit == 0 {
		c.config.RetryLimit = -1 // remote's word for none
	}
	c.timeout = o.duration("timeout", 2*time.Minute)
	c.plain = o.get("requestMetadata") != nil && !o.boolean("requestMetadata")
	c.trace = o.boolean("trace")
	switch compression := o.text("compression", "none"); compression {
	case "none":
	case "zstd":
		c.config.Compressor = zstd.New()
	default:
		o.wrong("compression", o.get("compression"), "none or zstd")
	}
	if name := o.text("digestFunction", digest.SHA256.String()); name != "" {
		var err error
		if c.function, err = digest.ParseFunc(name); err != nil {
			o.wrong("digestFunction", o.get("digestFunction"), "one of "+digest.Join(digest.Funcs()))
		}
	}
	connections := m.read("Client: connections", o.get("connections"))
	c.mode, c.count = connections.text("mode", shared), int(connections.number("count", 1, 1, 1000))
	if c.mode != shared && c.mode != perVU {
		connections.wrong("mode", connections.get("mode"), shared+" or "+perVU)
	}
	connections.end()
	o.end()
	if err := c.config.Validate(); err != nil {
		common.Throw(rt, err)
	}
	return constructed(call, clientClass.of(rt, c))
}

var clientClass = newClass(map[string]property[*Client]{
	"capabilities":       call(func(c *Client, a arguments) *sobek.Promise { return c.Capabilities(a.at(0)) }),
	"findMissingBlobs":   call(func(c *Client, a arguments) *sobek.Promise { return c.FindMissingBlobs(a.at(0), a.at(1)) }),
	"upload":             call(func(c *Client, a arguments) *sobek.Promise { return c.Upload(a.at(0), a.at(1)) }),
	"read":               call(func(c *Client, a arguments) *sobek.Promise { return c.Read(a.at(0), a.at(1)) }),
	"getActionResult":    call(func(c *Client, a arguments) *sobek.Promise { return c.GetActionResult(a.at(0), a.at(1)) }),
	"updateActionResult": call(func(c *Client, a arguments) *sobek.Promise { return c.UpdateActionResult(a.at(0), a.at(1), a.at(2)) }),
	"getTree":            call(func(c *Client, a arguments) *sobek.Promise { return c.GetTree(a.at(0), a.at(1)) }),
	"execute":            call(func(c *Client, a arguments) *sobek.Promise { return c.Execute(a.at(0)) }),
	"executeAction":      call(func(c *Client, a arguments) *sobek.Promise { return c.ExecuteAction(a.at(0), a.at(1)) }),
	"close":              method(func(c *Client, _ sobek.FunctionCall) sobek.Value { c.Close(); return sobek.Undefined() }),
})

type arguments []sobek.Value

// at returns an argument, undefined if it wasn't given.
func (a arguments) at(i int) sobek.Value {
	if i < len(a) {
		return a[i]
	}
	return sobek.Undefined()
}

// call is a method that returns a promise.
func call(f func(c *Client, a arguments) *sobek.Promise) property[*Client] {
	return method(func(c *Client, call sobek.FunctionCall) sobek.Value {
		return c.m.vu.Runtime().ToValue(f(c, call.Arguments))
	})
}

// retryDelay is Bazel's first pause before it tries again.
const retryDelay = 100 * time.Millisecond

// remote reads what clients and scenarios are both told of a target.
func (o *options) remote(target string) remote.Config {
	return remote.Config{
		URL: target, Instance: o.text("instanceName", ""), AccessToken: o.text("tokenFile", ""), TokenReload: time.Minute,
		ServerCert: o.text("serverCert", ""), ClientCert: o.text("clientCert", ""), ClientKey: o.text("clientKey", ""), RetryDelay: retryDelay,
	}
}

// dial returns the client, which connects when it is first used.
func (c *Client) dial() (*drive.Client, error) {
	if c.client != nil {
		return c.client, nil
	}
	root := c.m.root
	var err error
	if c.mode == perVU {
		c.client, err = c.connect()
		return c.client, err
	}
	config := c.config
	config.Compressor = nil // it is told by whether there is one
	key := fmt.Sprintf("%+v %d %v %v", config, c.count, c.config.Compressor != nil, c.function)
	root.mu.Lock()
	defer root.mu.Unlock()
	if c.client = root.clients[key]; c.client == nil {
		if c.client, err = c.connect(); err == nil {
			root.clients[key] = c.client
		}
	}
	return c.client, err
}

func (c *Client) connect() (*drive.Client, error) {
	client, err := drive.Dial(c.config, c.count, c.m.root.observer)
	if err != nil {
		return nil, err
	}
	client.SetFunction(c.function)
	return client, nil
}

// do calls the target: what may block in f, in a goroutine of its own.
func (c *Client) do(what string, params sobek.Value, f func(ctx context.Context, client *drive.Client) (any, error)) *sobek.Promise {
	o := c.m.read(what, params)
	tags, timeout := o.get("tags"), o.duration("timeout", c.timeout)
	o.end()
	return c.start(what, tags, timeout, f)
}

func (c *Client) start(what string, tags sobek.Value, timeout time.Duration, f func(ctx context.Context, client *drive.Client) (any, error)) *sobek.Promise {
	if c.m.vu.State() == nil {
		return c.m.async(what, tags, nil) // throws
	}
	client, err := c.dial()
	if err != nil {
		common.Throw(c.m.vu.Runtime(), err)
	}
	invocation := ""
	if !c.plain {
		invocation = c.m.invocationID()
	}
	tracer := c.m.tracer()
	return c.m.async(what, tags, func(ctx context.Context) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if invocation != "" {
			ctx = drive.WithInvocation(ctx, c.m.root.run, invocation)
		}
		if c.trace && tracer != nil {
			var end func(error)
			ctx, end = drive.WithSpan(ctx, tracer, what)
			value, err := f(ctx, client)
			end(err)
			return value, err
		}
		return f(ctx, client)
	})
}

// Capabilities asks the target what it can do.
func (c *Client) Capabilities(params sobek.Value) *sobek.Promise {
	return c.do("capabilities", params, func(ctx context.Context, client *drive.Client) (any, error) {
		answer, err := client.Capabilities(ctx)
		if err != nil {
			return nil, err
		}
		return capabilitiesOf(answer), nil
	})
}

func capabilitiesOf(c *repb.ServerCapabilities) map[string]any {
	var functions, compressors []string
	for _, f := range c.GetCacheCapabilities().GetDigestFunctions() {
		functions = append(functions, f.String())
	}
	for _, z := range c.GetCacheCapabilities().GetSupportedCompressors() {
		compressors = append(compressors, z.String())
	}
	return map[string]any{
		"apiVersion":      fmt.Sprintf("%d.%d", c.GetHighApiVersion().GetMajor(), c.GetHighApiVersion().GetMinor()),
		"digestFunctions": functions, "compressors": compressors,
		"maxBatchTotalSizeBytes": c.GetCacheCapabilities().GetMaxBatchTotalSizeBytes(),
		"updateEnabled":          c.GetCacheCapabilities().GetActionCacheUpdateCapabilities().GetUpdateEnabled(),
		"execEnabled":            c.GetExecutionCapabilities().GetExecEnabled(),
	}
}

// FindMissingBlobs returns those of blobs that the target lacks: as a handle if they were
// one, else as strings.
func (c *Client) FindMissingBlobs(blobs, params sobek.Value) *sobek.Promise {
	handle, digests := c.digests("findMissingBlobs", blobs)
	return c.do("findMissingBlobs", params, func(ctx context.Context, client *drive.Client) (any, error) {
		if handle != nil {
			digests = handle.hashed(client)
		}
		missing, err := client.Missing(ctx, digests)
		if err != nil || handle == nil {
			return texts(missing), err
		}
		if len(missing) == len(digests) {
			return handle.handle(), nil
		}
		// They come in the order of the question.
		blobs := make([]workload.Blob, 0, len(missing))
		for i := range digests {
			if j := len(blobs); j < len(missing) && missing[j] == digests[i] {
				blobs = append(blobs, handle.blobs[i])
			}
		}
		return newBlobs(blobs), nil
	})
}

func texts(digests []digest.Digest) []string {
	out := make([]string, len(digests))
	for i, d := range digests {
		out[i] = d.String()
	}
	return out
}

// digests reads a handle, or an array of "hash/size" or {hash, sizeBytes}, or one of them.
func (c *Client) digests(what string, v sobek.Value) (*Blobs, []digest.Digest) {
	rt := c.m.vu.Runtime()
	if common.IsNullish(v) {
		common.Throw(rt, fmt.Errorf("%s: the first argument is missing; want blobs or digests", what))
	}
	switch x := v.Export().(type) {
	case *Blobs:
		return x, nil
	case []any:
		return nil, listOf(c, what, x)
	case []string: // what Blobs.digests() returned
		return nil, listOf(c, what, x)
	case *[]string: // the outputs of execute
		return nil, listOf(c, what, *x)
	default:
		d, err := digestOf(c.function, x)
		if err != nil {
			common.Throw(rt, fmt.Errorf("%s: %w", what, err))
		}
		return nil, []digest.Digest{d}
	}
}

func listOf[V any](c *Client, what string, values []V) []digest.Digest {
	out := make([]digest.Digest, 0, len(values))
	for i, one := range values {
		d, err := digestOf(c.function, one)
		if err != nil {
			common.Throw(c.m.vu.Runtime(), fmt.Errorf("%s: digest %d: %w", what, i, err))
		}
		out = append(out, d)
	}
	return out
}

func digestOf(f digest.Func, v any) (digest.Digest, error) {
	switch x := v.(type) {
	case string:
		return f.Parse(x)
	case map[string]any:
		hash, _ := x["hash"].(string)
		switch size := x["sizeBytes"].(type) {
		case int64:
			return f.Digest(hash, size)
		case float64:
			if size == math.Trunc(size) {
				return f.Digest(hash, int64(size))
			}
		}
	}
	return digest.Digest{}, fmt.Errorf(`%v is no digest; want "hash/size" or {hash, sizeBytes}`, v)
}

// Upload stores the blobs of a handle, small ones in batches, whether or not the target
// has them. It resolves to the number of bytes.
func (c *Client) Upload(blobs, params sobek.Value) *sobek.Promise {
	handle := c.handle("upload", blobs)
	return c.do("upload", params, func(ctx context.Context, client *drive.Client) (any, error) {
		return handle.SizeBytes(), client.PutAll(ctx, handle.blobs)
	})
}

func (c *Client) handle(what string, v sobek.Value) *Blobs {
	handle, ok := v.Export().(*Blobs)
	if !ok {
		common.Throw(c.m.vu.Runtime(), fmt.Errorf("%s: the first argument is %v, want blobs of a Corpus", what, v))
	}
	return handle
}

// Read reads blobs, small ones in batches, and checks their digests. It resolves to the
// number of bytes.
func (c *Client) Read(blobs, params sobek.Value) *sobek.Promise {
	handle, digests := c.digests("read", blobs)
	return c.do("read", params, func(ctx context.Context, client *drive.Client) (any, error) {
		if handle != nil {
			digests = handle.hashed(client)
		}
		var bytes int64
		for i, err := range client.Check(ctx, digests) {
			if err != nil {
				return nil, err
			}
			bytes += digests[i].SizeBytes
		}
		return bytes, nil
	})
}

// GetActionResult looks a result up by the action's digest; null is none.
func (c *Client) GetActionResult(action, params sobek.Value) *sobek.Promise {
	handle, digests := c.digests("getActionResult", action)
	return c.do("getActionResult", params, func(ctx context.Context, client *drive.Client) (any, error) {
		if handle != nil {
			digests = []digest.Digest{client.Digest(handle.blobs[0])}
		}
		found, err := client.ActionResult(ctx, digests[0])
		if err != nil || found == nil {
			return nil, err
		}
		return map[string]any{"exitCode": found.ExitCode, "outputs": outputsOf(found), "worker": found.GetExecutionMetadata().GetWorker()}, nil
	})
}

func outputsOf(r *repb.ActionResult) []string {
	var out []string
	for _, file := range r.OutputFiles {
		out = append(out, fmt.Sprintf("%s/%d", file.Digest.GetHash(), file.Digest.GetSizeBytes()))
	}
	return out
}

// UpdateActionResult caches a result under an action's digest, whose outputs are blobs.
func (c *Client) UpdateActionResult(action, outputs, params sobek.Value) *sobek.Promise {
	handle, digests := c.digests("updateActionResult", action)
	files, given := c.digests("updateActionResult", outputs)
	return c.do("updateActionResult", params, func(ctx context.Context, client *drive.Client) (any, error) {
		if handle != nil {
			digests = []digest.Digest{client.Digest(handle.blobs[0])}
		}
		if files != nil {
			for _, b := range files.blobs {
				given = append(given, client.Digest(b))
			}
		}
		result := new(repb.ActionResult)
		for i, d := range given {
			result.OutputFiles = append(result.OutputFiles, &repb.OutputFile{Path: fmt.Sprintf("out/%d", i), Digest: d.Proto()})
		}
		return nil, client.Remote().UpdateActionResult(ctx, digests[0], result)
	})
}

// GetTree returns how many directories are reachable from a root.
func (c *Client) GetTree(root, params sobek.Value) *sobek.Promise {
	_, digests := c.digests("getTree", root)
	return c.do("getTree", params, func(ctx context.Context, client *drive.Client) (any, error) {
		if len(digests) != 1 {
			return nil, errors.New("want the digest of one directory")
		}
		directories, err := client.Remote().Tree(ctx, digests[0])
		return len(directories), err
	})
}

// executed is what execute resolves to. Times are in milliseconds.
type executed struct {
	Action   string   `js:"action"`
	ExitCode int      `js:"exitCode"`
	Cached   bool     `js:"cached"`
	Worker   string   `js:"worker"`
	Outputs  []string `js:"outputs"`
	Duration float64  `js:"duration"`
	Stages   stages   `js:"stages"`
}

type stages struct {
	Queue    float64 `js:"queue"`
	Fetch    float64 `js:"fetch"`
	Run      float64 `js:"run"`
	Upload   float64 `js:"upload"`
	Overhead float64 `js:"overhead"`
}

// Execute uploads what the target lacks of a command, executes it and follows it to its
// end.
func (c *Client) Execute(command sobek.Value) *sobek.Promise {
	o := c.m.read("execute", command)
	k := &drive.Command{
		Arguments: o.list("argv"), Environment: o.words("env"), Platform: o.words("platform"), Outputs: o.list("outputs"),
		Timeout: o.duration("actionTimeout", 0), DoNotCache: o.boolean("doNotCache"),
	}
	skip, priority := o.boolean("skipCache"), int32(o.number("priority", 0, math.MinInt32, math.MaxInt32))
	if inputs := o.get("inputs"); inputs != nil {
		k.Inputs = c.handle("execute: inputs", inputs).blobs
	}
	if salt := o.text("salt", ""); salt != "" {
		if k.Environment == nil {
			k.Environment = make(map[string]string)
		}
		k.Environment["WEIR_SALT"] = salt
	}
	tags, timeout := o.get("tags"), o.duration("timeout", c.timeout)
	if len(k.Arguments) == 0 {
		o.problems = append(o.problems, errors.New(`execute: option argv is missing; want for example ["/bin/true"]`))
	}
	o.end()
	return c.start("execute", tags, timeout, func(ctx context.Context, client *drive.Client) (any, error) {
		e, err := client.Run(ctx, k, skip, priority)
		if err != nil {
			return nil, err
		}
		return executedOf(&e), nil
	})
}

// ExecuteAction executes an action that is stored already, by its digest: what it resolves
// to is that of execute.
func (c *Client) ExecuteAction(action, params sobek.Value) *sobek.Promise {
	_, digests := c.digests("executeAction", action)
	o := c.m.read("executeAction", params)
	skip, priority := o.boolean("skipCache"), int32(o.number("priority", 0, math.MinInt32, math.MaxInt32))
	tags, timeout := o.get("tags"), o.duration("timeout", c.timeout)
	o.end()
	return c.start("executeAction", tags, timeout, func(ctx context.Context, client *drive.Client) (any, error) {
		if len(digests) != 1 {
			return nil, errors.New("want the digest of one action")
		}
		e, err := client.RunAction(ctx, digests[0], skip, priority)
		if err != nil {
			return nil, err
		}
		return executedOf(&e), nil
	})
}

func executedOf(e *drive.Executed) *executed {
	return &executed{
		Action: e.Action.String(), ExitCode: e.ExitCode, Cached: e.Cached, Worker: e.Worker, Outputs: texts(e.Outputs), Duration: milliseconds(e.Duration),
		Stages: stages{milliseconds(e.Queue), milliseconds(e.Fetch), milliseconds(e.Run), milliseconds(e.Upload), milliseconds(e.Overhead)},
	}
}

// Close closes the connections of a client that has its own; shared ones stay for others.
func (c *Client) Close() {
	if c.mode == perVU && c.client != nil {
		c.client.Close() // an error of it is nothing to a script that is done
		c.client = nil
	}
}
