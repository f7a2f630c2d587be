package semconv

// A Span is the declaration of one kind of span. Spans of RPCs are not among
// them: each bears the name of its method.
type Span struct {
	Name    string
	Emitter string // the role that writes it
	Parent  string // name of the span above, which may be a call; empty for a root
	Help    string
}

// Spans returns the declaration of every span, parents before children.
func Spans() []Span {
	const proxy, execution = "proxy-server", "execution-server"
	return []Span{
		{SpanInvocation, proxy, "",
			"A build, from the first to the last RPC that carried its tool_invocation_id. A client that sends a traceparent writes its own root instead."},
		{SpanAction, execution, "build.bazel.remote.execution.v2.Execution/Execute",
			"One operation, from Execute to its last message."},
		{SpanCacheCheck, execution, SpanAction,
			"The look-up in the action cache."},
		{SpanQueued, execution, SpanAction,
			"The wait for a worker, with the reason; one for each attempt."},
		{SpanDispatch, execution, SpanAction,
			"From the lease's offer to the worker's start: the time the offer travels and the worker takes to begin."},
		{SpanWorker, execution, SpanAction,
			"From worker_start to worker_completed. Of an attempt without a result: from the lease's offer to the attempt's end."},
		{SpanInputFetch, execution, SpanWorker,
			"From input_fetch_start to input_fetch_completed."},
		{SpanExecute, execution, SpanWorker,
			"From execution_start to execution_completed: the command itself."},
		{SpanOutputUpload, execution, SpanWorker,
			"From output_upload_start to output_upload_completed."},
		{SpanReport, execution, SpanAction,
			"From worker_completed to the arrival of the result."},
	}
}
