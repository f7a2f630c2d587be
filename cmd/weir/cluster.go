package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// clusterOptions are what a run of a whole cluster needs beside the cluster.
type clusterOptions struct {
	cluster         stack.Cluster
	health, metrics string // listen addresses
	below           string // the folder that runs/ is in
	logTo           io.Writer
	logFormat       telemetry.LogFormat
	logLevel        slog.Level
	command         []string
	sampling        telemetry.Sampling
}

// cluster is a whole cluster with its run folder and its admin server.
type cluster struct {
	up      *stack.Up
	folder  *runFolder
	admin   *telemetry.Admin
	ready   atomic.Bool
	options clusterOptions
}

const (
	// workerPoll is how often it is looked whether the workers have come, and
	// workerPatience how long: they first try out their runner.
	workerPoll     = 20 * time.Millisecond
	workerPatience = 30 * time.Second
)

var errNotReady = errors.New("starting or draining")

// newCluster makes a cluster that runs when run is called.
func newCluster(ctx context.Context, o clusterOptions) (*cluster, error) {
	folder, err := newRunFolder(o.below, o.command, o.logTo, o.logLevel, o.sampling)
	if err != nil {
		return nil, err
	}
	c := &cluster{folder: folder, options: o}
	o.cluster.Path = os.Getenv("PATH")
	c.up, err = stack.NewUp(o.cluster, func(role string) (*telemetry.Telemetry, error) {
		return folder.record(ctx, o.logFormat, role)
	})
	if err != nil {
		return nil, errors.Join(err, folder.discard())
	}
	c.admin = telemetry.NewAdmin(func() error {
		if c.ready.Load() {
			return nil
		}
		return errNotReady
	}, folder.telemetry...)
	folder.manifest.Addresses["client"] = c.up.Client
	folder.manifest.Addresses["workers"] = c.up.Bots
	folder.manifest.Addresses["casd"] = c.up.Casd
	for _, role := range c.up.Roles {
		c.admin.AddPages(role.Pages)
		if role.Addr != "" && folder.manifest.Addresses[role.Name] == "" && role.Name != "casd" && role.Name != "proxy-server" {
			folder.manifest.Addresses[role.Name] = role.Addr
		}
	}
	return c, nil
}

// run runs the cluster until ctx is done, and leaves its folder complete. It
// calls started, in a goroutine of its own, once the cluster serves.
func (c *cluster) run(ctx context.Context, started func(ctx context.Context) error) error {
	listeners, err := c.listen()
	if err != nil {
		return errors.Join(err, c.folder.discard())
	}
	if err := c.folder.writeManifest(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	admin := make(chan error, 1)
	go func() { admin <- c.admin.Serve(adminCtx, listeners...) }()
	up := make(chan error, 1)
	go func() {
		up <- c.up.Run(ctx)
		cancel()
	}()
	body := c.waitReady(ctx)
	if body == nil {
		c.ready.Store(true)
		body = started(ctx)
	}
	cancel()
	c.ready.Store(false)
	err = errors.Join(body, <-up)
	stopAdmin()
	return errors.Join(err, <-admin, c.folder.close(c.admin.Gatherer()))
}

// waitReady waits until all roles answer and all workers have come.
func (c *cluster) waitReady(ctx context.Context) error {
	if err := c.up.WaitReady(ctx); err != nil {
		return err
	}
	return c.waitSlots(ctx, c.options.cluster.TotalSlots())
}

// waitSlots waits until so many slots have come.
func (c *cluster) waitSlots(ctx context.Context, want int) error {
	ticker := time.NewTicker(workerPoll)
	defer ticker.Stop()
	late := time.NewTimer(workerPatience)
	defer late.Stop()
	for {
		s, err := readStatus(c.gatherer())
		if err != nil || s.busy+s.idle >= want {
			return err
		}
		select {
		case <-ticker.C:
		case <-late.C:
			return fmt.Errorf("workers have connected with %d slots of %d after %v: see %s", s.busy+s.idle, want, workerPatience, filepath.Join(c.folder.Path, logFile))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *cluster) listen() ([]net.Listener, error) {
	var listeners []net.Listener
	for _, l := range []struct{ name, address string }{{"health", c.options.health}, {"metrics", c.options.metrics}} {
		listener, err := net.Listen("tcp", l.address)
		if err != nil {
			for _, other := range listeners {
				other.Close()
			}
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
		listeners = append(listeners, listener)
		c.folder.manifest.Addresses[l.name] = listener.Addr().String()
	}
	return listeners, nil
}

// gatherer returns the metrics of all roles.
func (c *cluster) gatherer() prometheus.Gatherer { return c.admin.Gatherer() }

// terminal reports whether a file is one.
func terminal(f io.Writer) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
