package dashboards

import "github.com/weir-build/weir/traces/semconv"

// overview is the page to open first: is the cluster well, and if not, in which
// of its roles does it hurt.
func overview() Dashboard {
	return Dashboard{
		UID:   "weir-overview",
		Title: "Weir: cluster overview",
		description: "Remote execution from the queue to the disk: what waits and why, what the workers do, " +
			"what each role answers and how fast, what the caches save.",
		rows: []row{
			{"At a glance", atAGlance()},
			{"Queue", queue()},
			{"Operations", operations()},
			{"Workers", workers()},
			{"RPCs", rpcs()},
			{"Storage", storage()},
			{"casd", casd()},
			{"Proxy and telemetry", proxyAndTelemetry()},
		},
	}
}

// tolerableFailures is the share of operations whose failing is no news: with a
// worker lost now and then, and builds that are cancelled, it is never 0.
const tolerableFailures = 0.01

func atAGlance() []panel {
	return []panel{
		single("Tasks waiting", "Tasks waiting for a worker.",
			total(semconv.QueueDepth, by())),
		single("Longest wait", "How long the task at the head of the slowest queue has waited.",
			highest(semconv.QueueOldestAge, by())),
		single("Workers", "Worker sessions in good health.",
			total(semconv.Workers, by(), is("status", "OK"))),
		single("Slots busy", "Share of the workers' slots that hold a task. Near 100 % with a queue: more workers help.",
			share(total(semconv.WorkerSlots, by(), is("state", "busy")), total(semconv.WorkerSlots, by()))),
		single("Operations", "Operations ended, cached ones included.",
			rate(semconv.Operations, by())),
		single("Operations failed", "Share of the operations that ended with another code than OK. An action whose command fails isn't one of them.",
			share(rate(semconv.Operations, by(), isNot("code", "OK")), rate(semconv.Operations, by()))).alarmAt(tolerableFailures),
		single("Action cache hits", "Share of the look-ups of action results that found one, all outputs still there.",
			share(rate(semconv.ActionCacheLookups, by(), is("result", "hit")), rate(semconv.ActionCacheLookups, by()))),
		single("Spans lost", "Spans dropped in the time range shown. Traces have holes if it isn't 0.",
			increase(semconv.SpansDropped, by())).alarmAt(1),
	}
}

func queue() []panel {
	platform := by("instance_name", "platform")
	const name = "{{instance_name}} {{platform}}"
	return []panel{
		stacked("Tasks waiting by platform", "Depth of each platform's queue. One that only grows is served by too few workers, or by none.",
			total(semconv.QueueDepth, platform).as(name)),
		graph("Longest wait by platform", "Age of the task at the head of each queue. It grows by a second a second while nothing is handed out.",
			highest(semconv.QueueOldestAge, platform).as(name)),
		stacked("Tasks executing by platform", "Tasks leased to a worker.",
			total(semconv.TasksExecuting, platform).as(name)),
		graph("Queue wait", "Time from enqueueing to the offer of a lease, each attempt, all platforms together.",
			quantiles(semconv.QueueWait)...),
		graph("Queue wait by platform, 90th percentile", "Nine tasks of ten were offered to a worker within this time.",
			quantile(0.9, semconv.QueueWait, platform).as(name)),
		stacked("Attempts lost, by reason", "Attempts that ended without a result and were followed by another.",
			rate(semconv.TaskRetries, by("reason")).as("{{reason}}")),
		graph("Journal written", "Bytes a second that the execution-server writes down, snapshots included.",
			rate(semconv.JournalWritten, by()).as("written")),
		graph("Journal syncs", "Times a second that the journal was brought to disk. One serves all who wait for it.",
			rate(semconv.JournalSyncs, by()).as("syncs")),
		graph("Time spent on journal syncs", "Share of the time in which the disk was busy with the journal. Near 100% clients wait for it.",
			rate(semconv.JournalSyncTime, by()).as("busy")),
	}
}

func operations() []panel {
	return []panel{
		stacked("Operations by outcome", "How operations got their result: executed, from the cache, or by joining an execution under way.",
			rate(semconv.Operations, by("outcome")).as("{{outcome}}")),
		stacked("Operations failed, by code", "Operations that ended with another code than OK, whichever it is.",
			rate(semconv.Operations, by("code"), isNot("code", "OK")).as("{{code}}")),
		stacked("Where an action's time goes", "Mean duration of the wait in the queue and of the stages of executed actions.",
			mean(semconv.QueueWait, by()).as("queued"),
			mean(semconv.StageDuration, by("stage")).as("{{stage}}")),
		graph("Stages, median", "Half of the executed actions spent less time in the stage.",
			quantile(0.5, semconv.StageDuration, by("stage")).as("{{stage}}")),
		graph("Stages, 90th percentile", "Nine of ten executed actions spent less time in the stage.",
			quantile(0.9, semconv.StageDuration, by("stage")).as("{{stage}}")),
		graph("Stages, 99th percentile", "One in a hundred executed actions spent more time in the stage.",
			quantile(0.99, semconv.StageDuration, by("stage")).as("{{stage}}")),
	}
}

