package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/connectivity"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/remote"
)

// A warm runner is a process that runs one action after the other, for a worker that
// wants to pay the start of a process once rather than for each. It is started with
// PoolArg alone and two pipes: it reads a PoolRequest from the one, does what a process
// with that command line would do, and writes a PoolReply to the other, until the worker
// closes the first or a signal comes. Those end the action under way, too.
//
// Its worker may tell it before the first action what actions will be like
// (PoolRequest.WarmUp), and give it actions without files (PoolRequest.Inline).

// PoolArg is the argument that makes a program of ours a warm runner.
const PoolArg = "--serve-pool"

// Descriptors of the pipes in a warm runner.
const (
	PoolRequests = 3
	PoolReplies  = 4
)

// PoolLogEnd ends what a run has to say on stderr, which all runs share.
const PoolLogEnd = "\x00"

// A PoolRequest is the command line of one run, and its trace context.
type PoolRequest struct {
	Args        []string `json:"args"`
	TraceParent string   `json:"traceparent,omitempty"`
	// Inline says that Action is the one to run, in place of what a file holds, and that
	// what would go to files comes with the reply. Files cost an action a tenth of its
	// time where it does nothing, most of it in the file system's journal.
	Inline bool   `json:"inline,omitempty"`
	Action []byte `json:"action,omitempty"`
	// WarmUp asks for no run and no reply, but to make ready for runs with such arguments.
	WarmUp bool `json:"warm_up,omitempty"`
}

// A PoolReply is how the run ended: as the exit code of a process says it.
type PoolReply struct {
	Exit int `json:"exit"`
	// Of an inline run: the ActionResult, and the Status that says why there is none.
	// Nil if nothing would have been written.
	Result []byte `json:"result"`
	Status []byte `json:"status"`
}

// servePool is the main function of a warm runner.
func (p Program) servePool(ctx context.Context) int {
	unix.CloseOnExec(PoolRequests)
	unix.CloseOnExec(PoolReplies)
	requests, replies := os.NewFile(PoolRequests, "requests"), os.NewFile(PoolReplies, "replies")
	if requests == nil || replies == nil {
		fmt.Fprintf(p.Stderr, "%s: %s is for a worker, which gives the process pipes %d and %d\n", p.Name, PoolArg, PoolRequests, PoolReplies)
		return 1
	}
	ctx, stop := untilSignal(ctx)
	defer stop()
	ctx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	incoming := make(chan PoolRequest)
	go func() {
		decoder := json.NewDecoder(requests)
		for {
			var r PoolRequest
			if err := decoder.Decode(&r); err != nil {
				abandon(&signalError{unix.SIGTERM}) // the worker is gone, or has no more
				return
			}
			select {
			case incoming <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	connections := pooledConnections{}
	defer connections.close()
	encoder := json.NewEncoder(replies)
	for {
		select {
		case r := <-incoming:
			one := p
			one.Args, one.TraceParent, one.dial = r.Args, r.TraceParent, connections.dial
			if r.WarmUp {
				one.warmUp()
				continue
			}
			reply := new(PoolReply)
			if r.Inline {
				one.action, one.inline = r.Action, reply
			}
			reply.Exit = one.once(ctx, time.Now())
			_, _ = p.Stderr.WriteString(PoolLogEnd) // a log that can't be written isn't missed
			if err := encoder.Encode(reply); err != nil {
				return 1
			}
		case <-ctx.Done():
			var killed *signalError
			if errors.As(context.Cause(ctx), &killed) {
				return int(killed.signal)
			}
			return 1
		}
	}
}

// pooledConnections are those that a warm runner keeps, by what they were asked for.
type pooledConnections map[string]*remote.Client

func (c pooledConnections) dial(config remote.Config) (*remote.Client, error) {
	name := strings.Join(options.RemoteArgs("", config), "\x00")
	if client := c[name]; client != nil {
		if client.Conn().GetState() != connectivity.TransientFailure {
			return client, nil
		}
		// Where casd was away, gRPC waits before it tries again, up to two minutes, and
		// fails calls meanwhile. A process of its own would find casd as it is now.
		delete(c, name)
		client.Close()
	}
	client, err := remote.Dial(config)
	if err == nil {
		c[name] = client
	}
	return client, err
}

func (c pooledConnections) close() {
	for _, client := range c {
		client.Close()
	}
}
