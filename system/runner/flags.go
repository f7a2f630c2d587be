package runner

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
)

// Options is the command line of a runner.
type Options struct {
	// Task is what the program is asked to do.
	Task Task
	// Remote is casd.
	Remote remote.Config
	// Action and ActionResult are files: in and out. Without the second nothing
	// is written, not even an error.
	Action, ActionResult string
	// Workspace is where casd is asked to stage; empty lets it choose.
	Workspace string
	// StdoutFile and StderrFile take the command's output and are kept; empty
	// means temporary files.
	StdoutFile, StderrFile string
	// NoLogsCapture leaves the command the runner's own stdout and stderr.
	NoLogsCapture bool
	// CollectStats records what the command cost.
	CollectStats bool
	// StagingMode is handed on to casd.
	StagingMode localcas.StageTreeRequest_StagingMode
	LogLevel    slog.Level
	// LogDirectory takes a log file; empty logs to stderr.
	LogDirectory string
}

// Task is what a command line asks for.
type Task int

// The tasks. All but RunAction end the program while it reads its arguments,
// Validate once it has read them all.
const (
	RunAction Task = iota
	ShowHelp
	ShowVersion
	ShowCapabilities
	ValidateParameters
)

// LevelTrace is the value of --log-level=trace.
const LevelTrace = slog.LevelDebug - 4

// ParseArgs reads a command line by the rules of BuildBox: --key=value and
// --flag, nothing else. An option that exists in BuildBox but not here is an
// error, never ignored.
func ParseArgs(args []string) (Options, error) {
	o := Options{LogLevel: slog.LevelInfo}
	known := make(map[string]option)
	for _, f := range options() {
		known[f.name] = f
	}
	for _, arg := range args {
		rest, ok := strings.CutPrefix(arg, "--")
		if !ok || rest == "" {
			return o, fmt.Errorf("unexpected argument %.200q: options are --key=value or --flag", arg)
		}
		name, value, given := strings.Cut(rest, "=")
		f, ok := known[name]
		switch {
		case !ok:
			return o, fmt.Errorf("unknown option --%.200s", name)
		case f.set == nil:
			return o, fmt.Errorf("option --%s is not supported: %s", name, f.help)
		case f.value == "" && given:
			return o, fmt.Errorf("option --%s takes no value", name)
		case f.value != "" && (!given || value == "" && name != "instance"):
			return o, fmt.Errorf("option --%s needs a value: --%s=%s", name, name, f.value)
		}
		if err := f.set(&o, value); err != nil {
			return o, fmt.Errorf("option --%s: %w", name, err)
		}
		if o.Task == ShowHelp || o.Task == ShowVersion || o.Task == ShowCapabilities {
			return o, nil
		}
	}
	if o.Remote.URL == "" {
		return o, errors.New("option --remote is missing")
	}
	return o, o.Remote.Validate()
}

// option is one option: its set is nil if BuildBox has it and this doesn't.
type option struct {
	name  string
	value string // what stands for the value in the usage; empty if it takes none
	help  string
	set   func(o *Options, value string) error
}

