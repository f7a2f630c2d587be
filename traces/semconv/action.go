package semconv

// Span names of a build and of an action. The execution-server writes the
// action's, the proxy (or the client itself) the build's.
const (
	// SpanInvocation is the root of a build: from the first to the last RPC that
	// carried its tool_invocation_id.
	SpanInvocation = "invocation"
	// SpanAction is one operation, from Execute to its last message.
	SpanAction = "action"
	// SpanCacheCheck is the look-up in the action cache.
	SpanCacheCheck = "cache_check"
	// SpanQueued is the wait for a worker; one for each attempt.
	SpanQueued = "queued"
	// SpanDispatch is from the lease's offer to the worker's start: the time the
	// offer travels, and the worker takes to begin.
	SpanDispatch = "dispatch"
	// SpanWorker is worker_start to worker_completed.
	SpanWorker = "worker"
	// SpanInputFetch, SpanExecute and SpanOutputUpload are the stages that
	// ExecutedActionMetadata names.
	SpanInputFetch   = "input_fetch"
	SpanExecute      = "execute"
	SpanOutputUpload = "output_upload"
	// SpanReport is from worker_completed to the arrival of the result.
	SpanReport = "report"
)

// Attributes of the spans above.
const (
	// AttrInvocationID is RequestMetadata.tool_invocation_id.
	AttrInvocationID = "rbe.invocation.id"
	// AttrCorrelatedInvocationsID ties builds together that belong together.
	AttrCorrelatedInvocationsID = "rbe.correlated_invocations.id"
	// AttrToolName and AttrToolVersion name the client.
	AttrToolName    = "rbe.tool.name"
	AttrToolVersion = "rbe.tool.version"
	// AttrInstance is the REAPI instance name.
	AttrInstance = "rbe.instance"

	// AttrActionDigest is the action's digest, <hash>/<size>.
	AttrActionDigest = "rbe.action.digest"
	// AttrActionID is RequestMetadata.action_id: the client's own name for it.
	AttrActionID = "rbe.action.id"
	// AttrActionMnemonic and AttrTargetID are what newer clients tell of it.
	AttrActionMnemonic = "rbe.action.mnemonic"
	AttrTargetID       = "rbe.target.id"
	// AttrOperation is the operation's name.
	AttrOperation = "rbe.operation.name"
	// AttrCacheResult is one of the Cache… values.
	AttrCacheResult = "rbe.cache.result"
	// AttrPlatform is the platform the action asked for, key=value, sorted.
	AttrPlatform = "rbe.platform"
	// AttrAttempt counts the attempts at the work behind the operation.
	AttrAttempt = "rbe.attempt"
	// AttrLate is 1 on the worker span of an attempt whose result came after it had
	// been given up: others may overlap it.
	AttrLate = "rbe.attempt.late"
	// AttrQueueReason is why the task had to wait (one of the Reason… values).
	AttrQueueReason = "rbe.queue.reason"
	// AttrRetryReason is why an attempt ended without a result.
	AttrRetryReason = "rbe.retry.reason"
	// AttrWorker is ExecutedActionMetadata.worker.
	AttrWorker = "rbe.worker.id"
	// AttrExitCode is the command's exit code (OTel process.exit.code).
	AttrExitCode = "process.exit.code"
)

// Values of AttrCacheResult.
const (
	CacheHit          = "hit"          // the action cache had the result
	CacheMiss         = "miss"         // it was looked up in vain
	CacheSkipped      = "skipped"      // the client said to skip it
	CacheDeduplicated = "deduplicated" // joined an execution already under way
)

// Values of AttrQueueReason.
const (
	ReasonNoWorker = "no_matching_worker" // no worker serves the platform
	ReasonBusy     = "workers_busy"       // all that do are busy
)

// Names and values of links between spans.
const (
	AttrLinkKind = "rbe.link.kind"
	// LinkDeduplicated points from an operation to the span of the work it joined.
	LinkDeduplicated = "deduplicated"
	// LinkCached points from an operation to the span that produced its result.
	LinkCached = "cached"
)
