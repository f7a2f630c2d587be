package jaeger_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-build/weir/traces/jaeger"
	"github.com/weir-build/weir/traces/tracecontext"
)

// traceID is the trace that is asked for.
var traceID = tracecontext.TraceID{0xc5, 0x0d, 0x33, 0x59, 0xcf, 0xcf, 0x24, 0xd8, 0xe6, 0x4e, 0x05, 0x28, 0x7d, 0x42, 0x56, 0x3e}

// secret is a token, which must not be seen anywhere.
const secret = "dGhlIHNlY3JldCB0b2tlbg"

// A real answer of Jaeger 1.76, cut down to a span, with what others may send put
// in: two parts, and names that nobody knows.
const otlp = `{"result":{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"execution-server"}}]},
"scopeSpans":[{"scope":{"name":"github.com/weir-build/weir"},"spans":[{"traceId":"c50d3359cfcf24d8e64e05287d42563e","spanId":"a6e1c5c5d1eca913",
"parentSpanId":"93afe70c50872ea6","flags":1,"name":"action","kind":1,"startTimeUnixNano":"1795592520275955393","endTimeUnixNano":"1795592520276135601",
"attributes":[{"key":"process.exit.code","value":{"intValue":"0"}},{"key":"rbe.target.id","value":{"stringValue":"//mean.o"}}],
"events":[{"timeUnixNano":"1795592520276000000","name":"note","unknown":[1,{"x":null}]}],
"links":[{"traceId":"abea9abb3ca9c630589ef256474a9065","spanId":"9cb62592b841152f","attributes":[{"key":"rbe.link.kind","value":{"stringValue":"cached"}}]}],
"status":{"message":"no","code":2}}]}]}],"unknown":{"a":[]}},"more":1}
{"result":{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"c50d3359cfcf24d8e64e05287d42563e","spanId":"6a89105085f1e379","name":"invocation"}]}]}]}}`

const otlpText = `
resource_spans {
  resource { attributes { key: "service.name" value { string_value: "execution-server" } } }
  scope_spans {
    scope { name: "github.com/weir-build/weir" }
    spans {
      trace_id: "\xc5\x0d\x33\x59\xcf\xcf\x24\xd8\xe6\x4e\x05\x28\x7d\x42\x56\x3e" span_id: "\xa6\xe1\xc5\xc5\xd1\xec\xa9\x13"
      parent_span_id: "\x93\xaf\xe7\x0c\x50\x87\x2e\xa6" flags: 1 name: "action" kind: SPAN_KIND_INTERNAL
      start_time_unix_nano: 1795592520275955393 end_time_unix_nano: 1795592520276135601
      attributes { key: "process.exit.code" value { int_value: 0 } }
      attributes { key: "rbe.target.id" value { string_value: "//mean.o" } }
      events { time_unix_nano: 1795592520276000000 name: "note" }
      links {
        trace_id: "\xab\xea\x9a\xbb\x3c\xa9\xc6\x30\x58\x9e\xf2\x56\x47\x4a\x90\x65" span_id: "\x9c\xb6\x25\x92\xb8\x41\x15\x2f"
        attributes { key: "rbe.link.kind" value { string_value: "cached" } }
      }
      status { message: "no" code: STATUS_CODE_ERROR }
    }
  }
}
resource_spans {
  scope_spans {
    spans {
      trace_id: "\xc5\x0d\x33\x59\xcf\xcf\x24\xd8\xe6\x4e\x05\x28\x7d\x42\x56\x3e" span_id: "\x6a\x89\x10\x50\x85\xf1\xe3\x79" name: "invocation"
    }
  }
}`

// serve returns a client of a server that answers by a function.
func serve(t *testing.T, answer http.HandlerFunc) *jaeger.Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return &jaeger.Client{URL: server.URL, HTTP: server.Client()}
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
}

// trace reads a trace, and what came of it before an error.
func trace(ctx context.Context, c *jaeger.Client) (*tracepb.TracesData, error) {
	all := new(tracepb.TracesData)
	err := c.Trace(ctx, traceID, func(record []byte) error {
		return proto.UnmarshalOptions{Merge: true}.Unmarshal(record, all)
	})
	return all, err
}

