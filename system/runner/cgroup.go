package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-build/weir/system/runner/early"
)

// Limits bound what a command and all that it starts may take together. 0 means no
// limit.
type Limits struct {
	MemoryBytes int64
	Processes   int // and threads
}

// group is the control groups that hold a command: one for each limit, where there is
// a hierarchy for each controller (cgroup v1), else one (cgroup v2).
type group struct {
	limits Limits
	dirs   []string
	events string // file that counts processes killed for want of memory; empty if none
}

// errNoGroups says that this machine offers no control groups to this user.
var errNoGroups = errors.New("no control group can be made here")

// newGroup makes the control groups for limits, below the runner's own.
func newGroup(l Limits) (*group, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	g := &group{limits: l}
	name := fmt.Sprintf("weir-%d-%d", os.Getpid(), time.Now().UnixNano())
	set := map[string]string{}
	if l.MemoryBytes > 0 {
		set["memory"] = strconv.FormatInt(l.MemoryBytes, 10)
	}
	if l.Processes > 0 {
		set["pids"] = strconv.Itoa(l.Processes)
	}
	for controller, value := range set {
		if err := g.limit(string(own), name, controller, value); err != nil {
			g.remove()
			return nil, fmt.Errorf("limit %s: %w", controller, err)
		}
	}
	return g, nil
}

// limit sets one limit, in a group of the name.
func (g *group) limit(own, name, controller, value string) error {
	hierarchies := cgroupsOf(own, controller)
	for _, h := range hierarchies {
		dir := filepath.Join(h.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			continue // not ours to change
		}
		if err := os.WriteFile(filepath.Join(dir, h.file), []byte(value), 0o644); err != nil {
			_ = os.Remove(dir)
			continue
		}
		if len(g.dirs) == 0 || g.dirs[len(g.dirs)-1] != dir {
			g.dirs = append(g.dirs, dir)
		}
		if controller == "memory" {
			g.events = filepath.Join(dir, h.events)
		}
		return nil
	}
	return errNoGroups
}

// hierarchy is where a controller's groups can be made.
type hierarchy struct {
	dir          string // the runner's own group
	file, events string
}

// cgroupRoot is where systems mount the hierarchies.
const cgroupRoot = "/sys/fs/cgroup"

// cgroupsOf returns the places for a controller that /proc/self/cgroup tells of.
func cgroupsOf(own, controller string) []hierarchy {
	v1 := map[string]hierarchy{
		"memory": {file: "memory.limit_in_bytes", events: "memory.oom_control"},
		"pids":   {file: "pids.max"},
	}
	v2 := map[string]hierarchy{
		"memory": {file: "memory.max", events: "memory.events"},
		"pids":   {file: "pids.max"},
	}
	var all []hierarchy
	for line := range strings.Lines(own) {
		// cgroups(7): hierarchy-ID:controller-list:cgroup-path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[0] == "0":
			h := v2[controller]
			h.dir = filepath.Join(cgroupRoot, fields[2])
			all = append(all, h)
		case slices.Contains(strings.Split(fields[1], ","), controller):
			h := v1[controller]
			h.dir = filepath.Join(cgroupRoot, fields[1], fields[2])
			all = append(all, h)
		}
	}
	return all
}

// enter makes a process begin in the groups: not even its first fork is outside. The
// files are to be closed once it has started.
func (g *group) enter(p *Process) (files []*os.File, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	const standard = 3 // stdin, stdout and stderr come before
	var numbers []string
	for _, dir := range g.dirs {
		f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		numbers = append(numbers, strconv.Itoa(standard+len(p.Files)+len(files)))
		files = append(files, f)
	}
	p.Args = append([]string{self, early.EnterGroups + strings.Join(numbers, ","), early.ExecInside, p.Path}, p.Args[1:]...)
	p.Path, p.Files = self, append(p.Files, files...)
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// killedForMemory reports whether a process in the group was killed because the group
// had no more memory.
func (g *group) killedForMemory() bool {
	data, err := os.ReadFile(g.events)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
			return true
		}
	}
	return false
}

// removeAttempts and removePause bound the wait for the kernel to see that a group is
// empty.
const (
	removeAttempts = 100
	removePause    = time.Millisecond
)

// remove takes the groups away; all that was in them has ended.
func (g *group) remove() error {
	var errs []error
	for _, dir := range g.dirs {
		var err error
		for range removeAttempts {
			if err = os.Remove(dir); err == nil || !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(removePause)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
