package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// maxJobs is far beyond what one machine can run.
const maxJobs = 4096

// boxWorker is the command line of buildbox-worker.
type boxWorker struct {
	common
	worker    stack.Worker
	bots, cas remote.Config
}

func (b *boxWorker) options(stdout, stderr io.Writer) []options.Option {
	w := &b.worker
	list := []options.Option{
		{Name: "buildbox-run", Value: "RUNNER", Help: "program that runs an action: a path, or a name that is looked up in PATH", Set: options.String(&w.Runner)},
		{Name: "runner-arg", Value: "ARG", Help: "argument for it; repeatable", Set: options.Append(&w.RunnerArgs)},
		{Name: "runner-pool", Value: "N", Help: "how many processes of a runner of ours may be kept for the next action; default as many as --concurrent-jobs; 0: each action has its own", Set: b.setPool},
		{Name: "platform", Value: "KEY=VALUE", Help: "property to offer; repeatable", Spaced: true, Set: options.Append(&w.Platform)},
		{Name: "concurrent-jobs", Value: "N", Help: "actions at a time; default 1", Set: options.Int(1, maxJobs, &w.Slots)},
		{Name: "graceful-shutdown-timeout", Value: "SECONDS", Help: "how long actions may go on after SIGTERM; default 30", Set: b.setGrace},
		{Name: "stop-after", Value: "N", Help: "end after so many actions", Set: options.Int(0, 1<<30, &w.StopAfter)},
		{Name: "config-file", Value: "PATH", Help: "file with a line such as botStatus: unhealthy, or ok, host_rebooting, bot_terminating; read again when it changes", Set: options.String(&w.StatusFile)},
	}
	list = append(list, b.common.options(stdout, stderr, func(w io.Writer) error { return b.usage(w, stdout, stderr) })...)
	list = append(list, options.Remote("", &b.bots, &b.cas)...)
	list = append(list, options.Remote("bots-", &b.bots)...)
	list = append(list, options.Remote("cas-", &b.cas)...)
	var unused remote.Config
	for _, o := range options.Remote("logstream-", &unused) {
		list = append(list, options.Option{Name: o.Name, Value: o.Value, Help: "output is in the CAS when an action has ended; it isn't streamed"})
	}
	return list
}

func (b *boxWorker) setGrace(v string) error {
	if err := options.Duration(time.Second, &b.worker.GracefulShutdown)(v); err != nil {
		return err
	}
	if b.worker.GracefulShutdown == 0 {
		b.worker.GracefulShutdown = -1 // 0 is the configuration's way to say default
	}
	return nil
}

func (b *boxWorker) setPool(v string) error {
	b.worker.RunnerPool = new(int)
	return options.Int(0, maxJobs, b.worker.RunnerPool)(v)
}

func (b *boxWorker) usage(w, stdout, stderr io.Writer) error {
	return options.WriteUsage(w, fmt.Sprintf(`Usage: %s [OPTION]... --bots-remote=URL --cas-remote=URL [BOT_ID]
Takes actions from a Bots server and has a runner run them.

Example:
  %s --bots-remote=grpc://127.0.0.1:8981 --cas-remote=unix:casd.sock --buildbox-run=buildbox-run-hosttools

`, b.name, b.name), b.options(stdout, stderr))
}

// buildboxWorker is the program buildbox-worker.
func buildboxWorker(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	b := &boxWorker{common: common{name: "buildbox-worker"}}
	if ended, err := b.parse(args, b.options(stdout, stderr), "the bot id", &b.worker.BotID); ended {
		return err
	}
	if b.bots.URL == "" || b.cas.URL == "" {
		return usageError{errors.New("options --bots-remote and --cas-remote, or --remote for both, are missing")}
	}
	w := &b.worker
	w.Instance, w.Bots, w.CAS = b.bots.Instance, stack.RemoteOf(b.bots), stack.RemoteOf(b.cas)
	// The deadline of a poll is how long the server may hold it; other calls to that
	// server are as quick as they can be.
	w.PollTimeout, w.Bots.RequestTimeout = b.bots.RequestTimeout, 0
	w.Path = os.Getenv("PATH")
	dir, err := os.MkdirTemp("", "buildbox-worker-")
	if err != nil {
		return err
	}
	w.WorkDir = dir
	err = b.run(ctx, "worker", stderr, func(t *telemetry.Telemetry) (*stack.Role, error) { return stack.NewWorker(*w, t) })
	return errors.Join(err, os.RemoveAll(dir))
}
