package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// onOwnCluster runs it on a cluster that is started for it.
func (l *load) onOwnCluster(ctx context.Context) error {
	c := l.scenario.Cluster
	if c == nil {
		return usageError{fmt.Errorf("scenario %s describes no cluster: say by --target whom to load", l.scenario.Name)}
	}
	dir, err := os.MkdirTemp("", "weir-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // actions may belong to another user
		return err
	}
	options, err := ownCluster(l.scenario, dir)
	if err != nil {
		return err
	}
	groups := options.cluster.Groups
	if len(l.scenario.Faults) > 0 {
		options.cluster.Groups = []stack.WorkerGroup{}
	}
	// The cluster outlives the generator, which is told first when we are interrupted.
	lasting := context.WithoutCancel(ctx)
	cl, err := newCluster(lasting, options)
	if err != nil {
		return err
	}
	l.folder = cl.folder
	return cl.run(lasting, func(context.Context) error {
		if len(l.scenario.Faults) > 0 {
			l.crew = &crew{dir: dir, bots: cl.up.Bots, cas: cl.up.Casd, runner: options.cluster.Runner}
			return l.withCrew(ctx, cl, groups)
		}
		return l.run(ctx, "grpc://"+cl.up.Client)
	})
}

// withCrew runs it with workers of which some are to be killed.
func (l *load) withCrew(ctx context.Context, cl *cluster, groups []stack.WorkerGroup) error {
	collector, err := newCollector(l.folder.writer)
	if err != nil {
		return err
	}
	defer collector.stop()
	l.crew.collector = collector.address
	defer l.crew.stop()
	want := 0
	for _, g := range groups {
		if err := l.crew.start(g); err != nil {
			return err
		}
		want += g.Count * g.Slots
	}
	if err := cl.waitSlots(ctx, want); err != nil {
		return err
	}
	return l.run(ctx, "grpc://"+cl.up.Client)
}

// ownCluster is the cluster that a scenario describes, with its files in a folder.
func ownCluster(s *scenario.Scenario, dir string) (clusterOptions, error) {
	options := clusterOptions{
		cluster: stack.Cluster{Dir: dir, Memory: true, Client: "127.0.0.1:0", Bots: "127.0.0.1:0", Casd: "127.0.0.1:0"},
		health:  "127.0.0.1:0", metrics: "127.0.0.1:0", below: ".", command: os.Args, sampling: telemetry.Sampling{Ratio: 1},
	}
	err := asDescribed(&options.cluster, s)
	return options, err
}

// asDescribed has a cluster be what a scenario describes: its workers, their runner, and the
// scheduler's policy and patience.
func asDescribed(cluster *stack.Cluster, s *scenario.Scenario) error {
	c := s.Cluster
	cluster.Runner, cluster.Groups = runnerOf(c.Runner), groupsOf(c)
	cluster.Execution.SessionTimeout = c.SessionTimeout
	cluster.Execution.NoWorkerTimeout = stack.Patience(c.NoWorkerTimeout)
	if c.Policy != "" {
		if err := cluster.Execution.Policy.UnmarshalText([]byte(c.Policy)); err != nil {
			return fmt.Errorf("scenario %s: cluster.policy: %w", s.Name, err)
		}
	}
	return nil
}

func runnerOf(name string) string {
	if name == "sleep" {
		return stack.InternalSleep
	}
	return "buildbox-run-" + name
}

func groupsOf(c *scenario.Cluster) []stack.WorkerGroup {
	var groups []stack.WorkerGroup
	for _, w := range c.Workers {
		g := stack.WorkerGroup{Count: w.Count, Slots: w.Slots, Platform: []string{"OSFamily=linux"}}
		for key, value := range w.Platform {
			g.Platform = append(g.Platform, key+"="+value)
		}
		slices.Sort(g.Platform)
		g.Platform = slices.Compact(g.Platform)
		groups = append(groups, g)
	}
	return groups
}
