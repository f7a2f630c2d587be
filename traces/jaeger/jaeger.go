// Package jaeger reads traces back from Jaeger v2, over the HTTP API that its own
// user interface uses: the traces of a cluster that sends its spans there can be
// checked and explained as those of a run folder are.
//
//	c := &jaeger.Client{URL: "http://127.0.0.1:16686"}
//	builds, err := c.Find(ctx, jaeger.Query{Service: "proxy-server"})
//	…
//	checker := lifecycle.NewChecker(lifecycle.Options{})
//	err = c.Trace(ctx, builds[0].Trace, checker.AddRecord)
//
// Jaeger has two such APIs, and each can what the other can't. Version 3 answers
// with the spans as they came in, in OTLP's JSON: nanoseconds, attributes of links,
// kinds. The older one, which the user interface is made for, rounds times to
// microseconds and drops the attributes of links, but it alone can search by
// attributes ("tags"). So [Client.Find] asks the older one which traces there are,
// and [Client.Trace] version 3 for all of one. Both ask for raw traces: otherwise
// Jaeger moves spans where it thinks that clocks differ, and drops spans that look
// like others.
//
// Spans come as serialized TracesData, which is what run folders have and
// traces/lifecycle reads. This package knows nothing of what is in them, but for
// the invocation id in a list of builds.
package jaeger

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

const (
	// Timeout bounds a question and its answer, unless Client.HTTP has a bound of
	// its own. Jaeger puts an answer together before it sends the first byte, which
	// takes seconds for 100,000 spans.
	Timeout = 2 * time.Minute
	// MaxAnswerBytes bounds an answer, unless the Client says otherwise. A span of an
	// action takes about 600 bytes in JSON, so that this is well over a million.
	MaxAnswerBytes = 1 << 30
	// maxRefusalBytes is how much is read of an answer that isn't the one wanted: its
	// first line is shown.
	maxRefusalBytes = 64 << 10
	// maxShownBytes is how much of that line.
	maxShownBytes = 200
)

var (
	// ErrUnknown is a trace that Jaeger doesn't have.
	ErrUnknown = errors.New("it has no such trace: spans take seconds to arrive, and old traces make room for new ones")
	// ErrTooLarge is an answer larger than the client takes.
	ErrTooLarge = errors.New("the answer is larger than an answer may be")
	// ErrCutShort is an answer that ends before it is whole.
	ErrCutShort = errors.New("the answer ends in the middle")
)

// A Client asks one Jaeger. It is safe for concurrent use if its fields stay as
// they are. Its errors name the URL, without passwords, and never the token.
type Client struct {
	// URL is where the query API is, with the base path if it has one:
	// http://127.0.0.1:16686, or https://tools.example.com/jaeger.
	URL string
	// Token, if it isn't empty, is shown as a bearer token. Redirects are not
	// followed, so that no other host ever gets it.
	Token string
	// HTTP makes the requests; nil means a client with Timeout.
	HTTP *http.Client
	// MaxBytes bounds an answer; 0 means MaxAnswerBytes.
	MaxBytes int64
}

// get asks for a path below the URL and gives the answer to read, a JSON object or
// several.
func (c *Client) get(ctx context.Context, query url.Values, read func(*json.Decoder) error, path ...string) error {
	base, err := ParseURL(c.URL)
	if err != nil {
		return err
	}
	at := base.JoinPath(path...)
	at.RawQuery = query.Encode()
	if err := c.ask(ctx, at, read); err != nil {
		return fmt.Errorf("GET %s: %w", at.Redacted(), err)
	}
	return nil
}

// ParseURL reads the URL of a query API.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// Its message would quote all of the URL, which may have a password.
		return nil, errors.New("the URL of Jaeger can't be read: want one such as http://127.0.0.1:16686")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the URL of Jaeger is %q: want http:// or https://, a host, and a port, such as http://127.0.0.1:16686", u.Redacted())
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the URL of Jaeger is %q: want no ? and no #, only where its API begins, such as http://127.0.0.1:16686", u.Redacted())
	}
	return u, nil
}

func (c *Client) ask(ctx context.Context, at *url.URL, read func(*json.Decoder) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := c.client()
	response, err := client.Do(request)
	if err != nil {
		return unreachable(err, client.Timeout)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refused(response)
	}
	limit := c.MaxBytes
	if limit == 0 {
		limit = MaxAnswerBytes
	}
	body := &limited{in: response.Body, limit: limit}
	buffered := bufio.NewReader(body)
	if err := wantObject(buffered, response); err != nil {
		return err
	}
	return whole(read(json.NewDecoder(buffered)), body, client.Timeout)
}