func TestTraceIsWhatJaegerHas(t *testing.T) {
	var asked string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		fmt.Fprint(w, otlp)
	})
	c.URL += "/base/"
	got, err := trace(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/base/api/v3/traces/c50d3359cfcf24d8e64e05287d42563e?raw_traces=true"; asked != want {
		t.Errorf("asked for %s, want %s", asked, want)
	}
	want := new(tracepb.TracesData)
	if err := prototext.Unmarshal([]byte(otlpText), want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Jaeger makes spans of no length a nanosecond long, and says so.
func TestSpanOfNoLengthIsRestored(t *testing.T) {
	const said = `{"result":{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"c50d3359cfcf24d8e64e05287d42563e","spanId":"6a89105085f1e379","name":"queued",
"startTimeUnixNano":"1795592983600556640","endTimeUnixNano":"1795592983600556641","attributes":[{"key":"rbe.attempt","value":{"intValue":"1"}},
{"key":"@jaeger@warnings","value":{"arrayValue":{"values":[%s{"stringValue":"Negative duration detected, sanitizing end timestamp. Original end timestamp: 2026-11-25 07:49:43.60055664 +0000 UTC, adjusted to: 2026-11-25 07:49:43.600556641 +0000 UTC"}]}}}]}]}]}]}}`
	for _, c := range []struct {
		other string
		attrs int
	}{{"", 1}, {`{"stringValue":"another warning"},`, 2}} {
		got, err := trace(t.Context(), serve(t, text(fmt.Sprintf(said, c.other))))
		if err != nil {
			t.Fatal(err)
		}
		span := got.ResourceSpans[0].ScopeSpans[0].Spans[0]
		if span.EndTimeUnixNano != span.StartTimeUnixNano || len(span.Attributes) != c.attrs {
			t.Errorf("with the warning %q: got %v, want no length and %d attributes", c.other, span, c.attrs)
		}
	}
}

// A real answer, cut down to three spans of two traces.
const found = `{"data":[{"traceID":"c50d3359cfcf24d8e64e05287d42563e","spans":[
{"traceID":"c50d3359cfcf24d8e64e05287d42563e","spanID":"73a7710a00cd35bd","operationName":"action","references":[{"refType":"CHILD_OF","traceID":"c50d3359cfcf24d8e64e05287d42563e","spanID":"73bb63e5133079f4"},{"refType":"FOLLOWS_FROM","traceID":"abea9abb3ca9c630589ef256474a9065","spanID":"40a3b1f82371ae83"}],"startTime":1795592520280764,"duration":201,"tags":[{"key":"process.exit.code","type":"int64","value":0}],"logs":[],"processID":"p3","warnings":null},
{"traceID":"c50d3359cfcf24d8e64e05287d42563e","spanID":"6a89105085f1e379","operationName":"invocation","references":[],"startTime":1795592520273137,"duration":8356,"tags":[{"key":"rbe.invocation.id","type":"string","value":"9abe17e7-858c-4941-a613-6b7b0f50975d"}],"processID":"p1"}],
"processes":{"p1":{"serviceName":"demo-client","tags":[]},"p3":{"serviceName":"execution-server","tags":[]}},"warnings":null},
{"traceID":"89ef256474a9065","spans":[{"operationName":"late","references":[{"refType":"CHILD_OF"}],"startTime":1795592520273138,"duration":1,"processID":"p1"}],"processes":{"p1":{"serviceName":"casd"}}},
{"traceID":"00","spans":[]}],"total":0,"limit":0,"offset":0,"errors":null}`

func TestFind(t *testing.T) {
	var asked *http.Request
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r
		fmt.Fprint(w, found)
	})
	got, err := c.Find(t.Context(), jaeger.Query{
		Service: "proxy-server", Operation: "action", Tags: map[string]string{"rbe.worker.id": `a "b"`}, MinDuration: time.Second,
		From: time.UnixMicro(7), To: time.UnixMicro(9), Limit: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	if asked.URL.Path != "/api/traces" {
		t.Errorf("asked for %s", asked.URL.Path)
	}
	for name, want := range map[string]string{
		"service": "proxy-server", "operation": "action", "tags": `{"rbe.worker.id":"a \"b\""}`, "minDuration": "1s",
		"start": "7", "end": "9", "limit": "3", "raw": "true",
	} {
		if got := asked.URL.Query().Get(name); got != want {
			t.Errorf("asked with %s=%s, want %s", name, got, want)
		}
	}
	want := []jaeger.Found{{
		Trace: tracecontext.TraceID{7: 0, 8: 0x08, 9: 0x9e, 10: 0xf2, 11: 0x56, 12: 0x47, 13: 0x4a, 14: 0x90, 15: 0x65},
		Root:  "late", Service: "casd", Start: time.UnixMicro(1795592520273138).UTC(), Duration: time.Microsecond, Spans: 1,
	}, {
		Trace: traceID, Root: "invocation", Service: "demo-client", Invocation: "9abe17e7-858c-4941-a613-6b7b0f50975d",
		Start: time.UnixMicro(1795592520273137).UTC(), Duration: 8356 * time.Microsecond, Spans: 2,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := c.Find(t.Context(), jaeger.Query{}); err == nil || !strings.Contains(err.Error(), "no service") {
		t.Errorf("without a service: got %v", err)
	}
}

func TestServicesAreSorted(t *testing.T) {
	got, err := serve(t, text(`{"data":["b","a"],"errors":null}`)).Services(t.Context())
	if err != nil || !cmp.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v and %v", got, err)
	}
	if got, err := serve(t, text(`{"data":null}`)).Services(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("got %v and %v, want nothing", got, err)
	}
}

// cutAfter answers with a part of a text and ends the connection.
func cutAfter(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(s)+1))
		fmt.Fprint(w, s)
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		is     error
		want   []string
	}{
		{"unknown trace", status(404, `{"error":{"httpCode":404,"message":"No traces found"}}`), jaeger.ErrUnknown, []string{"404 Not Found", "take seconds to arrive"}},
		{"no spans", text(`{"result":{}}`), jaeger.ErrUnknown, nil},
		{"another server", status(404, "404 page not found\n"), nil, []string{`"404 page not found"`, "16686", "base path"}},
		{"OTLP over HTTP", status(405, "405 method not allowed, supported: [POST]"), nil, []string{"nobody there knows Jaeger's API"}},
		{"no token", status(401, "who are you?\nreally"), nil, []string{"401 Unauthorized", `"who are you?"`, "give a token"}},
		{"its own error", status(500, `{"data":null,"errors":[{"code":500,"msg":"search depth"}]}`), nil, []string{"500 Internal Server Error", `"search depth"`}},
		{"TLS", status(400, "Client sent an HTTP request to an HTTPS server.\n"), nil, []string{"400 Bad Request", "to an HTTPS server"}},
		{"a page", text("\n <!doctype html>\n<body>"), nil, []string{"200 OK with a page", `"<!doctype html>"`, "login page", "base path"}},
		{"a text", text("ok"), nil, []string{"something else than JSON", `"ok"`}},
		{"nothing", text(""), jaeger.ErrCutShort, []string{"empty"}},
		{"cut in a span", cutAfter(otlp[:700]), jaeger.ErrCutShort, []string{"after 700 bytes"}},
		{"cut between parts", cutAfter(otlp), jaeger.ErrCutShort, nil},
		{"unclosed", text(`{"result":{"resourceSpans":[`), jaeger.ErrCutShort, nil},
		{"an error behind spans", text(otlp + `{"error":{"message":"storage went away"}}`), nil, []string{`"storage went away"`}},
		{"more", text(otlp + "]"), nil, []string{"invalid character ']'"}},
		{"no OTLP", text(`{"result":{"resourceSpans":[{"scopeSpans":7}]}}`), nil, []string{"no OTLP"}},
		{"an array", text(`{"result":[]}`), nil, []string{"got [, want {"}},
		{"an id that isn't hex", text(`{"result":{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zzzz"}]}]}]}}`), nil, []string{`id "zzzz"`}},
	} {
		client := serve(t, c.answer)
		client.Token = secret
		_, err := trace(t.Context(), client)
		if err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.is)
			continue
		}
		for _, want := range append(c.want, "GET "+client.URL+"/api/v3/traces/") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, which lacks %q", c.name, err, want)
			}
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %q has the token", c.name, err)
		}
	}
}

