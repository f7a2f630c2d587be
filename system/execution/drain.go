package execution

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-build/weir/system/queue"
)

// maxDrains bounds the rules of who is drained, each of which is compared with each
// worker that connects: an operator has a handful.
const maxDrains = 1000

// drains says which workers get no new leases, those that come later included. A
// server that starts anew knows what its journal tells. It is the shell's.
type drains []drain

// drain is a rule: about one worker, or all that have a property.
type drain struct {
	instance *instance
	worker   string // unless it is about a property
	property property
	since    time.Time
}

func (d *drain) matches(session *session) bool {
	if d.instance != session.instance {
		return false
	}
	if d.worker != "" {
		return d.worker == session.botID
	}
	return slices.Contains(session.offered, d.property)
}

func (d *drain) same(other *drain) bool {
	return d.instance == other.instance && d.worker == other.worker && d.property == other.property
}

// about says of whom a rule is.
func (d *drain) about() string {
	if d.worker != "" {
		return fmt.Sprintf("worker %q", d.worker)
	}
	return fmt.Sprintf("workers with %s=%s", d.property.key, d.property.value)
}

// rule returns the first rule that a session matches, or nil.
func (d drains) rule(session *session) *drain {
	for i := range d {
		if d[i].matches(session) {
			return &d[i]
		}
	}
	return nil
}

// drain adds a rule or takes it back, and returns the sessions it is about. The lock
// is held.
func (s *Server) drain(now time.Time, d drain, undo bool) ([]*session, error) {
	sh := &s.shell
	var about []*session
	for _, session := range sh.sessions {
		if d.matches(session) {
			about = append(about, session)
		}
	}
	known := slices.IndexFunc(sh.drains, func(other drain) bool { return d.same(&other) })
	switch {
	case undo && known < 0:
		return nil, s.notDrained(d, about)
	case undo:
		sh.drains = slices.Delete(sh.drains, known, known+1)
	case known >= 0: // it holds already
	case d.worker != "" && len(about) == 0:
		return nil, &unknownError{fmt.Sprintf("worker %q is not connected to instance %q: weir top lists those that are", d.worker, d.instance.name)}
	case len(sh.drains) >= maxDrains:
		return nil, &limitError{fmt.Sprintf("there are %d rules of what is drained already: undo some", maxDrains)}
	default:
		sh.drains = append(sh.drains, d)
	}
	s.journalNote(now, sh.drains.note())
	slices.SortFunc(about, byBot)
	for _, session := range about {
		s.redrain(now, session)
	}
	return about, nil
}

// notDrained says why there is nothing to undo.
func (s *Server) notDrained(d drain, about []*session) error {
	if d.worker != "" {
		for _, session := range about {
			if other := s.shell.drains.rule(session); other != nil {
				return &unknownError{fmt.Sprintf("worker %q is drained as one of the %s: undo that", d.worker, other.about())}
			}
		}
	}
	return &unknownError{d.about() + " of instance " + fmt.Sprintf("%q", d.instance.name) + " weren't drained: weir top lists what is"}
}

// redrain makes a session drained or not, as the rules have it, whatever the queue
// knows of it. The lock is held.
func (s *Server) redrain(now time.Time, session *session) {
	drained := s.shell.drains.rule(session) != nil
	kind := queue.Undrain
	if drained {
		kind = queue.Drain
	}
	session.setDrained(drained)
	if drained != s.shell.queue.Drained(session.worker) {
		s.step(now, queue.Input{Kind: kind, Worker: session.worker})
	}
}

func (session *session) setDrained(drained bool) {
	if drained == session.drained {
		return
	}
	session.drained = drained
	by := -1
	if drained {
		by = 1
	}
	for _, p := range session.serves {
		p.drained += by
	}
}
