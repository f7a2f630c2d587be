package semconv

// Values of the label outcome: how a runner process ended.
const (
	RunnerOK     = "ok"     // with a result
	RunnerError  = "error"  // without one
	RunnerKilled = "killed" // because nobody wants its result any more
)

// Metrics of the worker.
var (
	WorkerLeases = Metric{"weir_worker_leases", Gauge, "{lease}",
		"Leases this worker holds.", nil}
	WorkerRunners = Metric{"weir_worker_runners_total", Counter, "{process}",
		"Runner processes ended, by outcome: ok, error or killed.", []string{"outcome"}}
	WorkerRunnerDuration = Metric{"weir_worker_runner_duration_seconds", Histogram, "s",
		"Time from a runner's start to its exit; what the action's own timestamps don't cover is the cost of the process.", []string{"outcome"}}
	WorkerSessions = Metric{"weir_worker_sessions_total", Counter, "{session}",
		"Bot sessions opened; each after the first replaced one that the server had lost.", nil}
	WorkerPollErrors = Metric{"weir_worker_poll_errors_total", Counter, "{poll}",
		"Bots polls that failed, by gRPC code.", []string{"code"}}
)

var workerMetrics = []Metric{WorkerLeases, WorkerRunners, WorkerRunnerDuration, WorkerSessions, WorkerPollErrors}
