package execution

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
)

// maxGroups bounds the numbers of a level: each open task has one at most, and the
// queue keeps memory for the largest.
const maxGroups = maxOpen

// levels is how many kinds of groups there are.
const levels = int(queue.InvocationLevel) + 1

// groups gives numbers to the groups that the queue shares workers out to: a number
// is in use until the queue says that it needs it no more. It is the shell's.
type groups struct {
	numbers [levels]map[string]uint32
	names   [levels][]string // by number; 0 is the group of all that have none
	free    [levels][]uint32
	made    []groupNumber // since the journal was told last
}

// groupNumber names a group.
type groupNumber struct {
	level queue.Level
	n     uint32
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
	g.made = append(g.made, groupNumber{level, n})
	return n
}

// assign gives a group the number that it had when it was noted.
func (g *groups) assign(noted *notes.Group) error {
	n := noted.Number
	if noted.Level >= uint32(levels) || n == 0 || n > maxGroups || noted.Name == "" {
		return fmt.Errorf("group %q of level %d can't have the number %d", noted.Name, noted.Level, n)
	}
	level := queue.Level(noted.Level)
	if g.numbers[level] == nil {
		g.numbers[level], g.names[level] = make(map[string]uint32), []string{""}
	}
	for uint32(len(g.names[level])) <= n {
		g.free[level] = append(g.free[level], uint32(len(g.names[level])))
		g.names[level] = append(g.names[level], "")
	}
	i := slices.Index(g.free[level], n)
	if i < 0 {
		return fmt.Errorf("number %d of level %d is for %q and for %q", n, level, g.names[level][n], noted.Name)
	}
	g.free[level] = slices.Delete(g.free[level], i, i+1)
	g.numbers[level][noted.Name], g.names[level][n] = n, noted.Name
	return nil
}

// keep takes back the numbers that aren't in use.
func (g *groups) keep(inUse func(queue.Level, uint32) bool) {
	for level := range g.names {
		for n, name := range g.names[level] {
			if name != "" && !inUse(queue.Level(level), uint32(n)) {
				g.freed(queue.Level(level), uint32(n))
			}
		}
	}
}

// notes returns all groups that have a number.
func (g *groups) notes() []*notes.Group {
	var list []*notes.Group
	for level := range g.names {
		for n, name := range g.names[level] {
			if name != "" {
				list = append(list, g.note(groupNumber{queue.Level(level), uint32(n)}))
			}
		}
	}
	return list
}

func (g *groups) note(of groupNumber) *notes.Group {
	return &notes.Group{Level: uint32(of.level), Number: of.n, Name: g.names[of.level][of.n]}
}

// freed takes a number back.
func (g *groups) freed(level queue.Level, n uint32) {
	delete(g.numbers[level], g.names[level][n])
	g.names[level][n] = ""
	g.free[level] = append(g.free[level], n)
}

// rank fills in what the queue's rules go by; the lock is held. Tenants are told
// apart also where only the number of tasks is bounded.
func (s *Server) rank(in *queue.Input, op *operation, action *repb.Action) {
	in.Priority = op.priority
	if root, err := digest.FromProto(action.InputRootDigest); err == nil && root != digest.Empty {
		in.Affinity = binary.BigEndian.Uint64(root.Hash[:8])
	}
	g := &s.shell.groups
	if s.grouped || s.config.Queue.MaxQueued > 0 {
		in.Tenant = g.number(queue.TenantLevel, op.tenant)
	}
	if !s.grouped {
		return
	}
	in.Correlated = g.number(queue.CorrelatedLevel, op.client.request().GetCorrelatedInvocationsId())
	in.Invocation = g.number(queue.InvocationLevel, op.client.invocation())
}

// priorities is the range that Capabilities tell of: the whole type, of which REAPI
// has the lower sooner.
var priorities = &repb.PriorityCapabilities{Priorities: []*repb.PriorityCapabilities_PriorityRange{
	{MinPriority: math.MinInt32, MaxPriority: math.MaxInt32},
}}