func TestWhatCameBeforeACutIsKept(t *testing.T) {
	second := strings.LastIndex(otlp, `{"result"`)
	got, err := trace(t.Context(), serve(t, cutAfter(otlp[:second+60])))
	if !errors.Is(err, jaeger.ErrCutShort) || len(got.ResourceSpans) != 1 {
		t.Errorf("got %d ResourceSpans and %v, want 1 and ErrCutShort", len(got.ResourceSpans), err)
	}
}

func TestAnswerIsBounded(t *testing.T) {
	for _, c := range []struct {
		limit int
		is    error
	}{{len(otlp), nil}, {len(otlp) - 1, jaeger.ErrTooLarge}, {10, jaeger.ErrTooLarge}} {
		client := serve(t, text(otlp))
		client.MaxBytes = int64(c.limit)
		if _, err := trace(t.Context(), client); !errors.Is(err, c.is) {
			t.Errorf("limit %d of %d bytes: got %v, want %v", c.limit, len(otlp), err, c.is)
		}
	}
}

func TestURLIsChecked(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"127.0.0.1:16686", "can't be read"},
		{"localhost:16686", "want http:// or https://"},
		{"", "want http:// or https://"},
		{"ftp://user:" + secret + "@host", "want http:// or https://"},
		{"http://host/?x=1", "want no ?"},
		{"http://user:" + secret + "@ho st", "can't be read"},
	} {
		_, err := trace(t.Context(), &jaeger.Client{URL: c.url})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v, want %q", c.url, err, c.want)
		}
	}
}

