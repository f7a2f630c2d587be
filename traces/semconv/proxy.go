package semconv

// Metrics of the proxy-server.
var (
	ProxyAuthFailures = Metric{"weir_proxy_auth_failures_total", Counter, "{call}",
		"Calls refused by authentication or authorization, by reason.", []string{"reason"}}
	ProxyInvocations = Metric{"weir_proxy_active_invocations", Gauge, "{invocation}",
		"Builds seen in the last half minute.", nil}
	ProxyCredentialsLoaded = Metric{"weir_proxy_credentials_loaded_timestamp_seconds", Gauge, "s",
		"When the credentials in force were last confirmed by their file (keys or tokens), Unix time.", []string{"file"}}
	ProxyCredentialsFailures = Metric{"weir_proxy_credentials_failures_total", Counter, "{reload}",
		"Reloads of a credentials file (keys or tokens) that changed nothing because it could not be read.", []string{"file"}}
)

var proxyMetrics = []Metric{ProxyAuthFailures, ProxyInvocations, ProxyCredentialsLoaded, ProxyCredentialsFailures}