func workers() []panel {
	return []panel{
		stacked("Worker sessions by status", "Workers connected, by the status they report.",
			total(semconv.Workers, by("instance_name", "status")).as("{{instance_name}} {{status}}")),
		stacked("Slots busy and idle", "Slots of the workers that take work. Idle ones beside a queue serve other platforms.",
			total(semconv.WorkerSlots, by("instance_name", "state")).as("{{instance_name}} {{state}}")),
		graph("Leases held", "Leases as the workers count them; \"Tasks executing by platform\" is the execution-server's count.",
			total(semconv.WorkerLeases, by()).as("leases")),
		graph("Polls by what they brought", "Bots polls answered. Many that bring nothing mean idle workers.",
			rate(semconv.BotPolls, by("outcome")).as("{{outcome}}")),
		graph("Polls failed, by code", "Bots polls that failed, as the workers see it.",
			rate(semconv.WorkerPollErrors, by("code")).as("{{code}}")),
		graph("Sessions lost", "Worker sessions given up because the worker was silent for too long. Their tasks run again elsewhere.",
			rate(semconv.SessionsExpired, by()).as("sessions")),
		graph("Sessions opened", "Bot sessions the workers opened. After a worker's first, each replaces one that the server had lost.",
			rate(semconv.WorkerSessions, by()).as("sessions")),
		stacked("Runner processes by outcome", "Processes that ran an action and ended: well, with an error of their own, or killed.",
			rate(semconv.WorkerRunners, by("outcome")).as("{{outcome}}")),
		graph("Runner processes, 90th percentile", "Time from a runner's start to its exit. What it has over the stages of its action is the cost of the process.",
			quantile(0.9, semconv.WorkerRunnerDuration, by("outcome")).as("{{outcome}}")),
	}
}

func rpcs() []panel {
	role := chosen(role())
	served, made := semconv.RPCServerDuration, semconv.RPCClientDuration
	return []panel{
		stacked("Calls served", "gRPC calls that ended, each counted once, by the role that served them.",
			observations(served, "{call}", by("role"), role).as("{{role}}")),
		graph("Calls served that weren't OK, by code", "No code is left out. NOT_FOUND is how a cache says miss, CANCELLED how a client leaves.",
			observations(served, "{call}", by("role", labelCode), role, isNot(labelCode, "OK")).as("{{role}} {{rpc_response_status_code}}")),
		graph("Calls served that went wrong", "Share of the calls that ended with UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE or DATA_LOSS.",
			share(observations(served, "{call}", by("role"), role, faults()), observations(served, "{call}", by("role"), role)).as("{{role}}")),
		graph("Unary calls, median", "Duration of the calls that should be answered at once. Streams and long polls have panels of their own.",
			quantile(0.5, served, by("role"), role, unary()).as("{{role}}").withExemplars()),
		graph("Unary calls, 99th percentile", "Duration of the calls that should be answered at once. Streams and long polls have panels of their own.",
			quantile(0.99, served, by("role"), role, unary()).as("{{role}}").withExemplars()),
		graph("Unary calls by method, 99th percentile", "Duration of the calls that should be answered at once, all roles chosen together.",
			quantile(0.99, served, by(labelMethod), role, unary()).as("{{rpc_method}}").withExemplars()),
		graph("Transfers by method, 99th percentile", "Duration of the streams that carry blobs and trees, to their end. It depends on what they carry.",
			quantile(0.99, served, by("role", labelMethod), role, isOneOf(labelMethod, transfers())).as("{{role}} {{rpc_method}}").withExemplars()),
		graph("Long polls and waiting streams, median", "Duration of the calls that wait for work or for a worker, to their end.",
			quantile(0.5, served, by("role", labelMethod), role, isOneOf(labelMethod, waits())).as("{{role}} {{rpc_method}}")),
		graph("Long polls and waiting streams open", "Calls that wait for work or for a worker: about one a worker, and one for each operation a client waits for.",
			total(semconv.RPCServerActive, by("role", labelMethod), role, isOneOf(labelMethod, waits())).as("{{role}} {{rpc_method}}")),
		graph("Other calls being served", "Unary calls and transfers that haven't ended. A number that stays high is a server that can't keep up.",
			total(semconv.RPCServerActive, by("role"), role, isNoneOf(labelMethod, waits())).as("{{role}}")),
		graph("Calls made that weren't OK, by code", "What the roles' own clients got, retries included. No code is left out.",
			observations(made, "{call}", by("role", labelCode), role, isNot(labelCode, "OK")).as("{{role}} {{rpc_response_status_code}}")),
		graph("Unary calls made, 99th percentile", "Duration of the roles' own calls that should be answered at once, network included.",
			quantile(0.99, made, by("role"), role, unary()).as("{{role}}").withExemplars()),
	}
}

