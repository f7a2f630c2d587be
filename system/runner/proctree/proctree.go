// Package proctree finds and kills the processes below a process: also those
// that left its process group or session to outlive it.
//
// A process that called [BecomeSubreaper] adopts the orphans among its
// descendants, so that none of them can leave its tree. [Reap] then ends them
// all, [Kill] does so from outside. Linux only.
package proctree

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// BecomeSubreaper makes orphans below this process its children (prctl(2),
// PR_SET_CHILD_SUBREAPER).
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// AwaitEnd waits for a child to end and leaves it to be reaped: until then its ids can't
// be another's, and who is left of its group can be killed.
func AwaitEnd(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return fmt.Errorf("wait for process %d: %w", pid, err)
			}
			return nil
		}
	}
}

// pause is the wait between two looks at processes that were killed.
const pause = time.Millisecond

// Reap kills every process below this one, a subreaper, and reaps them. It
// takes the exit status of any child, so no other may be waited for at the same
// time. The error says what was left after the limit: a process in the middle
// of an uninterruptible call can't be killed.
func Reap(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		for {
			// WALL: also children made by clone(2) without SIGCHLD.
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
			if errors.Is(err, unix.ECHILD) {
				return nil
			}
			if pid == 0 || err != nil && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		left, err := Descendants(os.Getpid())
		if err != nil {
			return err
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL) // gone already is fine
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes are left %v after they were killed, among them %d", len(left), limit, left[:min(len(left), 5)])
		}
		time.Sleep(pause)
	}
}

// maxPasses bounds how often Kill looks again for processes that were made
// while it looked.
const maxPasses = 100

// Kill sends SIGKILL to a child of this process and to everything below it. The
// child is stopped first, so that it neither makes new processes nor dies
// before its orphans have been found. It isn't waited for.
func Kill(child int) {
	_ = unix.Kill(child, unix.SIGSTOP)
	seen := make(map[int]bool)
	for range maxPasses {
		found, _ := Descendants(child)
		fresh := false
		for _, pid := range found {
			fresh = fresh || !seen[pid]
			seen[pid] = true
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if !fresh {
			break
		}
	}
	_ = unix.Kill(child, unix.SIGKILL)
}

// Descendants returns the processes below pid, zombies included. Those that
// start or end meanwhile may be missed.
func Descendants(pid int) ([]int, error) {
	all, err := fromChildren(pid)
	if errors.Is(err, fs.ErrNotExist) {
		// A kernel without CONFIG_PROC_CHILDREN, or pid has ended.
		return fromStat(pid)
	}
	return all, err
}

func fromChildren(pid int) ([]int, error) {
	var all []int
	queue := []int{pid}
	for len(queue) > 0 {
		tasks := "/proc/" + strconv.Itoa(queue[0]) + "/task"
		threads, err := os.ReadDir(tasks)
		if err != nil && queue[0] == pid {
			return nil, err
		}
		for _, thread := range threads {
			text, err := os.ReadFile(tasks + "/" + thread.Name() + "/children")
			if err != nil && thread.Name() == strconv.Itoa(pid) {
				return nil, err
			}
			for _, field := range bytes.Fields(text) {
				if child, err := strconv.Atoi(string(field)); err == nil {
					all, queue = append(all, child), append(queue, child)
				}
			}
		}
		queue = queue[1:]
	}
	return all, nil
}

func fromStat(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		if parent, ok := parent(text); ok {
			children[parent] = append(children[parent], child)
		}
	}
	all := append([]int(nil), children[pid]...)
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// parent returns the fourth field of /proc/PID/stat. The second, the program's
// name in parentheses, may hold anything.
func parent(stat []byte) (int, bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	pid, err := strconv.Atoi(string(fields[1]))
	return pid, err == nil
}
