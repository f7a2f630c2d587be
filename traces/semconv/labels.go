package semconv

// Role is the label that tells the roles of one process apart.
const Role = "role"

// Worker is the label that tells the workers of one process apart: the bot id.
// It is on the metrics of workers only.
const Worker = "worker"

// A Label is the declaration of one label of metrics. None grows with builds or
// actions: ids belong on spans.
type Label struct {
	Name        string
	Cardinality Cardinality
	Source      string
	Help        string
	Values      []LabelValues // if they are few
}

// LabelValues are all that a label may be on some metrics.
type LabelValues struct {
	Metrics []Metric // nil for all that have the label
	List    []string
}

// Labels returns the declaration of every label, in a fixed order.
func Labels() []Label {
	all := func(list ...string) []LabelValues { return []LabelValues{{nil, list}} }
	on := func(list []string, metrics ...Metric) LabelValues { return LabelValues{metrics, list} }
	return []Label{
		{Role, PerCluster, ours, "The role that emits the metric; of a client, what it calls itself. On every metric.", nil},
		{Worker, PerCluster, ours, "The worker's name for itself. On metrics of the role worker.", nil},
		{"rpc_method", PerMethod, fromOTel, "The method, package.Service/Method.", nil},
		{"rpc_response_status_code", PerProgram, fromOTel, "The gRPC code of the answer.", all(Codes()...)},
		{"instance_name", PerCluster, "REAPI", "The REAPI instance name.", nil},
		{"platform", PerCluster, "REAPI Platform", "The platform that actions ask for, key=value, sorted.", nil},
		{"code", PerProgram, ours, "The gRPC code of a response.", all(Codes()...)},
		{"outcome", PerProgram, ours, "How what is counted ended.", []LabelValues{
			on([]string{"executed", "cached", "deduplicated"}, Operations),
			on([]string{"lease", "change", "nothing"}, BotPolls),
			on([]string{RunnerOK, RunnerError, RunnerKilled}, WorkerRunners, WorkerRunnerDuration),
		}},
		{"reason", PerProgram, ours, "Why what is counted happened.", []LabelValues{
			on([]string{EndedWorkerLost, EndedWorkerLeft, EndedLeaseLost, EndedReleased, EndedTimedOut, EndedOutgrown}, TaskRetries),
			on([]string{"no_token", "malformed_token", "unknown_key", "wrong_algorithm", "bad_signature", "missing_claim", "expired",
				"not_yet_valid", "unknown_token", "inactive_token", "other_instance", "scope", "not_for_workers"}, ProxyAuthFailures),
		}},
		{"stage", PerProgram, fromEAM, "The stage, named as its span.", all(SpanInputFetch, SpanExecute, SpanOutputUpload)},
		{"status", PerProgram, "Remote Workers API", "What the worker says of itself.",
			all("BOT_STATUS_UNSPECIFIED", "OK", "UNHEALTHY", "HOST_REBOOTING", "BOT_TERMINATING", "INITIALIZING")},
		{"state", PerProgram, ours, "What the slots do.", all("busy", "idle")},
		{"store", PerProgram, ours, "Which store: blobs or action results.", all("cas", "ac")},
		{"result", PerProgram, ours, "What was found.", []LabelValues{
			on([]string{"present", "missing"}, StorageDigests),
			on([]string{"hit", "miss", "incomplete"}, ActionCacheLookups),
		}},
		{"file", PerProgram, ours, "The credentials: keys of clients' tokens, or tokens of workers.", all("keys", "tokens")},
		{"mode", PerProgram, ours, "How an input root is staged.", all(CasdModeFUSE, CasdModeCopy)},
		{"exporter", PerProgram, ours, "Where spans go: the run's file, or a collector.", all(ExporterFile, ExporterOTLP)},
	}
}

// Codes returns the names of gRPC's status codes, in their order, as
// OpenTelemetry's conventions spell them.
func Codes() []string {
	return []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
}
