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

// An Attribute is the declaration of one attribute of spans or links.
type Attribute struct {
	Key         string
	Type        Type
	Cardinality Cardinality
	On          string   // the spans that bear it
	Help        string   // with the unit, if it has one
	Values      []string // all it may take, if they are few
}

// Attributes returns the declaration of every attribute, in a fixed order.
func Attributes() []Attribute {
	const build, rpc = "invocation", "RPCs"
	const action, attempt, worker = "action", "queued, dispatch, worker and its stages, report", "worker"
	return []Attribute{
		{AttrInvocationID, Text, PerBuild, build + ", " + action + ", " + rpc,
			"RequestMetadata.tool_invocation_id: the build.", nil},
		{AttrCorrelatedInvocationsID, Text, PerBuild, build,
			"RequestMetadata.correlated_invocations_id: builds that belong together.", nil},
		{AttrToolName, Text, PerCluster, build, "The client's name.", nil},
		{AttrToolVersion, Text, PerCluster, build, "The client's version.", nil},
		{AttrInstance, Text, PerCluster, action, "The REAPI instance name.", nil},

		{AttrActionDigest, Text, PerAction, action, "The action's digest, <hash>/<size>.", nil},
		{AttrActionID, Text, PerAction, action + ", " + rpc,
			"RequestMetadata.action_id: the client's own name for the action.", nil},
		{AttrActionMnemonic, Text, PerCluster, action + ", " + rpc,
			"RequestMetadata.action_mnemonic: the kind of action, such as CppCompile.", nil},
		{AttrTargetID, Text, PerAction, action + ", " + rpc,
			"RequestMetadata.target_id: the target the action belongs to.", nil},
		{AttrOperation, Text, PerAction, action, "The operation's name.", nil},
		{AttrCacheResult, Text, PerProgram, action, "How the operation came by its result.",
			[]string{CacheHit, CacheMiss, CacheSkipped, CacheDeduplicated}},
		{AttrPlatform, Text, PerCluster, action, "The platform the action asked for, key=value, sorted.", nil},
		{AttrAttempt, Int, PerProgram, action + ", " + attempt, "The number of the attempt, from 1. On action: how many there were, if more than one.", nil},
		{AttrLate, Int, PerProgram, worker, "1 if the result came after the attempt had been given up, so that others may overlap it.", nil},
		{AttrQueueReason, Text, PerProgram, "queued", "Why the task had to wait.",
			[]string{ReasonNoWorker, ReasonBusy}},
		{AttrRetryReason, Text, PerProgram, worker, "Why the attempt ended without a result.", nil},
		{AttrWorker, Text, PerCluster, action + ", " + worker, "ExecutedActionMetadata.worker: the worker's name for itself.", nil},
		{AttrExitCode, Int, PerProgram, action, "The command's exit code.", nil},

		{AttrRPCSystem, Text, PerProgram, rpc, "The RPC system.", []string{RPCSystem}},
		{AttrRPCMethod, Text, PerProgram, rpc, "The method, package.Service/Method.", nil},
		{AttrRPCStatusCode, Text, PerProgram, rpc, "The gRPC code of the answer, such as NOT_FOUND.", nil},

		{AttrLinkKind, Text, PerProgram, "links of action", "What the linked span is to this one: the work this operation joined, or the work that produced its cached result.",
			[]string{LinkDeduplicated, LinkCached}},
	}
}
