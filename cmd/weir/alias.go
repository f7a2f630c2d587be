package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// buildBoxVersion is the version of BuildBox that ours is tested with (docs/interop.md);
// clients ask for it.
const buildBoxVersion = "1.4.25"

// aliases are the names by which weir is somebody else's program, with that one's command
// line: so manifests that name it keep working.
var aliases = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) error{
	"buildbox-worker":  buildboxWorker,
	"buildbox-casd":    buildboxCasd,
	"proxy-server":     serveAlias("proxy"),
	"storage-server":   serveAlias("storage"),
	"execution-server": serveAlias("execution"),
}

// serveAlias is a role whose one option is -c FILE.
func serveAlias(role string) func(context.Context, []string, io.Writer, io.Writer) error {
	return func(ctx context.Context, args []string, stdout, stderr io.Writer) error {
		return underOwnName(ctx, append([]string{"serve", role}, args...), stdout, stderr)
	}
}

// common are the options that all programs of BuildBox have.
type common struct {
	name         string
	level        slog.Level
	logDirectory string
	done         func() error // asked for instead: usage or version
}

// options returns them, with those about statistics, which go to Prometheus here.
func (c *common) options(stdout, stderr io.Writer, usage func(io.Writer) error) []options.Option {
	instead := func(do func() error) func(string) error {
		return func(string) error { c.done = do; return options.ErrDone }
	}
	ignored := func(string) error { return nil }
	return append([]options.Option{
		{Name: "help", Help: "print this and exit", Set: instead(func() error { return usage(stderr) })},
		{Name: "version", Help: "print name and version and exit", Set: instead(func() error {
			_, err := fmt.Fprintf(stdout, "%s %s (weir %s)\n", c.name, buildBoxVersion, version())
			return err
		})},
		{Name: "metrics-mode", Value: "MODE", Help: "without effect: there is no StatsD; `weir serve` offers metrics to Prometheus", Set: ignored},
		{Name: "metrics-publish-interval", Value: "SECONDS", Help: "without effect, likewise", Set: ignored},
	}, options.Logging(&c.level, &c.logDirectory)...)
}

// parse reads the command line: known are all its options, and what the one argument that
// isn't one says goes to where. ended says that something else was asked for and is done.
func (c *common) parse(args []string, known []options.Option, what string, where *string) (ended bool, err error) {
	err = options.Parse(args, known, func(v string) error {
		if *where != "" {
			return fmt.Errorf("unexpected argument %.200q after %s %.200q", v, what, *where)
		}
		*where = v
		return nil
	})
	switch {
	case err != nil:
		return true, usageError{err}
	case c.done != nil:
		return true, c.done()
	}
	return false, nil
}

// run runs a role until ctx ends. It leaves no record but its log, and spans at a collector
// if the environment names one.
func (c *common) run(ctx context.Context, role string, stderr io.Writer, build func(*telemetry.Telemetry) (*stack.Role, error)) (err error) {
	log, done, err := options.OpenLog(c.name, c.logDirectory, stderr)
	if err != nil {
		return usageError{err}
	}
	defer done()
	sampling, err := samplingOfEnvironment()
	if err != nil {
		return usageError{err}
	}
	sampler, err := newSampler(sampling)
	if err != nil {
		return err
	}
	t, err := telemetry.New(ctx, telemetry.Config{
		Role: role, OTLP: otlpWanted(), Sampler: sampler, LogWriter: log, LogFormat: telemetry.TextLog, LogLevel: c.level,
	})
	if err != nil {
		return err
	}
	defer func() {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
		defer cancel()
		if sampler != nil {
			err = errors.Join(err, sampler.Close(flush))
		}
		err = errors.Join(err, t.Shutdown(flush))
	}()
	r, err := build(t)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}
