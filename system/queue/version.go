package queue

// Version is that of the rules by which this package decides. Raise it whenever
// equal inputs may lead to other outputs, or to another state, than before: a
// journal names the version that wrote it, and a reader that finds a decision it
// wouldn't take says so. Journals of older versions stay readable: what they
// recorded is followed, not decided again.
//
// Since 2 it is decided by the first tasks of its platforms which of them a worker
// serves next, before by those that it would get; and a task may have a larger platform,
// which a hash tells.
const Version = 2
