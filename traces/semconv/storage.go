package semconv

// Metrics of the storage-server, and of any other holder of a store.
var (
	StorageSize = Metric{"weir_storage_size_bytes", Gauge, "By",
		"Bytes held.", []string{"instance_name", "store"}}
	StorageQuota = Metric{"weir_storage_quota_bytes", Gauge, "By",
		"Bytes that may be held before the least recently used are evicted.", []string{"instance_name", "store"}}
	StorageEvicted = Metric{"weir_storage_evicted_bytes_total", Counter, "By",
		"Bytes evicted to stay within the quota.", []string{"instance_name", "store"}}
	StorageRead = Metric{"weir_storage_read_bytes_total", Counter, "By",
		"Blob bytes served.", []string{"instance_name"}}
	StorageWritten = Metric{"weir_storage_written_bytes_total", Counter, "By",
		"Blob bytes accepted.", []string{"instance_name"}}
	StorageDigests = Metric{"weir_storage_digests_total", Counter, "{digest}",
		"Digests asked for by FindMissingBlobs, present or missing.", []string{"instance_name", "result"}}
	ActionCacheLookups = Metric{"weir_action_cache_lookups_total", Counter, "{lookup}",
		"Look-ups of action results: hit, miss, or incomplete when an output is gone from the CAS.", []string{"instance_name", "result"}}
)

var storageMetrics = []Metric{StorageSize, StorageQuota, StorageEvicted, StorageRead, StorageWritten, StorageDigests, ActionCacheLookups}
