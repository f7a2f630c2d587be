package queue

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

var inputNames = [...]string{"", "enqueue", "watch", "unwatch", "cancel", "connect", "serve", "renew", "complete", "publish", "release", "poll", "pollend", "disconnect", "drain", "undrain", "weigh", "tick", "outgrow"}

var outputNames = [...]string{"", "queued", "attached", "leased", "offered", "lost", "requeued", "revoked", "finished", "operation done", "task done", "connected", "worker gone", "refused", "resting", "freed", "moved"}

func (k InputKind) String() string  { return wordOf(inputNames[:], int(k)) }
func (k OutputKind) String() string { return wordOf(outputNames[:], int(k)) }

// wordOf returns a name, or a number if there is none: journals of other versions
// may have it.
func wordOf(names []string, n int) string {
	if n < len(names) && names[n] != "" {
		return names[n]
	}
	return strconv.Itoa(n)
}

// String returns the input in words, as the scripts of this package's tests have it:
//
//	enqueue platform=1 timeout=10s
//	complete t1 w1 attempt=1
func (in Input) String() string {
	words := []string{in.Kind.String()}
	add := func(set bool, word string) {
		if set {
			words = append(words, word)
		}
	}
	number := func(name string, n uint64) { add(n != 0, name+"="+strconv.FormatUint(n, 10)) }
	add(in.Task != 0, in.Task.String())
	add(in.Operation != 0, in.Operation.String())
	add(in.Worker != 0, in.Worker.String())
	number("attempt", uint64(in.Attempt))
	add(in.Platform != 0 || in.Kind == Serve || in.Kind == Enqueue, "platform="+strconv.FormatUint(uint64(in.Platform), 10))
	number("larger", uint64(in.Larger))
	number("slots", uint64(in.Slots))
	add(in.Key != Key{}, "key="+hex.EncodeToString(in.Key[:]))
	add(in.Timeout != 0, "timeout="+in.Timeout.String())
	number("tenant", uint64(in.Tenant))
	number("correlated", uint64(in.Correlated))
	number("invocation", uint64(in.Invocation))
	number("weight", uint64(in.Weight))
	add(in.Priority != 0, "priority="+strconv.Itoa(int(in.Priority)))
	add(in.Expected != 0, "expected="+time.Duration(in.Expected).String())
	number("affinity", in.Affinity)
	switch in.Kind {
	case Poll:
		add(!in.Accepting, "closed")
	case Complete:
		add(in.Accepting, "publish")
	default:
		add(in.Accepting, "accepting")
	}
	return strings.Join(words, " ")
}

// String returns the output in words:
//
//	leased t1 attempt=1 w1
func (o Output) String() string {
	text := o.Kind.String()
	if o.Task != 0 {
		text += " " + o.Task.String()
	}
	if o.Operation != 0 {
		text += " " + o.Operation.String()
	}
	if o.Attempt != 0 {
		text += " attempt=" + strconv.Itoa(int(o.Attempt))
	}
	if o.Worker != 0 {
		text += " " + o.Worker.String()
	}
	if o.Kind == Freed {
		text += " " + o.Level.String() + "=" + strconv.Itoa(int(o.Group))
	}
	if o.Reason != 0 {
		text += ": " + o.Reason.String()
	}
	return text
}
