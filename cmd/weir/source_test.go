package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/traces/semconv"
)

// writeDamaged writes a file of two spans of a trace, with what can't be read
// between them and at the end, and beside it the same without.
func writeDamaged(env *testscript.Env) error {
	record := func(id byte, name string, parent []byte) []byte {
		data, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{
			TraceId: append([]byte{1}, make([]byte, 15)...), SpanId: []byte{id, 7: 0}, ParentSpanId: parent, Name: name,
			StartTimeUnixNano: 1_000, EndTimeUnixNano: 2_000,
			Attributes: []*commonpb.KeyValue{{Key: semconv.AttrInvocationID, Value: &commonpb.AnyValue{
				Value: &commonpb.AnyValue_StringValue{StringValue: "9abe17e7-858c-4941-a613-6b7b0f50975d"},
			}}},
		}}}}}}})
		if err != nil {
			panic(err)
		}
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
	}
	first, behind := record(1, "first", nil), record(2, "behind", []byte{1, 7: 0})
	damaged := bytes.Join([][]byte{first, {0, 0, 0, 2, 0xff, 0xff}, behind, {0, 0, 0, 100, 1, 2, 3}}, nil)
	return errors.Join(
		os.WriteFile(filepath.Join(env.WorkDir, "damaged.otlp"), damaged, 0o600),
		os.WriteFile(filepath.Join(env.WorkDir, "whole.otlp"), append(first, behind...), 0o600),
	)
}

// weir runs the program and returns its exit code and what it printed.
func weir(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"weir"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// A damaged file has a limited number of lines, however many records can't be
// read.
func TestProblemsAreCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spans.otlp")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0, 0, 0, 1, 0xff}, 50), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := weir(t, "trace", "check", path)
	if got := strings.Count(stderr, "at byte"); code != exitFailed || got < maxProblems || !strings.Contains(stderr, "and 30 more records") {
		t.Errorf("exit code %d with %d places:\n%s", code, got, stderr)
	}
}

// A Jaeger of a few builds, of which one has a trace id of the client's choice.
func TestBuildsAreListedAndChosen(t *testing.T) {
	const (
		chosen     = "c50d3359cfcf24d8e64e05287d42563e"
		derived    = "9abe17e7858c4941a6136b7b0f50975d"
		invocation = "af9c5670-a5ac-4a2a-9435-4c8ad2f668c6"
	)
	one := func(id, invocation string, start int) string {
		return fmt.Sprintf(`{"traceID":%q,"spans":[{"operationName":"invocation","startTime":%d,"duration":1500000,"processID":"p","tags":[{"key":"rbe.invocation.id","value":%q}]}],"processes":{"p":{"serviceName":"proxy-server"}}}`, id, start, invocation)
	}
	first, second := one(chosen, invocation, 1795592520000000), one(derived, "9abe17e7-858c-4941-a613-6b7b0f50975d", 1795592530000000)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, isTrace := strings.CutPrefix(r.URL.Path, "/api/v3/traces/")
		switch {
		case r.Header.Get("Authorization") != "Bearer right":
			http.Error(w, "wrong token", http.StatusUnauthorized)
		case isTrace && (id == chosen || id == derived):
			fmt.Fprintf(w, `{"result":{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":%q,"spanId":"6a89105085f1e379","name":"invocation","startTimeUnixNano":"5","endTimeUnixNano":"6"}]}]}]}}`, id)
		case isTrace:
			http.Error(w, `{"error":{"message":"No traces found"}}`, http.StatusNotFound)
		case strings.Contains(r.URL.RawQuery, "tags=") && !strings.Contains(r.URL.RawQuery, invocation):
			fmt.Fprint(w, `{"data":[]}`)
		case strings.Contains(r.URL.RawQuery, "tags="):
			fmt.Fprintf(w, `{"data":[%s]}`, first)
		default:
			fmt.Fprintf(w, `{"data":[%s,%s]}`, first, second)
		}
	}))
	defer server.Close()
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "choose a build"},
		{nil, exitUsage, derived + "  2026-11-25 07:42:10      1.5s       1 spans  invocation @proxy-server 9abe17e7-858c-4941-a613-6b7b0f50975d\n  " + chosen},
		{[]string{"--trace", "c50d"}, 0, "1 trace, 1 span"},
		{[]string{"--trace", derived}, 0, "1 trace, 1 span"},
		{[]string{"--trace", ""}, exitUsage, "choose a build"},
		{[]string{"--trace", "abc"}, exitFailed, "no trace abc among the latest 2"},
		{[]string{"--trace", "00000000000000000000000000000001"}, exitFailed, "no such trace"},
		{[]string{"--invocation", "9abe17e7-858c-4941-a613-6b7b0f50975d"}, 0, "1 trace, 1 span"},
		{[]string{"--invocation", invocation}, 0, "1 trace, 1 span"},
		{[]string{"--invocation", "another"}, exitFailed, "invocation another: "},
	} {
		code, stdout, stderr := weir(t, append([]string{"trace", "check", "--jaeger", server.URL, "--jaeger-token-file", token}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%q: exit code %d, want %d and %q:\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
	}
	t.Setenv(tokenVariable, "wrong")
	code, _, stderr := weir(t, "trace", "check", "--jaeger", server.URL)
	if code != exitFailed || !strings.Contains(stderr, "401 Unauthorized") || !strings.Contains(stderr, "give a token") {
		t.Errorf("with the wrong token: exit code %d: %s", code, stderr)
	}
	t.Setenv(tokenVariable, "right")
	if code, _, stderr := weir(t, "trace", "check", "--jaeger", server.URL, "--trace", chosen); code != 0 {
		t.Errorf("with the right token: exit code %d: %s", code, stderr)
	}
}

// A Jaeger without builds says what it has.
func TestJaegerWithoutBuilds(t *testing.T) {
	for services, want := range map[string]string{`["shop"]`: "it has spans of shop", `[]`: "it has no spans at all"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/services" {
				fmt.Fprintf(w, `{"data":%s}`, services)
				return
			}
			fmt.Fprint(w, `{"data":[]}`)
		}))
		code, _, stderr := weir(t, "trace", "tree", "--jaeger", server.URL)
		if code != exitFailed || !strings.Contains(stderr, want) || !strings.Contains(stderr, "OTEL_EXPORTER_OTLP_ENDPOINT") {
			t.Errorf("exit code %d, want %q: %s", code, want, stderr)
		}
		server.Close()
	}
}
