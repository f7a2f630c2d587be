package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner"
)

// Defaults of Config.
const (
	defaultPollTimeout      = 30 * time.Second
	defaultGracefulShutdown = 30 * time.Second
	defaultPath             = "/usr/local/bin:/usr/bin:/bin"
	// maxSlots is far beyond what one machine can run and keeps a typing error
	// from announcing a million.
	maxSlots = 4096
)

// Config says what a worker is and whom it works for.
type Config struct {
	// BotID names the worker; it must be unique among those of an instance, and
	// new at each start, because a server may hold an older session of that
	// name for a while. Required.
	BotID string
	// Name goes into ExecutedActionMetadata.worker; default BotID.
	Name string
	// Instance is the REAPI instance it takes work from; may be empty.
	Instance string

	// Bots is the connection to the server; it stays the caller's. Required.
	Bots grpc.ClientConnInterface
	// PollTimeout is the deadline of a poll, most of which a server may hold it;
	// default 30 s.
	PollTimeout time.Duration

	// CAS is what runners connect to, usually casd. It also has the Action of a
	// lease that names one by digest only.
	CAS remote.Config
	// RunnerPath is the file of the program that runs an action, RunnerArgs what it gets
	// beside the options of its contract. Required unless InProcess is set.
	RunnerPath string
	RunnerArgs []string
	// RunnerPool is how many processes of a runner that can be kept (runner.PoolCapability)
	// may wait for the next action, which is spared their start; they are started when
	// there is need of them. nil means as many as Slots, and none of a runner that can't be kept;
	// 0 means none: each action has a process of its own.
	RunnerPool *int
	// InProcess is a runner that starts no processes and runs here, in place of a
	// program.
	InProcess runner.Runner
	// Path is PATH in the environment of runners, where they may look up their
	// own tools.
	Path string

	// Platform is advertised; a key may occur more than once.
	Platform []Property
	// Slots is how many actions run at the same time; default 1.
	Slots int
	// WorkDir is a directory for the files of leases; it is made if need be.
	// Required.
	WorkDir string
	// GracefulShutdown is how long actions under way may go on when the worker
	// is told to stop; default 30 s, negative: not at all.
	GracefulShutdown time.Duration

	// StopAfter is how many leases are accepted before the worker stops by itself; 0
	// means that it doesn't.
	StopAfter int
	// StatusFile is a file with a line such as "botStatus: unhealthy", or ok,
	// host_rebooting, bot_terminating. It is read again when it changes: a worker that
	// isn't ok takes no new leases, one that is terminating ends. Empty means none.
	StatusFile string

	Logger     *slog.Logger          // required
	Registerer prometheus.Registerer // required
}

// A Property is one of the platform.
type Property struct{ Key, Value string }

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	problems := []error{digest.CheckInstance(c.Instance), c.CAS.Validate()}
	require := func(ok bool, what string) {
		if !ok {
			problems = append(problems, errors.New("worker: "+what))
		}
	}
	require(c.BotID != "", "a bot id is required")
	require(c.Bots != nil, "a connection to the Bots server is required")
	require(c.RunnerPath != "" || c.InProcess != nil, "the path of a runner is required")
	if n := c.RunnerPool; n != nil {
		require(*n >= 0 && *n <= maxSlots, fmt.Sprintf("a pool of %d runners is not from 0 to %d", *n, maxSlots))
	}
	require(c.WorkDir != "", "a work directory is required")
	require(c.Logger != nil && c.Registerer != nil, "a logger and a registerer are required")
	require(c.StopAfter >= 0, "the number of actions after which to stop is negative")
	require(c.PollTimeout >= 0, "the poll timeout is negative")
	require(c.Slots >= 0 && c.Slots <= maxSlots, fmt.Sprintf("%d slots are not from 1 to %d", c.Slots, maxSlots))
	for _, p := range c.Platform {
		require(p.Key != "", fmt.Sprintf("a platform property with value %q has no key", p.Value))
	}
	return errors.Join(problems...)
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = c.BotID
	}
	if c.PollTimeout == 0 {
		c.PollTimeout = defaultPollTimeout
	}
	if c.GracefulShutdown == 0 {
		c.GracefulShutdown = defaultGracefulShutdown
	}
	if c.Slots == 0 {
		c.Slots = 1
	}
	if c.Path == "" {
		c.Path = defaultPath
	}
	return c
}
