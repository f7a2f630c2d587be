package queue

// following is where a step that follows recorded outputs stands among them.
type following struct {
	facts []Output
	at    int // of the facts, what comes next
	seen  int // of the outputs of this step
}

// Follow is Step for an input whose outputs are known already, as those of a
// journal: it takes them for facts where Step would decide. That is which task a
// worker gets, which worker a task gets, and what is refused; the rest follows
// from the input. So a queue of another policy, or of another version, comes to
// hold what the one that was recorded held.
//
// It returns its own outputs, and which of them is the first that isn't the fact
// of the same number, or -1 if all are. A queue of the same version and
// configuration that follows from the same state on never differs. One of
// another policy differs by when it says Freed, if at all. A fact that can't be,
// as a lease of a task that isn't there, is left out.
func (q *Queue) Follow(now Time, in Input, facts, out []Output) (_ []Output, differs int) {
	start := len(out)
	q.follows, q.following = true, following{facts: facts, seen: start}
	out = q.Step(now, &in, out)
	q.follows, q.following.facts = false, nil
	own := out[start:]
	for i := range min(len(own), len(facts)) {
		if own[i] != facts[i] {
			return out, i
		}
	}
	if len(own) != len(facts) {
		return out, min(len(own), len(facts))
	}
	return out, -1
}

// fact returns the recorded output that comes next, or a zero one. Freed doesn't
// count: it depends on what the tree remembers.
func (q *Queue) fact() Output {
	f := &q.following
	for ; f.seen < len(q.out); f.seen++ {
		if q.out[f.seen].Kind != Freed {
			f.skipFreed()
			f.at++
		}
	}
	f.skipFreed()
	if f.at >= len(f.facts) {
		return Output{}
	}
	return f.facts[f.at]
}

func (f *following) skipFreed() {
	for f.at < len(f.facts) && f.facts[f.at].Kind == Freed {
		f.at++
	}
}

// recordedTask returns the task that a worker got, or none.
func (q *Queue) recordedTask(holder uint32) uint32 {
	f := q.fact()
	if f.Kind != Leased || f.Worker != q.workerID(holder) {
		return none
	}
	index, t := q.tasks.find(uint64(f.Task))
	if t == nil || t.state != waiting || f.Attempt != t.attempt+1 || !q.serves(holder, t.platform) {
		return none
	}
	return index
}

// recordedWorker returns the waiting worker that got a task, or none. One that has
// just given it back doesn't wait yet: it gets it by recordedTask, as a task that
// was queued.
func (q *Queue) recordedWorker(index uint32) uint32 {
	f, t := q.fact(), q.tasks.at(index)
	if f.Kind != Leased || f.Task != q.taskID(index) || f.Attempt != t.attempt+1 {
		return none
	}
	holder, w := q.workers.find(uint64(f.Worker))
	if w == nil || !w.idles || !q.serves(holder, t.platform) {
		return none
	}
	return holder
}

func (q *Queue) serves(holder uint32, p PlatformID) bool {
	for s := q.workers.at(holder).services.first; s != none; s = q.services.next(served, s) {
		if q.services.at(s).platform == p {
			return true
		}
	}
	return false
}
