package k6ext

// idleMost bounds how many goroutines of a crew wait for work: with stacks of 16 KiB they
// are 4 MiB.
const idleMost = 256

// crew does work in goroutines that stay for the next: the stack of a new one is grown
// several times on its way down into gRPC, which costs 5 % of a small call.
type crew struct {
	work chan func()
	idle chan struct{} // holds one for each that waits
}

func newCrew() crew { return crew{work: make(chan func()), idle: make(chan struct{}, idleMost)} }

// do has f done. It doesn't wait for it.
func (c *crew) do(f func()) {
	select {
	case c.work <- f: // one waits
	default:
		go c.serve(f)
	}
}

func (c *crew) serve(f func()) {
	for {
		f()
		select {
		case c.idle <- struct{}{}:
		default:
			return // enough of them wait
		}
		f = <-c.work
		<-c.idle
	}
}