func options() []option {
	all := []option{
		{"help", "", "print this and exit", setTask(ShowHelp)},
		{"version", "", "print name and version and exit", setTask(ShowVersion)},
		{"capabilities", "", "print what this runner can do, one capability a line, and exit", setTask(ShowCapabilities)},
		{"validate-parameters", "", "check the options and exit", setTask(ValidateParameters)},
		{"action", "PATH", "file that holds the Action to run", setString(func(o *Options) *string { return &o.Action })},
		{"action-result", "PATH", "file to write the ActionResult to", setString(func(o *Options) *string { return &o.ActionResult })},
		{"workspace-path", "PATH", "directory to stage the input root in", setPath(func(o *Options) *string { return &o.Workspace })},
		{"staging-mode", "MODE", "fuse or copy-or-link; default: as casd sees fit", setStagingMode},
		{"stdout-file", "PATH", "file for the command's stdout, kept", setString(func(o *Options) *string { return &o.StdoutFile })},
		{"stderr-file", "PATH", "file for the command's stderr, kept", setString(func(o *Options) *string { return &o.StderrFile })},
		{"no-logs-capture", "", "leave stdout and stderr of the command alone", setBool(func(o *Options) *bool { return &o.NoLogsCapture })},
		{"collect-execution-stats", "", "record the command's resource usage", setBool(func(o *Options) *bool { return &o.CollectStats })},
		{"use-localcas", "", "deprecated: always so", func(*Options, string) error { return nil }},
		{"log-level", "LEVEL", "trace, debug, info, warning or error; default info", setLogLevel},
		{"verbose", "", "the same as --log-level=debug", func(o *Options, _ string) error { o.LogLevel = slog.LevelDebug; return nil }},
		{"log-directory", "PATH", "directory to log to instead of stderr", setString(func(o *Options) *string { return &o.LogDirectory })},

		{"disable-localcas", "", "this runner stages and captures through casd only", nil},
		{"log-file", "PATH", "use --log-directory", nil},
		{"nested-ac-enable-update", "", "actions have no access to the remote APIs", nil},
	}
	return append(all, remoteOptions()...)
}

// remoteOptions are the connection options that all BuildBox programs share.
func remoteOptions() []option {
	return []option{
		{"remote", "URL", "casd: grpc://HOST:PORT, grpcs://HOST:PORT or unix:PATH (required)", setString(func(o *Options) *string { return &o.Remote.URL })},
		{"instance", "NAME", "REAPI instance name", setString(func(o *Options) *string { return &o.Remote.Instance })},
		{"server-cert", "PATH", "certificate authority, PEM", setString(func(o *Options) *string { return &o.Remote.ServerCert })},
		{"client-key", "PATH", "key of this client, PEM", setString(func(o *Options) *string { return &o.Remote.ClientKey })},
		{"client-cert", "PATH", "certificate of this client, PEM", setString(func(o *Options) *string { return &o.Remote.ClientCert })},
		{"access-token", "PATH", "file that holds a bearer token", setString(func(o *Options) *string { return &o.Remote.AccessToken })},
		{"token-reload-interval", "TIME", "how often to read it again: minutes, or with suffix M or H", setReload},
		{"retry-limit", "N", "retries after a call that failed; default 4", setRetryLimit},
		{"retry-delay", "MS", "delay before the first retry in milliseconds; default 1000", setNumber(time.Millisecond, func(o *Options) *time.Duration { return &o.Remote.RetryDelay })},
		{"request-timeout", "SECONDS", "bound of each unary call; default 0: none", setNumber(time.Second, func(o *Options) *time.Duration { return &o.Remote.RequestTimeout })},
		{"keepalive-time", "SECONDS", "interval of pings; default 0: none", setNumber(time.Second, func(o *Options) *time.Duration { return &o.Remote.Keepalive })},
		{"load-balancing-policy", "POLICY", "round_robin, which is the default", setBalancing},

		{"googleapi-auth", "", "use --access-token", nil},
		{"min-throughput", "BYTES", "use --request-timeout", nil},
		{"retry-on-code", "CODE", "only UNAVAILABLE is retried", nil},
		{"credential-helper", "PATH", "use --access-token", nil},
	}
}

// RemoteArgs returns the options that make ParseArgs read c.
func RemoteArgs(c remote.Config) []string {
	var args []string
	add := func(name, value string) {
		if value != "" {
			args = append(args, "--"+name+"="+value)
		}
	}
	number := func(name string, d, unit time.Duration) {
		if d > 0 {
			// Rounded up: 0 would mean something else.
			add(name, strconv.FormatInt(int64((d+unit-1)/unit), 10))
		}
	}
	add("remote", c.URL)
	add("instance", c.Instance)
	add("server-cert", c.ServerCert)
	add("client-key", c.ClientKey)
	add("client-cert", c.ClientCert)
	add("access-token", c.AccessToken)
	number("token-reload-interval", c.TokenReload, time.Minute)
	if c.RetryLimit != 0 {
		add("retry-limit", strconv.Itoa(max(c.RetryLimit, 0)))
	}
	number("retry-delay", c.RetryDelay, time.Millisecond)
	number("request-timeout", c.RequestTimeout, time.Second)
	number("keepalive-time", c.Keepalive, time.Second)
	return args
}

