package layers_test

import (
	"go/parser"
	"slices"
	"strings"
	"testing"
)

// pure packages are given time, randomness and context's place by their callers,
// return what others would log, and give equal outputs for equal inputs.
var pure = []string{
	"system/digest", "system/cas/lru", "system/queue", "system/queue/journal", "system/queue/sizing",
	"traces/semconv", "traces/tracecontext", "traces/build",
	"loadgen/workload", "sim/des", "sim/model", "sim/tape", "sim/theory", "internal/portmath", "reports/stats", "reports/render",
}

// portable are those of them whose results decide what a simulation does, which has to be
// the same on every machine. What a report shows, or theory says, may differ in its last digit.
var portable = slices.DeleteFunc(slices.Clone(pure), func(pkg string) bool { return strings.HasPrefix(pkg, "reports/") || pkg == "sim/theory" })

// A ban says what may not be used where, and why.
type ban struct {
	uses    []string // as in use; "p.*" is all of p's names, and p itself
	only    []string // the packages it is about; nil for all
	except  []string // packages, files, or folders if they end in a slash
	tests   bool     // test files, too
	because string
}

var programs = []string{"cmd/", "system/proto/generate", "traces/semconv/generate", "dashboards/generate", "reports/result/generate"}

// earlyParts do before main what must not wait for it: see system/runner/early. (2026-11-26)
var earlyParts = []string{"cmd/buildbox-run-hosttools/early", "cmd/buildbox-run-namespaces/early", "cmd/buildbox-run-sleep/early"}

