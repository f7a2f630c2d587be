package queue

// Level names what tasks are grouped by.
type Level uint8

// The levels, from the root down.
const (
	TenantLevel Level = iota
	CorrelatedLevel
	InvocationLevel
	levelCount
)

var levelNames = [...]string{"tenant", "correlated", "invocation"}

func (l Level) String() string { return wordOf(levelNames[:], int(l)) }

// groups are the numbers a task comes with, one for each level; 0 is the group
// of all that come without.
type groups [levelCount]uint32

// groupState is what is known of one number of one level.
type groupState struct {
	refers uint32 // by tasks, and nodes
	weight uint32 // 0 if never set
	queued uint32 // tasks, waiting or resting; counted of tenants alone
}

// MaxWeight bounds weights so that a share divides a cost with little rounding.
const MaxWeight = 1_000_000

func (q *Queue) groupState(l Level, id uint32) *groupState {
	for int(id) >= len(q.groups[l]) {
		q.groups[l] = append(q.groups[l], groupState{})
	}
	return &q.groups[l][id]
}

func (q *Queue) refer(l Level, id uint32) {
	if id != 0 {
		q.groupState(l, id).refers++
	}
}

func (q *Queue) unrefer(l Level, id uint32) {
	if id == 0 {
		return
	}
	g := &q.groups[l][id]
	if g.refers--; g.refers == 0 {
		q.free(l, id)
	}
}

// free tells the caller if nothing refers to a number.
func (q *Queue) free(l Level, id uint32) {
	if g := q.groupState(l, id); g.refers == 0 && g.weight == 0 {
		o := q.emit(Freed)
		o.Level, o.Group = l, id
	}
}

// freeAll tells of each number that came with an input and is referred to by
// nothing.
func (q *Queue) freeAll(g groups) {
	for l, id := range g {
		if id != 0 {
			q.free(Level(l), id)
		}
	}
}

// weight is that of a child of a fair node.
func (q *Queue) weight(n *node) int64 {
	if !q.weighs { // as mostly: then the group's state is not to be looked for
		return 1
	}
	l := Level(q.levels[n.depth-1].by)
	if int(n.id) >= len(q.groups[l]) {
		return 1
	}
	return int64(max(1, q.groups[l][n.id].weight))
}

// weigh sets the weight of groups from the next task on.
func (q *Queue) weigh(in *Input) {
	for l, id := range in.groups() {
		if id == 0 {
			continue
		}
		g := q.groupState(Level(l), id)
		g.weight = min(in.Weight, MaxWeight)
		q.weighs = true
		if g.weight == 1 {
			g.weight = 0
		}
		q.free(Level(l), id)
	}
}

// full tells whether a tenant may queue no more.
func (q *Queue) full(tenant uint32) bool {
	return q.config.MaxQueued > 0 && int(q.groupState(TenantLevel, tenant).queued) >= q.config.MaxQueued
}
