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
	PerProgram Cardinality = "fixed"      // the code lists them
	PerCluster Cardinality = "cluster"    // the configuration or the fleet bounds them
	PerBuild   Cardinality = "per build"  // grow with the builds
	PerAction  Cardinality = "per action" // grow with the actions
)

// Stability says whether a name may still change (OpenTelemetry, "Definition of
// stability levels").
type Stability string

// The stabilities in use.
const (
	Development Stability = "development"
	Stable      Stability = "stable"
)

// Where names and meanings come from.
const (
	fromREAPI  = "REAPI RequestMetadata"
	fromResult = "REAPI ActionResult"
	fromEAM    = "REAPI ExecutedActionMetadata"
	fromOTel   = "OpenTelemetry"
	fromRusage = "getrusage(2)"
	ours       = "Weir"
)

// An Attribute is the declaration of one attribute of spans or links.
type Attribute struct {
	Key         string
	Type        Type
	Unit        string // UCUM; empty for texts and codes
	Cardinality Cardinality
	Stability   Stability
	Source      string   // the specification that has the name or the value
	On          string   // the spans that bear it
	Help        string   // a sentence
	Values      []string // all it may take, if they are few
}

// Attributes returns the declaration of every attribute, in a fixed order.
func Attributes() []Attribute {
	const build, rpc = "invocation", "RPCs"
	const action, attempt, worker = "action", "queued, dispatch, worker and what is below it, report", "worker"
	const execute, skewed = "execute", "worker and what is below it"
	text := func(key string, c Cardinality, source, on, help string, values ...string) Attribute {
		return Attribute{key, Text, "", c, Development, source, on, help, values}
	}
	number := func(key, unit string, c Cardinality, source, on, help string) Attribute {
		return Attribute{key, Int, unit, c, Development, source, on, help, nil}
	}
	stable := func(a Attribute) Attribute { a.Stability = Stable; return a }
	return []Attribute{
		text(AttrInvocationID, PerBuild, fromREAPI, build+", "+action+", "+rpc, "RequestMetadata.tool_invocation_id: the build."),
		text(AttrCorrelatedInvocationsID, PerBuild, fromREAPI, build, "RequestMetadata.correlated_invocations_id: builds that belong together."),
		text(AttrToolName, PerCluster, fromREAPI, build, "The client's name."),
		text(AttrToolVersion, PerCluster, fromREAPI, build, "The client's version."),
		text(AttrInstance, PerCluster, "REAPI", action, "The REAPI instance name."),

		text(AttrActionDigest, PerAction, "REAPI", action, "The action's digest, <hash>/<size>."),
		text(AttrActionID, PerAction, fromREAPI, action+", "+rpc, "RequestMetadata.action_id: the client's own name for the action."),
		text(AttrActionMnemonic, PerCluster, fromREAPI, action+", "+rpc, "RequestMetadata.action_mnemonic: the kind of action, such as CppCompile."),
		text(AttrTargetID, PerAction, fromREAPI, action+", "+rpc, "RequestMetadata.target_id: the target the action belongs to."),
		text(AttrOperation, PerAction, "google.longrunning", action, "The operation's name."),
		text(AttrCacheResult, PerProgram, ours, action, "How the operation came by its result.",
			CacheHit, CacheMiss, CacheSkipped, CacheDeduplicated),
		text(AttrPlatform, PerCluster, "REAPI Platform", action, "The platform the action asked for, key=value, sorted."),
		number(AttrTreeSpans, "{span}", PerProgram, ours, action, "How many spans the action's tree has, the action's own included: a reader that finds fewer knows that some are lost."),
		number(AttrAttempt, "{attempt}", PerProgram, ours, action+", "+attempt, "The number of the attempt, from 1. On action: how many there were, if more than one."),
		number(AttrLate, "", PerProgram, ours, worker, "1 if the result came after the attempt had been given up, so that others may overlap it."),
		text(AttrQueueReason, PerProgram, ours, "queued", "Why the task had to wait.", ReasonNoWorker, ReasonBusy),
		text(AttrRetryReason, PerProgram, ours, worker, "Why the attempt ended without a result."),
		text(AttrWorker, PerCluster, fromEAM, action+", "+worker, "ExecutedActionMetadata.worker: the worker's name for itself."),
		number(AttrOutputFiles, "{file}", PerAction, fromResult, action, "How many output files and trees the result names."),
		number(AttrOutputBytes, "By", PerAction, fromResult, action, "How large the blobs are that the result names: output files, tree descriptions, stdout and stderr."),
		stable(number(AttrExitCode, "", PerProgram, fromOTel, action, "The command's exit code.")),
		stable(text(AttrErrorType, PerProgram, fromOTel, action, "The gRPC code of an operation that failed, such as DEADLINE_EXCEEDED.")),
		text(AttrSampling, PerProgram, ours, action+", "+build, "Why the trace was kept although its build was not sampled.",
			KeptFailed, KeptSlow, KeptRetried),

		number(AttrUserTime, "ns", PerAction, fromRusage, execute, "CPU time of the command in user mode."),
		number(AttrSystemTime, "ns", PerAction, fromRusage, execute, "CPU time of the command in the kernel."),
		number(AttrMaxRSS, "By", PerAction, fromRusage, execute, "The largest resident set of any of the command's processes."),
		number(AttrMajorFaults, "{fault}", PerAction, fromRusage, execute, "Page faults that needed I/O."),
		number(AttrBlockInput, "{block}", PerAction, fromRusage, execute, "Blocks of 512 bytes that were read from disk."),
		number(AttrBlockOutput, "{block}", PerAction, fromRusage, execute, "Blocks of 512 bytes that were written to disk."),
		number(AttrVoluntarySwitches, "{switch}", PerAction, fromRusage, execute, "Times the command gave up the CPU by itself."),
		number(AttrInvoluntarySwitches, "{switch}", PerAction, fromRusage, execute, "Times the CPU was taken from the command."),

		number(AttrClockOffset, "ns", PerAction, ours, skewed, "What was added to the metadata's times because the worker's clock and the server's contradict each other. Without it they are the metadata's."),
		number(AttrClockCut, "ns", PerAction, ours, skewed, "What was taken off the end of the span because the worker says it worked for longer than the server waited."),
		number(AttrClockRawStart, "ns", PerAction, fromEAM, skewed, "The metadata's own start, since the Unix epoch, if the span's differs."),
		number(AttrClockRawEnd, "ns", PerAction, fromEAM, skewed, "The metadata's own end, since the Unix epoch, if the span's differs."),
		text(AttrMetadataProblem, PerAction, ours, worker, "Which timestamps of the metadata could not be used, and why."),

		text(AttrRPCSystem, PerProgram, fromOTel, rpc, "The RPC system.", RPCSystem),
		text(AttrRPCMethod, PerProgram, fromOTel, rpc, "The method, package.Service/Method."),
		text(AttrRPCStatusCode, PerProgram, fromOTel, rpc, "The gRPC code of the answer, such as NOT_FOUND."),

		text(AttrLinkKind, PerProgram, ours, "links of action", "What the linked span is to this one: the work this operation joined, or the work that produced its cached result.",
			LinkDeduplicated, LinkCached),
	}
}
