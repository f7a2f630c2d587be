package proxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-build/weir/system/proxy"
)

const fullConfig = `listen_addresses:
- addr: 0.0.0.0:8980
  auth_scheme: jwt
  allowed_service_names:
  - build.bazel.remote.execution.v2.ContentAddressableStorage
  - build.bazel.remote.execution.v2.Execution
  tls: {cert_file: /tls/tls.crt, key_file: /tls/tls.key}
- addr: 0.0.0.0:8981
  auth_scheme: auth_token
  allowed_service_names: [google.longrunning.Bots]
backends:
  storage: {address: "storage-headless:8980", connections: 4}
  execution: {address: "execution:8980"}
default_backends: {cas: storage, action_cache: storage, execution: execution}
per_instance_backends:
  cache-only: {cas: storage, action_cache: storage}
jwk_set_path: /secrets/jwks/secret_string
auth_token_mapping: {path: /secrets/tokens.json, refresh_frequency_s: 120}
backend_timeouts: {get_action_result: 10000}
grpc: {max_concurrent_streams: 1000, concurrency_limit_per_connection: 64, drain_timeout_s: 25}
infra:
  bind_addr: 0.0.0.0:8000
  metricsz_bind_addr: 0.0.0.0:8010
  sentry_dsn: https://sentry.example
  tracing: {otel_agent: "otel:4317", sampling_probability: 0.5}
`

