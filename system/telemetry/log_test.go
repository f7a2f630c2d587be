package telemetry_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/tracecontext"
)

func TestLogLineNamesRoleAndSpan(t *testing.T) {
	var log lockedBuffer
	r, err := telemetry.New(t.Context(), telemetry.Config{Role: "worker", LogWriter: &log, LogFormat: telemetry.JSONLog})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Shutdown(t.Context())
	parent, err := tracecontext.Parse(traceparent)
	if err != nil {
		t.Fatal(err)
	}
	logger := r.Logger.With("component", "lease")
	logger.InfoContext(telemetry.WithParent(t.Context(), parent), "within a span")
	logger.Info("outside")
	logger.Debug("below the level")

	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines, want 2: %q", len(lines), lines)
	}
	var within, outside map[string]any
	for i, into := range []*map[string]any{&within, &outside} {
		if err := json.Unmarshal([]byte(lines[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range map[string]any{"role": "worker", "component": "lease", "msg": "within a span",
		"trace_id": parent.Trace.String(), "span_id": parent.Span.String()} {
		if within[key] != want {
			t.Errorf("%s is %v, want %v", key, within[key], want)
		}
	}
	if _, ok := outside["trace_id"]; ok {
		t.Errorf("a line outside of spans has a trace id: %v", outside)
	}
}

func TestCredentialsAreNotLogged(t *testing.T) {
	r := newRole(t, "proxy-server")
	const secret = "hunter2"
	r.Logger.Info("call", "authorization", secret, slog.Group("header", "Authorization", secret, "x-access-token", secret))
	r.Logger.With("client_secret", secret, "db.password", secret).Info("start", "user", "alice")
	if got := r.log.String(); strings.Contains(got, secret) || strings.Count(got, "[hidden]") != 5 || !strings.Contains(got, "alice") {
		t.Errorf("the log says %s", got)
	}
}

func TestParseLogFormat(t *testing.T) {
	for in, want := range map[string]telemetry.LogFormat{"text": telemetry.TextLog, "json": telemetry.JSONLog} {
		if got, err := telemetry.ParseLogFormat(in); err != nil || got != want {
			t.Errorf("%s: got %v and %v, want %v", in, got, err, want)
		}
	}
	if _, err := telemetry.ParseLogFormat("xml"); err == nil {
		t.Error("xml: got no error")
	}
}
