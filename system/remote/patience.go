package remote

import (
	"context"
	"time"
)

// patience is how long a stream may take.
type patience struct {
	timeout       time.Duration // whatever the size
	minThroughput int64         // in bytes per second
}

// maxPatience is in place of times too long for a time.Duration.
const maxPatience = 365 * 24 * time.Hour

// context returns a context for a stream of some bytes, and what releases it.
func (p patience) context(ctx context.Context, bytes int64) (context.Context, context.CancelFunc) {
	if p.timeout <= 0 || p.minThroughput <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, p.of(bytes))
}

func (p patience) of(bytes int64) time.Duration {
	seconds := float64(bytes) / float64(p.minThroughput)
	if seconds > maxPatience.Seconds() {
		return maxPatience
	}
	return p.timeout + time.Duration(seconds*float64(time.Second))
}
