package bots

// Keys of Worker.configs.
const (
	// CapacityConfig is the number of leases a worker holds at once (BuildGrid's
	// name).
	CapacityConfig = "capacity"
	// InterruptibleConfig, if "true", says that the worker breaks off a poll when
	// it has something to report, so that the server may hold its polls while it
	// is busy. The polls of others are answered at once while they hold a lease,
	// as BuildBox's worker expects. The name is ours; servers that don't know it
	// ignore it.
	InterruptibleConfig = "interruptible-poll"
)

// A worker tells how far it has come with a lease by a header of its polls, an
// ExecutedActionMetadata without what isn't known yet. Its key is the lease's id
// between these (BuildGrid's names).
const (
	PartialPrefix = "partial-execution-metadata-"
	PartialSuffix = "-bin"
)
