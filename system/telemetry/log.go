package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// LogFormat is how log lines are written.
type LogFormat int

// The formats, both of log/slog.
const (
	TextLog LogFormat = iota
	JSONLog
)

// ParseLogFormat reads "text" or "json".
func ParseLogFormat(s string) (LogFormat, error) {
	switch s {
	case "text":
		return TextLog, nil
	case "json":
		return JSONLog, nil
	}
	return 0, fmt.Errorf("log format %q: want text or json", s)
}

func newLogger(cfg Config) *slog.Logger {
	if cfg.LogWriter == nil {
		cfg.LogWriter = io.Discard
	}
	options := &slog.HandlerOptions{Level: cfg.LogLevel, ReplaceAttr: hideSecrets}
	var h slog.Handler = slog.NewTextHandler(cfg.LogWriter, options)
	if cfg.LogFormat == JSONLog {
		h = slog.NewJSONHandler(cfg.LogWriter, options)
	}
	return slog.New(traceHandler{h}).With("role", cfg.Role)
}

// hideSecrets replaces the value of attributes whose key says that it is a
// credential, whatever group they are in.
func hideSecrets(_ []string, a slog.Attr) slog.Attr {
	for _, secret := range []string{"authorization", "token", "password", "secret"} {
		if strings.Contains(strings.ToLower(a.Key), secret) {
			return slog.String(a.Key, "[hidden]")
		}
	}
	return a
}

// traceHandler adds the ids of the context's span to each record, under the
// names that OpenTelemetry gives them in logs that are not OTLP.
type traceHandler struct{ slog.Handler }

func (h traceHandler) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}
