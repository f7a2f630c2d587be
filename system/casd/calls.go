package casd

import "sync"

// calls counts what Close waits for. A sync.WaitGroup would not do: calls may
// still come in while it is waited for.
type calls struct {
	// mu guards the fields below.
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when n is 0 and closed is set
}

// enter counts a call, unless there is no more entering.
func (c *calls) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.n++
	return true
}

// add counts something that a counted call starts.
func (c *calls) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *calls) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.closed {
		close(c.idle)
	}
}

// wait refuses further calls and waits for those there are.
func (c *calls) wait() {
	c.mu.Lock()
	c.closed = true
	c.idle = make(chan struct{})
	n := c.n
	c.mu.Unlock()
	if n > 0 {
		<-c.idle
	}
}
