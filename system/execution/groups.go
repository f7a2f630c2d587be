package execution

import (
	"encoding/binary"
	"math"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/queue"
)

// levels is how many kinds of groups there are.
const levels = int(queue.InvocationLevel) + 1

// groups gives numbers to the groups that the queue shares workers out to: a number
// is in use until the queue says that it needs it no more. It is the shell's.
type groups struct {
	numbers [levels]map[string]uint32
	names   [levels][]string // by number; 0 is the group of all that have none
	free    [levels][]uint32
}

// number returns the number of a group, 0 for one without a name.
func (g *groups) number(level queue.Level, name string) uint32 {
	if name == "" {
		return 0
	}
	if n, ok := g.numbers[level][name]; ok {
		return n
	}
	if g.numbers[level] == nil {
		g.numbers[level], g.names[level] = make(map[string]uint32), []string{""}
	}
	var n uint32
	if last := len(g.free[level]) - 1; last >= 0 {
		n, g.free[level] = g.free[level][last], g.free[level][:last]
		g.names[level][n] = name
	} else {
		n = uint32(len(g.names[level]))
		g.names[level] = append(g.names[level], name)
	}
	g.numbers[level][name] = n
	return n
}

// freed takes a number back.
func (g *groups) freed(level queue.Level, n uint32) {
	delete(g.numbers[level], g.names[level][n])
	g.names[level][n] = ""
	g.free[level] = append(g.free[level], n)
}

// rank fills in what the queue's rules go by; the lock is held. A tenant is an
// instance, until there is something better.
func (s *Server) rank(in *queue.Input, op *operation, action *repb.Action) {
	in.Priority = op.priority
	if root, err := digest.FromProto(action.InputRootDigest); err == nil && root != digest.Empty {
		in.Affinity = binary.BigEndian.Uint64(root.Hash[:8])
	}
	if !s.grouped {
		return
	}
	g := &s.shell.groups
	in.Tenant = g.number(queue.TenantLevel, op.instance.name)
	in.Correlated = g.number(queue.CorrelatedLevel, op.client.metadata.GetCorrelatedInvocationsId())
	in.Invocation = g.number(queue.InvocationLevel, op.client.metadata.GetToolInvocationId())
}

// priorities is the range that Capabilities tell of: the whole type, of which REAPI
// has the lower sooner.
var priorities = &repb.PriorityCapabilities{Priorities: []*repb.PriorityCapabilities_PriorityRange{
	{MinPriority: math.MinInt32, MaxPriority: math.MaxInt32},
}}