func TestParseConfig(t *testing.T) {
	got, err := proxy.ParseConfig([]byte(fullConfig))
	if err != nil {
		t.Fatal(err)
	}
	half := 0.5
	want := proxy.Config{
		Listeners: []proxy.Listener{
			{Addr: "0.0.0.0:8980", Scheme: proxy.JWT, Services: []string{allServices[0], allServices[3]}, TLS: &proxy.TLS{CertFile: "/tls/tls.crt", KeyFile: "/tls/tls.key"}},
			{Addr: "0.0.0.0:8981", Scheme: proxy.AuthToken, Services: []string{"google.longrunning.Bots"}},
		},
		Backends:    map[string]proxy.Backend{"storage": {Address: "storage-headless:8980", Connections: 4}, "execution": {Address: "execution:8980"}},
		Default:     proxy.Set{CAS: "storage", ActionCache: "storage", Execution: "execution"},
		PerInstance: map[string]proxy.Set{"cache-only": {CAS: "storage", ActionCache: "storage"}},
		JWKSetPath:  "/secrets/jwks/secret_string",
		Tokens:      &proxy.TokenFile{Path: "/secrets/tokens.json", RefreshSeconds: 120},
		Timeouts:    proxy.Timeouts{GetActionResultMillis: 10000},
		GRPC:        proxy.GRPC{MaxConcurrentStreams: 1000, ConcurrencyLimitPerConnection: 64, DrainSeconds: 25},
		Infra: proxy.Infra{BindAddr: "0.0.0.0:8000", MetricszBindAddr: "0.0.0.0:8010", SentryDSN: "https://sentry.example",
			Tracing: proxy.Tracing{OTelAgent: "otel:4317", SamplingProbability: &half}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestConfigProblemsNameTheirLine(t *testing.T) {
	for _, test := range []struct {
		old, new string // a change of the full configuration
		want     []string
	}{
		{"jwk_set_path:", "jwk_set_paht:", []string{`line 17: unknown key "jwk_set_paht"`, "line 1: jwk_set_path: a listener with auth_scheme jwt needs it"}},
		{"connections: 4", "conections: 4", []string{`line 12: unknown key "conections"`}},
		{"{path: /secrets/tokens.json,", "{s3_bucket: b, s3_region: r,", []string{
			`line 18: unknown key "s3_bucket": reading tokens from S3 is not supported yet; copy the map to a file and name it with path`,
			`line 18: unknown key "s3_region"`, "line 18: auth_token_mapping.path: it is not set"}},
		{"auth_token_mapping: {path: /secrets/tokens.json, refresh_frequency_s: 120}\n", "", []string{"line 1: auth_token_mapping: a listener with auth_scheme auth_token needs it"}},
		{"addr: 0.0.0.0:8981", "addr: 0.0.0.0:8980", []string{"line 8: listen_addresses[1].addr: 0.0.0.0:8980 is listened on already"}},
		{"addr: 0.0.0.0:8981", "addr: localhost", []string{`line 8: listen_addresses[1].addr: "localhost" is not HOST:PORT`}},
		{"addr: 0.0.0.0:8981", "addr: localhost:70000", []string{`line 8: listen_addresses[1].addr: "localhost:70000" has no port from 1 to 65535`}},
		{"auth_scheme: jwt", "auth_scheme: dev_only_no_auth", []string{`line 2: listen_addresses[0].addr: auth_scheme dev_only_no_auth is for loopback addresses only, not for "0.0.0.0"`}},
		{"  auth_scheme: jwt\n", "", []string{`line 2: listen_addresses[0].auth_scheme: "" is none of jwt, auth_token, dev_only_no_auth`}},
		{"v2.Execution\n", "v2.Exection\n", []string{`line 6: listen_addresses[0].allowed_service_names[1]: unknown service "build.bazel.remote.execution.v2.Exection"; there are `}},
		{", key_file: /tls/tls.key", "", []string{"line 7: listen_addresses[0].tls: cert_file and key_file are both needed"}},
		{`address: "execution:8980"`, `address: ":8980"`, []string{`line 13: backends.execution.address: ":8980" has no host`}},
		{`address: "execution:8980"`, `address: "execution:0"`, []string{`line 13: backends.execution.address: "execution:0" has no port`}},
		{"connections: 4", "connections: -1", []string{"line 12: backends.storage.connections: -1 is not between 0 and 64"}},
		{"connections: 4", "connections: four", []string{"line 12: cannot unmarshal"}},
		{"execution: execution}", "execution: exec}", []string{`line 14: default_backends.execution: there is no backend "exec" in backends`}},
		{"cache-only: {cas: storage, action_cache: storage}", "a/../b: {cas: storag}", []string{
			`line 16: per_instance_backends.a/../b.cas: there is no backend "storag" in backends`,
			"line 16: per_instance_backends.a/../b.action_cache: it is not set",
			`line 16: per_instance_backends.a/../b: malformed instance name`}},
		{"get_action_result: 10000", "get_action_result: -1", []string{"line 19: backend_timeouts.get_action_result: -1 is not between"}},
		{"sampling_probability: 0.5", "sampling_probability: .nan", []string{"line 25: infra.tracing.sampling_probability: NaN is not between 0 and 1"}},
		{"infra:", "grpc:", []string{`line 21: mapping key "grpc" already defined at line 20`}},
		{fullConfig, "", []string{"configuration is empty"}},
		{fullConfig, "\t", []string{"configuration is not YAML"}},
		{"grpc:", "---\ngrpc:", []string{"there is more than one YAML document"}},
		{fullConfig, strings.Repeat("#", 5<<20), []string{"configuration has 5242880 bytes"}},
	} {
		text := strings.Replace(fullConfig, test.old, test.new, 1)
		if text == fullConfig {
			t.Fatalf("%q is not in the full configuration", test.old)
		}
		_, err := proxy.ParseConfig([]byte(text))
		if err == nil {
			t.Errorf("%.50q for %.50q: no error", test.new, test.old)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%.50q for %.50q: got\n%v\nwant\n%s", test.new, test.old, err, want)
			}
		}
		if got := len(strings.Split(err.Error(), "\n")); len(test.want) > 1 && got != len(test.want) {
			t.Errorf("%.50q for %.50q: got %d problems, want %d:\n%v", test.new, test.old, got, len(test.want), err)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(fullConfig))
	f.Add([]byte("listen_addresses: [{addr: ':'}]\nbackends: {a: &a {address: 'b:1'}, c: *a}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := proxy.ParseConfig(data)
		if err != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("parsed, but not valid: %v", err)
		}
	})
}
