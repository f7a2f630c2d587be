package semconv

// Metrics of the execution-server.
var (
	QueueDepth = Metric{"weir_queue_depth", Gauge, "{task}",
		"Tasks waiting for a worker.", []string{"instance_name", "platform"}}
	QueueOldestAge = Metric{"weir_queue_oldest_age_seconds", Gauge, "s",
		"How long the task at the head of the queue has waited.", []string{"instance_name", "platform"}}
	QueueWait = Metric{"weir_queue_wait_seconds", Histogram, "s",
		"Time from enqueueing to the offer of a lease, each attempt.", []string{"instance_name", "platform"}}
	TasksExecuting = Metric{"weir_tasks_executing", Gauge, "{task}",
		"Tasks leased to a worker.", []string{"instance_name", "platform"}}
	Operations = Metric{"weir_operations_total", Counter, "{operation}",
		"Operations ended, by how they got their result (executed, cached, deduplicated) and the gRPC code of the response.", []string{"outcome", "code"}}
	TaskRetries = Metric{"weir_task_retries_total", Counter, "{attempt}",
		"Attempts that ended without a result and were followed by another.", []string{"reason"}}
	StageDuration = Metric{"weir_stage_duration_seconds", Histogram, "s",
		"Duration of the stages of executed actions, from ExecutedActionMetadata.", []string{"stage"}}
	Workers = Metric{"weir_workers", Gauge, "{worker}",
		"Worker sessions, by bot status.", []string{"instance_name", "status"}}
	WorkerSlots = Metric{"weir_worker_slots", Gauge, "{slot}",
		"Slots of the workers that take work, busy or idle.", []string{"instance_name", "state"}}
	SessionsExpired = Metric{"weir_sessions_expired_total", Counter, "{session}",
		"Worker sessions lost to silence.", nil}
	BotPolls = Metric{"weir_bot_polls_total", Counter, "{poll}",
		"Bots polls answered, by what they brought: lease, change or nothing.", []string{"outcome"}}
	JournalWritten = Metric{"weir_journal_written_bytes_total", Counter, "By",
		"Bytes written to the journal, snapshots included.", nil}
	JournalSyncs = Metric{"weir_journal_syncs_total", Counter, "{sync}",
		"Times the journal was brought to disk, for all that waited for it.", nil}
	JournalSyncTime = Metric{"weir_journal_sync_seconds_total", Counter, "s",
		"Time that the disk took for that.", nil}
)

var executionMetrics = []Metric{QueueDepth, QueueOldestAge, QueueWait, TasksExecuting, Operations, TaskRetries,
	StageDuration, Workers, WorkerSlots, SessionsExpired, BotPolls, JournalWritten, JournalSyncs, JournalSyncTime}
