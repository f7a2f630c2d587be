package semconv

// Type is the type of an attribute's values.
type Type string

// The types in use.
const (
	Text Type = "string"
	Int  Type = "int"
)

// Cardinality says how many values an attribute takes: what grows must not
// become a label of a metric.
type Cardinality string

// The cardinalities.
const (
	PerProgram Cardinality = "fixed"      // the declaration lists them, or bounds the number
	PerMethod  Cardinality = "method"     // the methods of the services in the program, and OtherMethod
	PerCluster Cardinality = "cluster"    // the configuration or the fleet bounds them
	PerBuild   Cardinality = "per build"  // grow with the builds
	PerAction  Cardinality = "per action" // grow with the actions
)

// Stability says whether a name may still change (OpenTelemetry, "Definition of
// stability levels").
type Stability string

// The stabilities in use. Those of OpenTelemetry's names are as in version 1.43
// of its conventions.
const (
	Development      Stability = "development"
	ReleaseCandidate Stability = "release candidate"
	Stable           Stability = "stable"
)

// Where names and meanings come from.
const (
	fromREAPI  = "REAPI RequestMetadata"
	fromResult = "REAPI ActionResult"
	fromEAM    = "REAPI ExecutedActionMetadata"
	fromOTel   = "OpenTelemetry"
	fromRusage = "getrusage(2)"
	fromBazel  = "Bazel's trace profile"
	ours       = "Weir"
)

// What an attribute may be on, beside the spans that have names.
const (
	OnRPCs  = "RPCs"  // the spans of calls
	OnLinks = "links" // links between spans
)

// An Attribute is the declaration of one attribute of spans, links or resources.
type Attribute struct {
	Key         string
	Type        Type
	Unit        string // UCUM; empty for texts and codes
	Cardinality Cardinality
	Stability   Stability
	Source      string   // the specification that has the name or the value
	On          []string // the names of the spans that bear it, OnRPCs, OnLinks; empty if it is a resource's
	Help        string   // a sentence
	Values      []string // all that a text may be, if they are few
	Max         int64    // the largest number, if the program bounds it; the least is 0 then
}

