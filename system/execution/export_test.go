package execution

import "github.com/weir-build/weir/system/queue"

// Watchers returns how many wait for an operation that has a task.
func (s *Server) Watchers(name string) int {
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	op := s.shell.names[name]
	if op == nil {
		return 0
	}
	return s.shell.queue.Watchers(op.id)
}

// NextDeadline returns when something expires next, in the queue's time.
func (s *Server) NextDeadline() queue.Time {
	s.shell.mu.Lock()
	defer s.shell.mu.Unlock()
	return s.shell.queue.NextDeadline()
}
