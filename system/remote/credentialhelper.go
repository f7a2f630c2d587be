package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"google.golang.org/grpc/status"
)

const (
	// helperTimeout is how long a helper may take: Bazel's default.
	helperTimeout = 10 * time.Second
	// helperLifetime is how long headers are good of which the helper doesn't say it:
	// Bazel's default.
	helperLifetime = 30 * time.Minute
	// maxHelperReply bounds what a helper says: gRPC servers take 8 KiB of headers.
	maxHelperReply = 64 << 10
	// maxHelperComplaint bounds what is passed on of what it says on stderr.
	maxHelperComplaint = 500
)

// credentialHelper sends the headers that a program tells: Bazel's protocol
// (github.com/EngFlow/credential-helper-spec). The program gets "get" as argument and the
// server's URI on its standard input.
type credentialHelper struct {
	path   string
	uri    string
	secure bool

	// mu guards the fields below.
	mu     sync.Mutex
	header map[string]string
	until  time.Time
	asking *helperRun // under way; nil if none is
}

// helperRun is a run of the program, for all calls that come while it lasts: also if it
// fails, so that they don't wait for one after the other that does.
type helperRun struct {
	done   chan struct{} // closed when the fields below are set
	header map[string]string
	err    error
}

func newCredentialHelper(path string, e endpoint) (*credentialHelper, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("credential helper: %w", err)
	}
	scheme := "http://"
	if e.secure {
		scheme = "https://"
	}
	return &credentialHelper{path: found, uri: scheme + strings.TrimPrefix(strings.TrimPrefix(e.target, "dns:///"), "unix:"), secure: e.secure}, nil
}

// RequireTransportSecurity is false on loopback, where Validate allows it.
func (h *credentialHelper) RequireTransportSecurity() bool { return h.secure }

// GetRequestMetadata returns the headers. A call that runs the program for others stays
// until it is over, even if its own ctx ends before.
func (h *credentialHelper) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	header, run, mine := h.join()
	if header != nil {
		return header, nil
	}
	if mine {
		h.do(run)
	}
	select {
	case <-run.done:
		return run.header, run.err
	case <-ctx.Done():
		// Of another error gRPC makes UNAUTHENTICATED.
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// join returns headers that are still good; or else the run that will tell them, and
// whether it is the caller's to do.
func (h *credentialHelper) join() (header map[string]string, run *helperRun, mine bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.header != nil && time.Now().Before(h.until) {
		return h.header, nil, false
	}
	if h.asking == nil {
		h.asking, mine = &helperRun{done: make(chan struct{})}, true
	}
	return nil, h.asking, mine
}

func (h *credentialHelper) do(run *helperRun) {
	header, until, err := h.ask()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking = nil
	if err != nil {
		run.err = fmt.Errorf("credential helper %s: %w", h.path, err)
	} else {
		run.header, h.header, h.until = header, header, until
	}
	close(run.done)
}

// ask runs the helper. What it says is secret, so no error quotes it.
func (h *credentialHelper) ask() (header map[string]string, until time.Time, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), helperTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]string{"uri": h.uri})
	if err != nil {
		return nil, time.Time{}, err
	}
	command := exec.CommandContext(ctx, h.path, "get")
	command.Stdin = bytes.NewReader(request)
	stdout, stderr := &head{limit: maxHelperReply}, &head{limit: maxHelperComplaint}
	command.Stdout, command.Stderr = stdout, stderr
	command.WaitDelay = time.Second
	switch err := command.Run(); {
	case ctx.Err() != nil:
		return nil, time.Time{}, fmt.Errorf("no reply within %v", helperTimeout)
	case errors.Is(err, exec.ErrWaitDelay):
		// It ended well, but a child of it keeps its output open.
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(stderr.kept)))
	}
	if stdout.cut {
		return nil, time.Time{}, fmt.Errorf("its reply is longer than %d bytes", maxHelperReply)
	}
	return parseHelperReply(stdout.kept, time.Now())
}

// parseHelperReply returns the headers of a helper's reply, and until when they are good.
func parseHelperReply(text []byte, now time.Time) (header map[string]string, until time.Time, err error) {
	var reply struct {
		Headers map[string][]string `json:"headers"`
		Expires *time.Time          `json:"expires"`
	}
	if json.Unmarshal(text, &reply) != nil {
		return nil, time.Time{}, errors.New(`its reply is not {"headers": {NAME: [VALUE…]}, "expires": TIME}`)
	}
	until = now.Add(helperLifetime)
	if reply.Expires != nil {
		until = *reply.Expires
	}
	header = make(map[string]string, len(reply.Headers))
	for name, values := range reply.Headers {
		name := strings.ToLower(name)
		value := strings.Join(values, ", ")
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || isOurHeader(name) {
			return nil, time.Time{}, fmt.Errorf("its reply has a header %.50q that can't be sent", name)
		}
		header[name] = value
	}
	return header, until, nil
}

// isOurHeader reports whether a header is gRPC's to send or not to: it sends twice what
// credentials say again.
func isOurHeader(name string) bool {
	switch name {
	case "content-type", "user-agent", "te", "host", "connection":
		return true
	}
	return strings.HasPrefix(name, "grpc-")
}

// head keeps the beginning of what is written to it.
type head struct {
	limit int
	kept  []byte
	cut   bool // there was more
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.limit-len(h.kept))
	h.kept = append(h.kept, p[:n]...)
	h.cut = h.cut || n < len(p)
	return len(p), nil
}