// Attributes returns the declaration of every attribute of spans and links, in a
// fixed order.
func Attributes() []Attribute {
	var (
		build   = []string{SpanInvocation}
		action  = []string{SpanAction}
		worker  = []string{SpanWorker}
		execute = []string{SpanExecute}
		rpc     = []string{OnRPCs}
		request = []string{SpanAction, OnRPCs}
		// A client's look-up in the action cache, as its own log tells of it, is all
		// there is of an action that hit.
		lookup = []string{SpanAction, OnRPCs}
		// What the worker's clock timed.
		timed   = []string{SpanWorker, SpanRunnerSpawn, SpanInputFetch, SpanSetup, SpanExecute, SpanTeardown, SpanOutputUpload, SpanRunnerExit}
		attempt = append([]string{SpanAction, SpanQueued, SpanDispatch, SpanReport}, timed...)
	)
	return []Attribute{
		text(AttrInvocationID, PerBuild, fromREAPI, []string{SpanInvocation, SpanAction, OnRPCs}, "RequestMetadata.tool_invocation_id: the build."),
		text(AttrCorrelatedInvocationsID, PerBuild, fromREAPI, build, "RequestMetadata.correlated_invocations_id: builds that belong together."),
		text(AttrToolName, PerCluster, fromREAPI, build, "The client's name."),
		text(AttrToolVersion, PerCluster, fromREAPI, build, "The client's version."),
		text(AttrInstance, PerCluster, "REAPI", lookup, "The REAPI instance name."),

		text(AttrActionDigest, PerAction, "REAPI", lookup, "The action's digest, <hash>/<size>."),
		text(AttrActionID, PerAction, fromREAPI, request, "RequestMetadata.action_id: the client's own name for the action."),
		text(AttrActionMnemonic, PerCluster, fromREAPI, request, "RequestMetadata.action_mnemonic: the kind of action, such as CppCompile."),
		text(AttrTargetID, PerAction, fromREAPI, request, "RequestMetadata.target_id: the target the action belongs to."),
		text(AttrActionDescription, PerAction, fromBazel, action, "The client's own sentence about the action; imported."),
		text(AttrOperation, PerAction, "google.longrunning", action, "The operation's name."),
		text(AttrCacheResult, PerProgram, ours, lookup, "How the operation came by its result.",
			CacheHit, CacheMiss, CacheSkipped, CacheDeduplicated),
		text(AttrPlatform, PerCluster, "REAPI Platform", action, "The platform the action asked for, key=value, sorted."),
		number(AttrTreeSpans, "{span}", PerCluster, ours, action, "How many spans the action's tree has, the action's own included: a reader that finds fewer knows that some are lost."),
		number(AttrAttempt, "{attempt}", PerCluster, ours, attempt, "The number of the attempt, from 1. On action: how many there were, if more than one."),
		upTo(1, number(AttrLate, "", PerProgram, ours, worker, "1 if the result came after the attempt had been given up, so that others may overlap it.")),
		text(AttrQueueReason, PerProgram, ours, []string{SpanQueued}, "Why the task had to wait, as of the start of the wait.", queueReasons()...),
		text(AttrRetryReason, PerProgram, ours, worker, "Why the attempt ended without a result that counts.", endings()...),
		text(AttrWorker, PerCluster, fromEAM, []string{SpanAction, SpanWorker, OnRPCs}, "ExecutedActionMetadata.worker: the worker's name for itself."),
		number(AttrOutputFiles, "{file}", PerAction, fromResult, action, "How many output files and trees the result names."),
		number(AttrOutputBytes, "By", PerAction, fromResult, action, "How large the blobs are that the result names: output files, tree descriptions, stdout and stderr."),
		text(AttrOutputPrimary, PerAction, fromBazel, action, "The path of the output that the client knows the action by; imported."),
		releaseCandidate(upTo(255, number(AttrExitCode, "", PerProgram, fromOTel, lookup, "The command's exit code."))),
		stable(text(AttrErrorType, PerProgram, fromOTel, action, "The gRPC code of an operation that failed.", Codes()[1:]...)),
		text(AttrSampling, PerProgram, ours, []string{SpanInvocation, SpanAction}, "Why the trace was kept although its build was not sampled.",
			KeptFailed, KeptSlow, KeptRetried),

		number(AttrUserTime, "ns", PerAction, fromRusage, execute, "CPU time of the command in user mode."),
		number(AttrSystemTime, "ns", PerAction, fromRusage, execute, "CPU time of the command in the kernel."),
		number(AttrMaxRSS, "By", PerAction, fromRusage, execute, "The largest resident set of any of the command's processes."),
		number(AttrMajorFaults, "{fault}", PerAction, fromRusage, execute, "Page faults that needed I/O."),
		number(AttrBlockInput, "{block}", PerAction, fromRusage, execute, "Blocks of 512 bytes that were read from disk."),
		number(AttrBlockOutput, "{block}", PerAction, fromRusage, execute, "Blocks of 512 bytes that were written to disk."),
		number(AttrVoluntarySwitches, "{switch}", PerAction, fromRusage, execute, "Times the command gave up the CPU by itself."),
		number(AttrInvoluntarySwitches, "{switch}", PerAction, fromRusage, execute, "Times the CPU was taken from the command."),

		number(AttrClockOffset, "ns", PerAction, ours, timed, "What was added to the metadata's times because the worker's clock and the server's contradict each other. Without it they are the metadata's."),
		number(AttrClockCut, "ns", PerAction, ours, timed, "What was taken off the end of the span because the worker says it worked for longer than the server waited."),
		number(AttrClockRawStart, "ns", PerAction, fromEAM, timed, "The metadata's own start, since the Unix epoch, if the span's differs."),
		number(AttrClockRawEnd, "ns", PerAction, fromEAM, timed, "The metadata's own end, since the Unix epoch, if the span's differs."),
		text(AttrMetadataProblem, PerAction, ours, worker, "Which timestamps of the metadata could not be used, and why."),

		releaseCandidate(text(AttrRPCSystem, PerProgram, fromOTel, rpc, "The RPC system.", RPCSystem)),
		releaseCandidate(text(AttrRPCMethod, PerMethod, fromOTel, rpc, "The method, package.Service/Method.")),
		releaseCandidate(text(AttrRPCMethodOriginal, PerAction, fromOTel, rpc, "What the client called, if the method is `_OTHER`: one that the program doesn't know.")),
		releaseCandidate(text(AttrRPCStatusCode, PerProgram, fromOTel, rpc, "The gRPC code of the answer.", Codes()...)),

		text(AttrLinkKind, PerProgram, ours, []string{OnLinks}, "What the linked span is to this one.", LinkDeduplicated, LinkCached),
	}
}

func text(key string, c Cardinality, source string, on []string, help string, values ...string) Attribute {
	return Attribute{Key: key, Type: Text, Cardinality: c, Stability: Development, Source: source, On: on, Help: help, Values: values}
}

func number(key, unit string, c Cardinality, source string, on []string, help string) Attribute {
	return Attribute{Key: key, Type: Int, Unit: unit, Cardinality: c, Stability: Development, Source: source, On: on, Help: help}
}

func upTo(n int64, a Attribute) Attribute { a.Max = n; return a }

func stable(a Attribute) Attribute { a.Stability = Stable; return a }

func releaseCandidate(a Attribute) Attribute { a.Stability = ReleaseCandidate; return a }