func setTask(t Task) func(*Options, string) error {
	return func(o *Options, _ string) error { o.Task = t; return nil }
}

func setString(field func(*Options) *string) func(*Options, string) error {
	return func(o *Options, v string) error { *field(o) = v; return nil }
}

// setPath makes paths absolute that another process, casd, will see.
func setPath(field func(*Options) *string) func(*Options, string) error {
	return func(o *Options, v string) (err error) {
		*field(o), err = filepath.Abs(v)
		return err
	}
}

func setBool(field func(*Options) *bool) func(*Options, string) error {
	return func(o *Options, _ string) error { *field(o) = true; return nil }
}

func setNumber(unit time.Duration, field func(*Options) *time.Duration) func(*Options, string) error {
	return func(o *Options, v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return fmt.Errorf("%.50q is not a number from 0 to %d", v, uint32(math.MaxUint32))
		}
		*field(o) = time.Duration(n) * unit
		return nil
	}
}

func setReload(o *Options, v string) error {
	unit := time.Minute
	number := v
	switch v[len(v)-1] {
	case 'M', 'm':
		number = v[:len(v)-1]
	case 'H', 'h':
		number, unit = v[:len(v)-1], time.Hour
	}
	// 16 bits of hours are seven years, and no overflow.
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return fmt.Errorf("%.50q is not a number of minutes, or one with suffix M or H", v)
	}
	o.Remote.TokenReload = time.Duration(n) * unit
	return nil
}

func setRetryLimit(o *Options, v string) error {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return fmt.Errorf("%.50q is not a number from 0 to 65535", v)
	}
	o.Remote.RetryLimit = int(n)
	if n == 0 {
		o.Remote.RetryLimit = -1 // 0 is remote.Config's way to say default
	}
	return nil
}

func setBalancing(_ *Options, v string) error {
	if v != "round_robin" {
		return fmt.Errorf("%.50q is not supported, only round_robin", v)
	}
	return nil
}

func setStagingMode(o *Options, v string) error {
	switch v {
	case "fuse":
		o.StagingMode = localcas.StageTreeRequest_FUSE
	case "copy-or-link":
		o.StagingMode = localcas.StageTreeRequest_COPY_OR_LINK
	default:
		return fmt.Errorf("%.50q is neither fuse nor copy-or-link", v)
	}
	return nil
}

func setLogLevel(o *Options, v string) error {
	levels := map[string]slog.Level{
		"trace": LevelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo,
		"warning": slog.LevelWarn, "error": slog.LevelError,
	}
	level, ok := levels[strings.ToLower(v)]
	if !ok {
		return fmt.Errorf("%.50q is none of trace, debug, info, warning, error", v)
	}
	o.LogLevel = level
	return nil
}

// writeUsage explains every option that is supported.
func writeUsage(w io.Writer, program string) {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s --remote=URL --action=PATH --action-result=PATH [OPTION]...\n", program)
	b.WriteString("Runs the Action in one file and writes its ActionResult to another.\n\n")
	for _, f := range options() {
		if f.set == nil {
			continue
		}
		form := "--" + f.name
		if f.value != "" {
			form += "=" + f.value
		}
		fmt.Fprintf(&b, "  %-30s %s\n", form, f.help)
	}
	fmt.Fprintf(&b, "\nExample:\n  %s --remote=unix:casd.sock --action=action --action-result=result\n", program)
	io.WriteString(w, b.String())
}
