package experiment

import "sync"

// ballast is memory that runs are done beside. Nobody touches it, so that it takes addresses
// only. Go's collector begins when the heap has doubled: beside so much that stays, it waits
// until as much has been allocated, where a run's few megabytes had it come once for each.
// A collection stops all runs, and on a machine that does something else too it waits until
// each of them has had a CPU.
var ballast = sync.OnceValue(func() []byte { return make([]byte, ballastSize) })

// ballastSize is a dozen runs' worth of memory, of a thousand slots.
const ballastSize = 64 << 20
