package semconv

// A Span is the declaration of one kind of span. Spans of RPCs are not among
// them: each bears the name of its method.
type Span struct {
	Name      string
	Emitter   string // the role that writes it
	Parent    string // name of the span above, which may be a call; empty for a root
	Stability Stability
	Source    string // whose times they are
	Help      string
}

// Spans returns the declaration of every span, parents before children.
func Spans() []Span {
	const proxy, execution = RoleProxy, RoleExecution
	const gap = "gap in ExecutedActionMetadata"
	of := func(parent, name, source, help string) Span {
		return Span{name, execution, parent, Development, source, help}
	}
	return []Span{
		{SpanInvocation, proxy, "", Development, fromREAPI,
			"A build, from the first to the last RPC that carried its tool_invocation_id. A client that sends a traceparent writes its own root instead."},
		of("build.bazel.remote.execution.v2.Execution/Execute", SpanAction, ours,
			"One operation, from Execute to its last message."),
		of(SpanAction, SpanCacheCheck, ours, "The look-up in the action cache."),
		of(SpanAction, SpanLoad, ours, "From the look-up to the queue: the action and its command are read."),
		of(SpanAction, SpanJoined, ours, "The wait of an operation that joined another one's work, which it links to."),
		of(SpanAction, SpanQueued, ours, "The wait for a worker, with the reason; one for each attempt."),
		of(SpanAction, SpanDispatch, ours,
			"From the lease's offer to the worker's start: the time the offer travels and the worker takes to begin."),
		of(SpanAction, SpanWorker, fromEAM,
			"From worker_start to worker_completed. Of an attempt without a result: from the lease's offer to the attempt's end."),
		of(SpanWorker, SpanRunnerSpawn, gap, "From worker_start to the first stage: the start of a process for the action."),
		of(SpanWorker, SpanInputFetch, fromEAM, "From input_fetch_start to input_fetch_completed."),
		of(SpanWorker, SpanSetup, gap, "From the inputs' arrival to the command's start."),
		of(SpanWorker, SpanExecute, fromEAM, "From execution_start to execution_completed: the command itself."),
		of(SpanWorker, SpanTeardown, gap, "From the command's end to the upload of its outputs."),
		of(SpanWorker, SpanOutputUpload, fromEAM, "From output_upload_start to output_upload_completed."),
		of(SpanWorker, SpanRunnerExit, gap, "From the last stage to worker_completed: the inputs are given back, the process ends."),
		of(SpanAction, SpanReport, ours, "From worker_completed to the arrival of the result."),
		of(SpanAction, SpanPublish, ours, "From the arrival of the result to the operation's end: it is written to the action cache."),
	}
}
