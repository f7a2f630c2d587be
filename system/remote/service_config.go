package remote

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/grpc/balancer/roundrobin"
)

// serviceConfig asks gRPC to spread calls over all addresses of the name and to
// retry what may be repeated. Execute is not: a server that took the first one
// would run the action for a client that never learns its operation.
func (c Config) serviceConfig() string {
	type name struct {
		Service string `json:"service,omitempty"`
		Method  string `json:"method,omitempty"`
	}
	type retry struct {
		MaxAttempts          int      `json:"maxAttempts"`
		InitialBackoff       string   `json:"initialBackoff"`
		MaxBackoff           string   `json:"maxBackoff"`
		BackoffMultiplier    float64  `json:"backoffMultiplier"`
		RetryableStatusCodes []string `json:"retryableStatusCodes"`
	}
	type method struct {
		Name        []name `json:"name"`
		RetryPolicy *retry `json:"retryPolicy,omitempty"`
		Timeout     string `json:"timeout,omitempty"`
	}
	retries := c.RetryLimit
	if retries == 0 || retries > maxRetries {
		retries = maxRetries
	}
	delay := c.RetryDelay
	if delay <= 0 {
		delay = time.Second
	}
	rest := method{Name: []name{{}}}
	if retries > 0 {
		rest.RetryPolicy = &retry{
			MaxAttempts:          retries + 1,
			InitialBackoff:       fmt.Sprintf("%.9fs", delay.Seconds()),
			MaxBackoff:           fmt.Sprintf("%.9fs", 10*delay.Seconds()),
			BackoffMultiplier:    1.6,
			RetryableStatusCodes: append([]string{"UNAVAILABLE"}, c.RetryOn...),
		}
	}
	// A timeout would also bound streams, so methods that wait for work to be
	// done, and those that move blobs of any size, are left alone.
	unbounded := method{RetryPolicy: rest.RetryPolicy, Name: []name{
		{Service: "build.bazel.remote.execution.v2.Execution", Method: "WaitExecution"},
		{Service: "google.longrunning.Operations"},
		{Service: "google.bytestream.ByteStream"},
		{Service: "build.buildgrid.LocalContentAddressableStorage"},
	}}
	once := method{Name: []name{
		{Service: "build.bazel.remote.execution.v2.Execution", Method: "Execute"},
		{Service: "google.devtools.remoteworkers.v1test2.Bots"},
	}}
	if c.RequestTimeout > 0 {
		rest.Timeout = fmt.Sprintf("%.9fs", c.RequestTimeout.Seconds())
	}
	text, err := json.Marshal(map[string]any{
		"loadBalancingConfig": []any{map[string]any{cmp.Or(c.Balancer, roundrobin.Name): struct{}{}}},
		"methodConfig":        []method{once, unbounded, rest},
	})
	if err != nil {
		panic("marshal service config: " + err.Error())
	}
	return string(text)
}