var bans = []ban{
	{only: pure, because: "the package is pure: time comes from its caller",
		uses: []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.Tick", "time.NewTimer", "time.NewTicker"}},
	{only: pure, because: "the package is pure: it does what it is told in the goroutine it is called in",
		uses: []string{"go", "sync.*", "context.*", "os.*", "os/exec.*", "net.*", "io/fs.*", "runtime.*"}},
	{only: pure, because: "the package is pure: it returns what others log",
		uses: []string{"log.*", "log/slog.*", "fmt.Print", "fmt.Printf", "fmt.Println"}},
	{only: pure, because: "the package is pure: its caller seeds its random numbers",
		uses: []string{"math/rand.*", "crypto/rand.*"}},
	{only: portable, except: []string{"loadgen/workload/limited.go"}, because: "results differ from processor to processor: internal/portmath's don't",
		uses: []string{
			"math.Acos", "math.Acosh", "math.Asin", "math.Asinh", "math.Atan", "math.Atan2", "math.Atanh", "math.Cbrt", "math.Cos", "math.Cosh",
			"math.Erf", "math.Erfc", "math.Erfcinv", "math.Erfinv", "math.Exp", "math.Exp2", "math.Expm1", "math.FMA", "math.Gamma", "math.Hypot",
			"math.J0", "math.J1", "math.Jn", "math.Lgamma", "math.Log", "math.Log10", "math.Log1p", "math.Log2", "math.Pow", "math.Sin",
			"math.Sincos", "math.Sinh", "math.Tan", "math.Tanh", "math.Y0", "math.Y1", "math.Yn",
		}},
	{only: []string{"system/queue"}, because: "the order of a map is random",
		uses: []string{"map"}},

	{tests: true, because: "OpenTelemetry's globals tie the roles of one process together; pass a TracerProvider",
		uses: []string{"go.opentelemetry.io/otel.*"}},
	{except: []string{"cmd/", "system/telemetry"}, because: "the OpenTelemetry SDK is set up by system/telemetry",
		uses: []string{"go.opentelemetry.io/otel/sdk.*", "go.opentelemetry.io/otel/exporters.*"}},
	{tests: true, because: "Prometheus's default registry ties the roles of one process together; pass a Registerer",
		uses: []string{
			"github.com/prometheus/client_golang/prometheus/promauto.*",
			"github.com/prometheus/client_golang/prometheus.MustRegister", "github.com/prometheus/client_golang/prometheus.Register",
			"github.com/prometheus/client_golang/prometheus.Unregister", "github.com/prometheus/client_golang/prometheus.DefaultRegisterer",
			"github.com/prometheus/client_golang/prometheus.DefaultGatherer", "github.com/prometheus/client_golang/prometheus/promhttp.Handler",
		}},

	{except: programs, because: "only programs read flags and the environment, and end themselves",
		uses: []string{"flag.*", "os.Exit", "os.Getenv", "os.LookupEnv", "os.Environ", "os.Args", "github.com/spf13/cobra.*"}},
	{except: programs, because: "only programs print",
		uses: []string{"os.Stdout", "os.Stderr", "os.Stdin", "fmt.Print", "fmt.Printf", "fmt.Println"}},
	{because: "logs go to the *slog.Logger that was passed",
		uses: []string{"log.*", "log/slog.Default", "log/slog.SetDefault", "log/slog.Info", "log/slog.Warn", "log/slog.Error", "log/slog.Debug",
			"log/slog.InfoContext", "log/slog.WarnContext", "log/slog.ErrorContext", "log/slog.DebugContext", "log/slog.Log", "log/slog.LogAttrs"}},
	{except: append([]string{"loadgen/k6ext", ".", "loadgen/drive/attempts.go"}, earlyParts...), because: "nothing happens before main, but the registration that k6 and gRPC ask for, and what runners do early",
		uses: []string{"init"}},
}

func (b *ban) concerns(s *source) bool {
	if s.generated || s.test && !b.tests || b.only != nil && !slices.Contains(b.only, s.pkg) {
		return false
	}
	return !slices.ContainsFunc(b.except, func(e string) bool {
		return e == s.pkg || e == s.pkg+"/"+s.name || strings.HasSuffix(e, "/") && strings.HasPrefix(s.pkg, e)
	})
}

// seeded are the names of math/rand/v2 that hold no global state.
var seeded = []string{"New", "NewPCG", "NewChaCha8", "NewZipf", "Rand", "PCG", "ChaCha8", "Zipf", "Source"}

func (b *ban) hits(what string) bool {
	if name, ok := strings.CutPrefix(what, "math/rand/v2"); ok {
		return slices.Contains(b.uses, "math/rand.*") && name != "" && !slices.Contains(seeded, name[1:])
	}
	return slices.ContainsFunc(b.uses, func(u string) bool {
		family, all := strings.CutSuffix(u, ".*")
		if !all {
			return u == what
		}
		// The path itself, and those below the SDK's and the exporters'.
		return family == what || strings.HasSuffix(family, "otel/sdk") && strings.HasPrefix(what, family+"/") ||
			strings.HasSuffix(family, "otel/exporters") && strings.HasPrefix(what, family+"/")
	})
}

func TestBansAreKept(t *testing.T) {
	all := load(t)
	for _, s := range all {
		list := uses(s.ast)
		for _, b := range bans {
			if !b.concerns(s) {
				continue
			}
			for _, u := range list {
				if b.hits(u.what) {
					t.Errorf("%v: %s: %s", u.position(), u.what, b.because)
				}
			}
		}
	}
}

// TestBansHit shows each ban a file that breaks it.
func TestBansHit(t *testing.T) {
	for _, c := range []struct{ pkg, body, because string }{
		{"system/queue", `import "time"; var x = time.Now()`, "time comes from its caller"},
		{"sim/des", `func f() { go f() }`, "in the goroutine it is called in"},
		{"traces/build", `import "context"; func f(context.Context) {}`, "in the goroutine it is called in"},
		{"system/digest", `import "log/slog"; var l *slog.Logger`, "returns what others log"},
		{"system/queue", `import "fmt"; func f() { fmt.Println() }`, "returns what others log"},
		{"loadgen/workload", `import "math/rand/v2"; var x = rand.IntN(3)`, "seeds its random numbers"},
		{"loadgen/workload", `import "math/rand"; var x = rand.New(nil)`, "seeds its random numbers"},
		{"system/queue", `func f(m map[int]int) {}`, "order of a map"},
		{"loadgen/workload", `import "math"; var x = math.Exp(1)`, "from processor to processor"},
		{"sim/model", `import "math"; var x = math.FMA(1, 2, 3)`, "from processor to processor"},
		{"system/proxy", `import "go.opentelemetry.io/otel"; var x = otel.Tracer("")`, "OpenTelemetry's globals"},
		{"system/proxy", `import "go.opentelemetry.io/otel/sdk/trace"; var x trace.Span`, "set up by system/telemetry"},
		{"system/casd", `import "github.com/prometheus/client_golang/prometheus"; func f() { prometheus.MustRegister() }`, "default registry"},
		{"system/casd", `import "github.com/prometheus/client_golang/prometheus/promauto"; var x = promauto.With`, "default registry"},
		{"system/stack", `import "os"; var x = os.Getenv("X")`, "only programs read flags"},
		{"system/stack", `import "flag"; var x = flag.Int`, "only programs read flags"},
		{"system/stack", `import "os"; var x = os.Stderr`, "only programs print"},
		{"cmd/weir", `import "log/slog"; func f() { slog.Info("") }`, "the *slog.Logger that was passed"},
		{"cmd/weir", `import "log"; func f() { log.Print("") }`, "the *slog.Logger that was passed"},
		{"system/cas", `func init() {}`, "nothing happens before main"},
	} {
		file, err := parser.ParseFile(positions, "broken.go", "package x\n"+c.body, 0)
		if err != nil {
			t.Fatal(err)
		}
		broken := false
		for _, b := range bans {
			for _, u := range uses(file) {
				hit := b.concerns(&source{pkg: c.pkg, ast: file}) && b.hits(u.what)
				broken = broken || hit && strings.Contains(b.because, c.because)
			}
		}
		if !broken {
			t.Errorf("in %s, %q breaks no ban about %q", c.pkg, c.body, c.because)
		}
	}
	// What stays allowed: types of time, seeded randomness, names of the API.
	for _, c := range []struct{ pkg, body string }{
		{"system/queue", `import "time"; var x time.Duration`},
		{"loadgen/workload", `import "math/rand/v2"; var x = rand.New(rand.NewPCG(1, 2))`},
		{"loadgen/workload", `import "math"; var x = math.Sqrt(2)`},
		{"reports/render", `import "math"; var x = math.Log10(2)`},
		{"traces/build", `import "go.opentelemetry.io/otel/attribute"; var x attribute.KeyValue`},
		{"system/proxy", `import "context"; import "time"; var x = time.Now; var y context.Context; func f() { go f() }`},
		{"cmd/weir", `import "os"; func f() { os.Exit(1) }`},
		{"system/telemetry", `import "go.opentelemetry.io/otel/sdk/trace"; var x trace.Span`},
	} {
		file, err := parser.ParseFile(positions, "fine.go", "package x\n"+c.body, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range bans {
			for _, u := range uses(file) {
				if b.concerns(&source{pkg: c.pkg, ast: file}) && b.hits(u.what) {
					t.Errorf("in %s, %q breaks the ban %q", c.pkg, c.body, b.because)
				}
			}
		}
	}
}
