package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/system/stack"
)

// A crew is workers in processes of their own, `weir serve worker`, so that they can be
// killed as a machine that fails kills them.
type crew struct {
	dir       string // of their files
	collector string // where their spans go
	bots, cas string
	runner    string

	mu      sync.Mutex // guards what follows
	workers []*exec.Cmd
	number  int
	stopped bool
	waits   sync.WaitGroup
}

// start starts workers of a group.
func (c *crew) start(g stack.WorkerGroup) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range g.Count {
		if c.stopped {
			return nil
		}
		c.number++
		name := fmt.Sprintf("worker-%d", c.number)
		if err := c.startOne(name, g); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (c *crew) startOne(name string, g stack.WorkerGroup) error {
	dir := filepath.Join(c.dir, name)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	config, err := yaml.Marshal(map[string]any{
		"bot_id": name, "bots": map[string]string{"url": "grpc://" + c.bots}, "cas": map[string]string{"url": "grpc://" + c.cas},
		"runner": c.runner, "platform": g.Platform, "slots": g.Slots, "work_dir": filepath.Join(dir, "work"),
		"infra": map[string]string{"bind_addr": "127.0.0.1:0", "metricsz_bind_addr": "127.0.0.1:0"},
	})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "worker.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "output.txt"))
	if err != nil {
		return err
	}
	command := exec.Command(self, "serve", "worker", "-c", file)
	command.Dir, command.Stdout, command.Stderr = dir, log, log
	command.Env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+c.collector, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	c.workers = append(c.workers, command)
	c.waits.Go(func() {
		command.Wait() // it is told to end, or killed
		log.Close()
	})
	return nil
}

// kill ends the first workers that live, with all they run, without a word.
func (c *crew) kill(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, len(c.workers))
	for _, w := range c.workers[:n] {
		syscall.Kill(-w.Process.Pid, syscall.SIGKILL) // one that has ended is as good
	}
	c.workers = slices.Delete(c.workers, 0, n)
}

// stop tells all to end, and waits for them.
func (c *crew) stop() {
	c.mu.Lock()
	c.stopped = true
	for _, w := range c.workers {
		w.Process.Signal(os.Interrupt) // one that has ended is as good
	}
	c.mu.Unlock()
	late := time.AfterFunc(crewPatience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, w := range c.workers {
			syscall.Kill(-w.Process.Pid, syscall.SIGKILL)
		}
	})
	defer late.Stop()
	c.waits.Wait()
}

// crewPatience is how long workers have to end when they are told to.
const crewPatience = 15 * time.Second

// play lets the faults of a scenario happen, each at its time after the begin, until ctx
// is done.
func (c *crew) play(ctx context.Context, begin time.Time, faults []scenario.Fault, first stack.WorkerGroup) error {
	faults = slices.Clone(faults)
	slices.SortStableFunc(faults, func(a, b scenario.Fault) int { return int(a.At - b.At) })
	for _, f := range faults {
		timer := time.NewTimer(time.Until(begin.Add(f.At)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		c.kill(f.KillWorkers)
		if f.StartWorkers > 0 {
			group := first
			group.Count = f.StartWorkers
			if err := c.start(group); err != nil {
				return fmt.Errorf("fault at %v: %w", f.At, err)
			}
		}
	}
	return nil
}

// notes say what of a scenario isn't imposed on somebody else's cluster.
func notesOn(s *scenario.Scenario) []string {
	var notes []string
	if s.Cluster != nil {
		var all []string
		for _, w := range s.Cluster.Workers {
			all = append(all, workersText(w.Count, w.Slots))
		}
		notes = append(notes, "the target is as it is: the scenario's cluster ("+strings.Join(all, ", ")+") isn't imposed on it")
	}
	if len(s.Faults) > 0 {
		notes = append(notes, fmt.Sprintf("the scenario's %d faults didn't happen: they can't be imposed on the target", len(s.Faults)))
	}
	return notes
}