func storage() []panel {
	store := by("instance_name", "store")
	return []panel{
		graph("Bytes held", "Size of each store. A store at its quota evicts.",
			total(semconv.StorageSize, store).as("{{instance_name}} {{store}}"),
			total(semconv.StorageQuota, store).as("{{instance_name}} {{store}} quota")),
		graph("Quota used", "Size of each store as a share of its quota; stores without one aren't shown.",
			share(total(semconv.StorageSize, store), total(semconv.StorageQuota, store)).as("{{instance_name}} {{store}}")),
		graph("Bytes evicted", "Bytes thrown out to stay within the quota. Results that lose an output are incomplete look-ups later.",
			rate(semconv.StorageEvicted, store).as("{{instance_name}} {{store}}")),
		stacked("Action cache look-ups", "Look-ups of action results, by what they found. Incomplete: an output is gone from the CAS.",
			rate(semconv.ActionCacheLookups, by("result")).as("{{result}}")),
		graph("Action cache hits by instance", "Share of the look-ups of action results that found one, all outputs still there.",
			share(rate(semconv.ActionCacheLookups, by("instance_name"), is("result", "hit")), rate(semconv.ActionCacheLookups, by("instance_name"))).as("{{instance_name}}")),
		stacked("Digests asked for", "Digests in FindMissingBlobs. A missing one is uploaded next.",
			rate(semconv.StorageDigests, by("result")).as("{{result}}")),
		graph("Bytes read", "Blob bytes served.",
			rate(semconv.StorageRead, by("instance_name")).as("{{instance_name}}")),
		graph("Bytes written", "Blob bytes accepted.",
			rate(semconv.StorageWritten, by("instance_name")).as("{{instance_name}}")),
	}
}

func casd() []panel {
	return []panel{
		stacked("Input roots staged", "Input roots staged now, by how.",
			total(semconv.CasdStaged, by("mode")).as("{{mode}}")),
		graph("Time to stage an input root", "Time from a StageTree request to its first response: part of an action's input fetch.",
			quantile(0.5, semconv.CasdStageDuration, by("mode")).as("{{mode}} median"),
			quantile(0.99, semconv.CasdStageDuration, by("mode")).as("{{mode}} 99th percentile")),
		graph("Bytes between casd and storage", "Blob bytes brought into the local caches, and sent from them. What is fetched again and again doesn't fit the cache.",
			rate(semconv.CasdFetched, by()).as("fetched"),
			rate(semconv.CasdUploaded, by()).as("uploaded")),
	}
}

func proxyAndTelemetry() []panel {
	role := chosen(role())
	return []panel{
		graph("Builds under way", "Builds whose calls the proxy saw in the last half minute.",
			total(semconv.ProxyInvocations, by()).as("builds")),
		stacked("Calls refused, by reason", "Calls that authentication or authorization refused.",
			rate(semconv.ProxyAuthFailures, by("reason")).as("{{reason}}")),
		graph("Age of the credentials in force", "Time since keys and tokens were last confirmed by their file.",
			age(semconv.ProxyCredentialsLoaded, by("file")).as("{{file}}")),
		graph("Credentials that could not be read", "Reloads of keys or tokens that changed nothing. A key taken out of its file still works meanwhile.",
			rate(semconv.ProxyCredentialsFailures, by("file")).as("{{file}}")),
		graph("Spans exported", "Spans an exporter accepted.",
			rate(semconv.SpansExported, by("role", "exporter"), role).as("{{role}} {{exporter}}")),
		graph("Spans lost by exporter", "Spans dropped because a queue was full or an exporter failed.",
			rate(semconv.SpansDropped, by("role", "exporter"), role).as("{{role}} {{exporter}}")),
		graph("Spans sampled out", "Spans let go on purpose: of builds that were not sampled, and in which nothing failed, was slow or was retried.",
			rate(semconv.SpansSampledOut, by("role"), role).as("{{role}}")),
	}
}

// quantiles are the usual three of a histogram, over all of its series.
func quantiles(m semconv.Metric) []query {
	return []query{
		quantile(0.5, m, by()).as("median"),
		quantile(0.9, m, by()).as("90th percentile"),
		quantile(0.99, m, by()).as("99th percentile"),
	}
}
