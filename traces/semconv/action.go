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
	// SpanLoad is from the look-up, or the operation's beginning, to the queue:
	// the action and its command are read.
	SpanLoad = "load"
	// SpanJoined is the wait of an operation that joined another one's work.
	SpanJoined = "joined"
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
	// SpanPublish is from the arrival of the result to the operation's end: the
	// result is written to the action cache.
	SpanPublish = "publish"
)

// Names of the gaps between the stages that ExecutedActionMetadata knows: time of
// the worker that no stage accounts for.
const (
	// SpanRunnerSpawn is from worker_start to the first stage: where a worker
	// starts a process for each action, the start of that.
	SpanRunnerSpawn = "runner_spawn"
	// SpanSetup is between the inputs' arrival and the command.
	SpanSetup = "setup"
	// SpanTeardown is between the command and the upload of its outputs.
	SpanTeardown = "teardown"
	// SpanRunnerExit is from the last stage to worker_completed: inputs are given
	// back and the process ends.
	SpanRunnerExit = "runner_exit"
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
	// AttrActionDescription is the client's own sentence about it, where it was
	// the client that recorded it.
	AttrActionDescription = "rbe.action.description"
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
	// AttrErrorType is the gRPC code of an operation that failed (OTel error.type).
	AttrErrorType = "error.type"
	// AttrTreeSpans is how many spans the action's tree has, this one included: a
	// reader that counts fewer knows that some are lost.
	AttrTreeSpans = "rbe.action.spans"
	// AttrOutputFiles and AttrOutputBytes are what the action's result holds,
	// stdout and stderr included.
	AttrOutputFiles = "rbe.output.files"
	AttrOutputBytes = "rbe.output.bytes"
	// AttrOutputPrimary is the path of the output that the client knows it by.
	AttrOutputPrimary = "rbe.output.primary"
	// AttrSampling is why the trace was kept although its build was not sampled
	// (one of the Kept… values).
	AttrSampling = "rbe.sampling.kept"
)

// Attributes of the command's use of resources (getrusage(2)), on execute.
const (
	AttrUserTime            = "rbe.rusage.user_time"
	AttrSystemTime          = "rbe.rusage.system_time"
	AttrMaxRSS              = "rbe.rusage.max_rss"
	AttrMajorFaults         = "rbe.rusage.major_faults"
	AttrBlockInput          = "rbe.rusage.block_input"
	AttrBlockOutput         = "rbe.rusage.block_output"
	AttrVoluntarySwitches   = "rbe.rusage.voluntary_switches"
	AttrInvoluntarySwitches = "rbe.rusage.involuntary_switches"
)

// Attributes that say what was done to the times of another machine's clock.
// Where none of them is, the span's times are the metadata's.
const (
	// AttrClockOffset was added to the metadata's times, since the worker's clock
	// and the server's contradict each other.
	AttrClockOffset = "rbe.clock.offset"
	// AttrClockCut was taken off the span's end, because the worker says it worked
	// for longer than the server waited: no offset explains that.
	AttrClockCut = "rbe.clock.cut"
	// AttrClockRawStart and AttrClockRawEnd are the metadata's own times.
	AttrClockRawStart = "rbe.clock.raw_start"
	AttrClockRawEnd   = "rbe.clock.raw_end"
	// AttrMetadataProblem says which timestamps of the metadata could not be used,
	// and why.
	AttrMetadataProblem = "rbe.metadata.problem"
)

// Values of AttrSampling.
const (
	KeptFailed  = "failed"  // an action failed
	KeptSlow    = "slow"    // an action took longer than the limit
	KeptRetried = "retried" // an action needed more than one attempt
)

// Values of AttrRetryReason, and of the label reason of TaskRetries: how an
// attempt ended without a result that counts. Package queue has these words too,
// but for the last.
const (
	EndedCompleted  = "completed"      // another attempt had a result first
	EndedCancelled  = "cancelled"      // the client said so
	EndedAbandoned  = "abandoned"      // no client watched any more
	EndedExhausted  = "exhausted"      // it was the last that the task may have
	EndedTimedOut   = "timed_out"      // it ran for longer than the action's timeout and some slack
	EndedWorkerLost = "worker_lost"    // the worker was silent for too long
	EndedWorkerLeft = "worker_left"    // the worker's session was ended or replaced
	EndedLeaseLost  = "lease_lost"     // the worker polled but didn't speak of the lease
	EndedReleased   = "released"       // the worker gave the lease back
	EndedOutgrown   = "outgrown"       // the worker was too small: another attempt is by a larger one
	EndedStopped    = "server_stopped" // the execution-server ended first
)

func endings() []string {
	return []string{EndedCompleted, EndedCancelled, EndedAbandoned, EndedExhausted, EndedTimedOut, EndedWorkerLost, EndedWorkerLeft,
		EndedLeaseLost, EndedReleased, EndedOutgrown, EndedStopped}
}

// Values of AttrCacheResult.
const (
	CacheHit          = "hit"          // the action cache had the result
	CacheMiss         = "miss"         // it was looked up in vain
	CacheSkipped      = "skipped"      // the client said to skip it
	CacheDeduplicated = "deduplicated" // joined an execution already under way
)

// Values of AttrQueueReason, as of when the task was queued. What holds a task may
// change while it waits; what holds it now is told by `weir queue explain`.
const (
	ReasonNoWorker  = "no_matching_worker" // no worker serves the platform
	ReasonDrained   = "workers_drained"    // all that do are drained
	ReasonBusy      = "workers_busy"       // all that do are busy, and what came earlier comes first
	ReasonPriority  = "priority"           // a more urgent task comes first
	ReasonFairShare = "fair_share"         // it is another group's turn
	ReasonShorter   = "shorter_first"      // one that is expected to take less time comes first
	ReasonBackOff   = "back_off"           // its last attempt came to nothing and it has to pause
)

func queueReasons() []string {
	return []string{ReasonNoWorker, ReasonDrained, ReasonBusy, ReasonPriority, ReasonFairShare, ReasonShorter, ReasonBackOff}
}

// AttrLinkKind says what a link is: one of the Link… values.
const AttrLinkKind = "rbe.link.kind"