// client returns what makes the requests, and follows no redirect.
func (c *Client) client() *http.Client {
	client := http.Client{Timeout: Timeout}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// unreachable says why there is no answer, and what to do.
func unreachable(err error, timeout time.Duration) error {
	var of *url.Error
	if errors.As(err, &of) {
		if of.Timeout() {
			return fmt.Errorf("no answer within %v: %w", timeout, of.Err)
		}
		err = of.Err // the rest of it is the URL again
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: is Jaeger up, and is this the port of its query API (16686 unless configured)?", err)
	// The second is what net/http says if the server spoke before it was asked.
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "readLoopPeekFail"):
		return errors.New("the answer isn't HTTP/1: is this a port that takes spans, such as 4317 for gRPC? The query API is at 16686 unless configured")
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w: the URL begins with http://", err)
	}
	return err
}

// refused says what another status than 200 means, and what to do.
func refused(response *http.Response) error {
	if to := response.Header.Get("Location"); to != "" && response.StatusCode/100 == 3 {
		return fmt.Errorf("%s to %s, which isn't followed: if that is a login, give a token or the URL behind it; if it is where Jaeger is, give that URL",
			response.Status, place(to))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusalBytes))
	if err != nil {
		return fmt.Errorf("%s, and then: %w", response.Status, err)
	}
	// Both APIs say in JSON what is wrong.
	var said struct {
		Error  struct{ Message string }
		Errors []struct{ Msg string }
	}
	_ = json.Unmarshal(body, &said) // others don't
	message := said.Error.Message
	if len(said.Errors) > 0 {
		message = said.Errors[0].Msg
	}
	switch {
	case message != "" && response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s: %w", response.Status, ErrUnknown)
	case message != "":
		return fmt.Errorf("%s: it says %q", response.Status, cut(message))
	case response.StatusCode == http.StatusNotFound, response.StatusCode == http.StatusMethodNotAllowed:
		return fmt.Errorf("%s: %s: nobody there knows Jaeger's API: its port is 16686 unless configured, and a base path belongs to the URL", response.Status, firstLine(body))
	case response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: %s: it wants to know who asks: give a token, or another one", response.Status, firstLine(body))
	}
	return fmt.Errorf("%s: %s", response.Status, firstLine(body))
}

// place is a URL without what may be secret in it.
func place(location string) string {
	u, err := url.Parse(location)
	if err != nil {
		return "a place that can't be read"
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return u.String()
}

// wantObject checks that an answer begins as JSON does.
func wantObject(in *bufio.Reader, response *http.Response) error {
	for {
		next, err := in.Peek(1)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("%s: %w: it is empty", response.Status, ErrCutShort)
			}
			return err
		}
		switch next[0] {
		case ' ', '\t', '\r', '\n':
			_, _ = in.Discard(1) // it is there
			continue
		case '{':
			return nil
		}
		line, err := in.Peek(maxShownBytes)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if next[0] == '<' || strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
			return fmt.Errorf("%s with a page, not JSON: %s: is it a login page, or does a base path lack in the URL?", response.Status, firstLine(line))
		}
		return fmt.Errorf("%s with something else than JSON: %s: is this Jaeger's query API (port 16686 unless configured)?", response.Status, firstLine(line))
	}
}

// firstLine returns the beginning of a text, quoted.
func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if line == "" {
		return "without a reason"
	}
	return fmt.Sprintf("%q", cut(strings.TrimSpace(line)))
}

func cut(text string) string {
	if len(text) > maxShownBytes {
		return strings.ToValidUTF8(text[:maxShownBytes], "") + "…"
	}
	return text
}

// limited is an answer, and how much of it has been read.
type limited struct {
	in          io.Reader
	read, limit int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.read > l.limit {
		return 0, fmt.Errorf("%w: limit %d bytes", ErrTooLarge, l.limit)
	}
	// One byte more than allowed tells whether there is more.
	p = p[:min(int64(len(p)), l.limit+1-l.read)]
	n, err := l.in.Read(p)
	if l.read += int64(n); l.read > l.limit {
		return n - 1, fmt.Errorf("%w: limit %d bytes", ErrTooLarge, l.limit)
	}
	return n, err
}

// whole says what kept an answer from being read to its end.
func whole(err error, body *limited, timeout time.Duration) error {
	var late interface{ Timeout() bool }
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w, after %d bytes", ErrCutShort, body.read)
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("no whole answer within %v, %d bytes so far: %w", timeout, body.read, err)
	}
	return err
}
