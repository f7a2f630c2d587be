package queue

import "time"

// DefaultNoWorkerTimeout is the NoWorkerTimeout of a server, and of what simulates one, unless
// it is told another; that of a zero Config is to wait for ever. It is what users of other
// servers have asked for from both sides: where an action that no worker can take waits for
// ever, builds hang without a word (buildfarm#1172, nativelink#2784), and where it fails at
// once, a cluster that starts its machines on demand never gets to (bb-deployments#17).
// Machines of a cloud take a few minutes. It is twice the wait that a server's log warns of.
const DefaultNoWorkerTimeout = 10 * time.Minute

// ForEver is what counts as never giving up in a configuration: no server runs for as long.
const ForEver = 100 * 365 * 24 * time.Hour

// NoWorkerTimeout is what Config wants for what a configuration says, where 0 is the default,
// what is negative not at all, and ForEver or more for ever.
func NoWorkerTimeout(configured time.Duration) time.Duration {
	switch {
	case configured == 0:
		return DefaultNoWorkerTimeout
	case configured >= ForEver:
		return 0
	default:
		return max(configured, -1)
	}
}
