package runner

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"

	"github.com/weir-build/weir/system/options"
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
	// Limits bound the command.
	Limits Limits
	// RunAs is whom the command's processes belong to; nil means the runner's own user.
	RunAs *User
	// NestedUpdates lets actions that use the remote APIs update the action cache.
	NestedUpdates bool
	// DisableLocalCAS does without casd: Remote is a plain CAS.
	DisableLocalCAS bool
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

// ParseArgs reads the command line of a runner, whose own options come before those of
// all.
func ParseArgs(args []string, own ...options.Option) (Options, error) {
	o := Options{LogLevel: slog.LevelInfo, RunAs: DefaultUser()}
	err := options.Parse(args, append(own, o.known()...), nil)
	switch {
	case err != nil:
		return o, err
	case o.Task == ShowHelp, o.Task == ShowVersion, o.Task == ShowCapabilities:
		return o, nil
	case o.Remote.URL == "":
		return o, errors.New("option --remote is missing")
	}
	return o, o.Remote.Validate()
}

// known are the options of all runners.
func (o *Options) known() []options.Option {
	list := []options.Option{
		{Name: "help", Help: "print this and exit", Set: o.end(ShowHelp)},
		{Name: "version", Help: "print name and version and exit", Set: o.end(ShowVersion)},
		{Name: "capabilities", Help: "print what this runner can do, one capability a line, and exit", Set: o.end(ShowCapabilities)},
		{Name: "validate-parameters", Help: "check the options and exit", Set: func(string) error { o.Task = ValidateParameters; return nil }},
		{Name: "action", Value: "PATH", Help: "file that holds the Action to run", Set: options.String(&o.Action)},
		{Name: "action-result", Value: "PATH", Help: "file to write the ActionResult to", Set: options.String(&o.ActionResult)},
		{Name: "workspace-path", Value: "PATH", Help: "directory to stage the input root in", Set: options.Path(&o.Workspace)},
		{Name: "staging-mode", Value: "MODE", Help: "fuse or copy-or-link; default: as casd sees fit", Set: o.setStagingMode},
		{Name: "stdout-file", Value: "PATH", Help: "file for the command's stdout, kept", Set: options.String(&o.StdoutFile)},
		{Name: "stderr-file", Value: "PATH", Help: "file for the command's stderr, kept", Set: options.String(&o.StderrFile)},
		{Name: "no-logs-capture", Help: "leave stdout and stderr of the command alone", Set: options.True(&o.NoLogsCapture)},
		{Name: "collect-execution-stats", Help: "record the command's resource usage", Set: options.True(&o.CollectStats)},
		{Name: "run-as", Value: "UID[:GID]", Help: "whom the command's processes belong to; default 65534 for root, else unchanged", Set: o.setRunAs},
		{Name: "memory-limit", Value: "BYTES", Help: "most that a command may take, with suffix K, M or G of 1000, or Ki and so on of 1024; where control groups can be made", Set: options.Size(&o.Limits.MemoryBytes)},
		{Name: "pids-limit", Value: "N", Help: "most processes and threads of a command, likewise", Set: options.Int(1, math.MaxInt32, &o.Limits.Processes)},
		{Name: "disable-localcas", Help: "stage and capture without casd: --remote is a plain CAS", Set: options.True(&o.DisableLocalCAS)},
		{Name: "use-localcas", Help: "deprecated: it is the default", Set: func(string) error { return nil }},
		{Name: "nested-ac-enable-update", Help: "actions that have a socket of the remote APIs may update the action cache", Set: options.True(&o.NestedUpdates)},
	}
	list = append(list, options.Logging(&o.LogLevel, &o.LogDirectory)...)
	return append(list, options.Remote("", &o.Remote)...)
}

// end is the Set of an option that asks for something else than an action.
func (o *Options) end(t Task) func(string) error {
	return func(string) error { o.Task = t; return options.ErrDone }
}

func (o *Options) setRunAs(v string) (err error) {
	if o.RunAs, err = ParseUser(v); err != nil {
		return err
	}
	if uid := os.Geteuid(); uid != 0 && o.RunAs.UID != uid {
		return fmt.Errorf("only root can run commands as another user, and this is user %d", uid)
	}
	return nil
}

func (o *Options) setStagingMode(v string) error {
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

// writeUsage explains every option that is supported, the runner's own first.
func writeUsage(w io.Writer, program string, own []options.Option) {
	introduction := fmt.Sprintf(`Usage: %s --remote=URL --action=PATH --action-result=PATH [OPTION]...
Runs the Action in one file and writes its ActionResult to another.

Example:
  %s --remote=unix:casd.sock --action=action --action-result=result

`, program, program)
	_ = options.WriteUsage(w, introduction, append(own, new(Options).known()...)) // to stderr: nobody could be told
}
