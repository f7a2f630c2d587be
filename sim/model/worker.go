package model

import (
	"maps"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/system/queue"
)

// worker is a worker: what it holds, and when it reports next.
type worker struct {
	id     queue.WorkerID
	slots  int
	leases []lease
	alive  bool
	// report is the number of its next report: one that was put off has another.
	report uint32
}

type lease struct {
	task    queue.TaskID
	attempt uint32
	index   int // in sim.tasks
}

// task is the work behind operations, as workers see it.
type task struct {
	id       queue.TaskID
	key      workload.Key
	duration int64
	fails    bool
	queued   des.Time
	started  des.Time
	// token tells its executions apart: a completion of one that was revoked is none.
	token uint32
}

func (s *sim) addWorker(group scenario.Workers) {
	for _, o := range s.step(queue.Input{Kind: queue.Connect, Slots: uint32(group.Slots)}) {
		if o.Kind != queue.Connected {
			continue
		}
		i := len(s.workers)
		w := &worker{id: o.Worker, slots: group.Slots, alive: true}
		s.workers = append(s.workers, w)
		s.byWorker[o.Worker] = i
		for p, wanted := range s.platforms {
			if serves(group.Platform, wanted) {
				s.step(queue.Input{Kind: queue.Serve, Worker: w.id, Platform: queue.PlatformID(p)})
			}
		}
		s.poll(i)
	}
}

// serves tells whether a worker offers all that is wanted.
func serves(offered, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := offered[key]; (!ok || got != value) && !(key == "OSFamily" && value == "linux" && !ok) {
			return false
		}
	}
	return true
}

// platform returns the number of a platform, the same for equal ones.
func (s *sim) platform(properties map[string]string) queue.PlatformID {
	for i, p := range s.platforms {
		if maps.Equal(p, properties) {
			return queue.PlatformID(i)
		}
	}
	s.platforms = append(s.platforms, properties)
	return queue.PlatformID(len(s.platforms) - 1)
}

// poll reports what a worker holds, and has it wait for more.
func (s *sim) poll(i int) {
	w := s.workers[i]
	for _, l := range w.leases {
		s.step(queue.Input{Kind: queue.Renew, Worker: w.id, Task: l.task, Attempt: l.attempt})
	}
	s.step(queue.Input{Kind: queue.Poll, Worker: w.id, Accepting: true})
	w.report++
	s.k.Schedule(des.Event{
		At: des.Add(s.k.Now(), int64(s.session)/reportShare), Class: evReport, Kind: evReport, A: uint32(i), B: uint64(w.report),
	})
}

// reportDue has a worker report that hasn't for some time.
func (s *sim) reportDue(i int, number uint32) {
	w := s.workers[i]
	if !w.alive || w.report != number {
		return
	}
	s.step(queue.Input{Kind: queue.PollEnd, Worker: w.id})
	s.poll(i)
}

// lease has a worker begin a task.
func (s *sim) lease(o queue.Output) {
	i, known := s.byWorker[o.Worker]
	t, found := s.byTask[o.Task]
	if !known || !found || !s.workers[i].alive {
		return
	}
	w := s.workers[i]
	for _, l := range w.leases {
		if l.task == o.Task && l.attempt == o.Attempt {
			return // offered again
		}
	}
	w.leases = append(w.leases, lease{o.Task, o.Attempt, t})
	one := s.tasks.at(t)
	one.started = s.k.Now()
	one.token++
	s.attempts++
	s.count(1)
	s.k.Schedule(des.Event{
		At: des.Add(s.k.Now(), one.duration), Class: evComplete, Kind: evComplete, A: uint32(i), B: uint64(t)<<32 | uint64(one.token),
	})
}

// drop takes a lease from a worker's hands, and tells whether it held it.
func (s *sim) drop(w *worker, t queue.TaskID) bool {
	for i, l := range w.leases {
		if l.task == t {
			w.leases = append(w.leases[:i], w.leases[i+1:]...)
			s.count(-1)
			return true
		}
	}
	return false
}

// revoke has a worker stop, and ask for more.
func (s *sim) revoke(o queue.Output) {
	i, known := s.byWorker[o.Worker]
	if !known || !s.workers[i].alive {
		return
	}
	if t, ok := s.byTask[o.Task]; ok {
		s.tasks.at(t).token++
	}
	if s.drop(s.workers[i], o.Task) {
		s.step(queue.Input{Kind: queue.PollEnd, Worker: o.Worker})
		s.poll(i)
	}
}

// complete ends an execution, if it is still the one.
func (s *sim) complete(i, t int, token uint32) {
	w := s.workers[i]
	one := s.tasks.at(t)
	if !w.alive || one.token != token {
		return
	}
	var attempt uint32
	for _, l := range w.leases {
		if l.task == one.id {
			attempt = l.attempt
		}
	}
	if attempt == 0 || !s.drop(w, one.id) {
		return
	}
	if !one.fails {
		s.cached[one.key] = true
	}
	s.step(queue.Input{Kind: queue.PollEnd, Worker: w.id})
	s.step(queue.Input{Kind: queue.Complete, Worker: w.id, Task: one.id, Attempt: attempt, Accepting: true})
	s.poll(i)
}

// fault kills workers and starts others.
func (s *sim) fault(f scenario.Fault) {
	left := f.KillWorkers
	for _, w := range s.workers {
		if left == 0 {
			break
		}
		if !w.alive {
			continue
		}
		left--
		// Its connection breaks, so that it waits no longer; of its leases nobody knows.
		w.alive = false
		s.count(-int64(len(w.leases)))
		w.leases = nil
		s.step(queue.Input{Kind: queue.PollEnd, Worker: w.id})
	}
	for range f.StartWorkers {
		s.addWorker(s.Scenario.Cluster.Workers[0])
	}
}