// listen returns the URL of a port where conversations are had by a function; nil
// closes the port.
func listen(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if talk == nil {
		listener.Close()
		return "http://" + listener.Addr().String()
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			talk(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { listener.Close(); <-ended })
	return "http://" + listener.Addr().String()
}

func TestOtherPorts(t *testing.T) {
	closed := &jaeger.Client{URL: listen(t, nil)}
	if _, err := trace(t.Context(), closed); err == nil || !strings.Contains(err.Error(), "connection refused: is Jaeger up") {
		t.Errorf("a closed port: got %v", err)
	}
	// What a gRPC server says first: HTTP/2's SETTINGS.
	grpc := &jaeger.Client{URL: listen(t, func(conn net.Conn) {
		_, _ = conn.Write([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"))
		_, _ = conn.Read(make([]byte, 4096))
	})}
	if _, err := trace(t.Context(), grpc); err == nil || !strings.Contains(err.Error(), "4317 for gRPC") {
		t.Errorf("a port for gRPC: got %v", err)
	}
	tls := serve(t, text(otlp))
	tls.URL = strings.Replace(tls.URL, "http://", "https://", 1)
	if _, err := trace(t.Context(), tls); err == nil || !strings.Contains(err.Error(), "begins with http://") {
		t.Errorf("a port without TLS: got %v", err)
	}
}

// A server that doesn't answer in time: not at all, or not to the end.
func TestAnswerInTime(t *testing.T) {
	for _, begin := range []string{"", otlp[:200]} {
		client := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if begin != "" {
				fmt.Fprint(w, begin)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		})
		client.HTTP.Timeout = 50 * time.Millisecond
		if _, err := trace(t.Context(), client); err == nil || !strings.Contains(err.Error(), "within 50ms") {
			t.Errorf("after %d bytes: got %v", len(begin), err)
		}
	}
}

func TestTokenStaysWithItsHost(t *testing.T) {
	strangers := 0
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers++ }))
	defer stranger.Close()
	var shown []string
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		shown = append(shown, r.Header.Get("Authorization"))
		http.Redirect(w, r, stranger.URL+"/login?next="+secret, http.StatusFound)
	})
	client.Token = secret
	_, err := trace(t.Context(), client)
	if err == nil || !strings.Contains(err.Error(), "302 Found to "+stranger.URL+"/login, which isn't followed") || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
	if !cmp.Equal(shown, []string{"Bearer " + secret}) || strangers != 0 {
		t.Errorf("shown %q, and %d requests to another host", shown, strangers)
	}
}

// canned is a transport that answers without a network.
type canned []byte

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Header: http.Header{}, Request: r, Body: io.NopCloser(bytes.NewReader(c)),
	}, nil
}

// FuzzTrace checks that no answer makes the client panic, and that what it gives
// out is TracesData.
func FuzzTrace(f *testing.F) {
	for _, seed := range []string{otlp, otlp[:500], `{}`, `{"result":null}`, `{"error":{"message":"no"}}`, `{"result":{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"AA=="}]}]}]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		client := &jaeger.Client{URL: "http://jaeger", HTTP: &http.Client{Transport: canned(answer)}}
		if err := client.Trace(t.Context(), traceID, func(record []byte) error {
			return proto.Unmarshal(record, new(tracepb.TracesData))
		}); err != nil && !strings.HasPrefix(err.Error(), "GET http://jaeger/api/v3/traces/") {
			t.Errorf("got %v", err)
		}
	})
}

// FuzzFind checks that no answer makes the client panic, and that what it finds
// is in order.
func FuzzFind(f *testing.F) {
	for _, seed := range []string{found, found[:900], `{}`, `{"data":null}`, `{"errors":[{"msg":"no"}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		client := &jaeger.Client{URL: "http://jaeger", HTTP: &http.Client{Transport: canned(answer)}}
		all, err := client.Find(t.Context(), jaeger.Query{Service: "proxy-server"})
		for i, f := range all {
			if f.Spans < 1 || f.Duration < 0 || i > 0 && f.Start.After(all[i-1].Start) {
				t.Errorf("got %+v and %v", all, err)
			}
		}
	})
}
