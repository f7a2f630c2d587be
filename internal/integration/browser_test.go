//go:build integration

package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// browserLimit bounds how long the browser may take to answer.
const browserLimit = 60 * time.Second

// A browser is Chromium without a window, with one page in it. It is told what
// to do by the DevTools protocol, over a pair of pipes: JSON messages that end
// with a zero byte. That needs no WebSocket, and no port.
type browser struct {
	t       *testing.T
	session string
	to      *os.File

	mu      sync.Mutex
	sent    int                       // guarded by mu: messages so far
	waiting map[int]chan browserReply // guarded by mu: by the message's id
	events  []browserReply            // guarded by mu: what the page did
}

// A browserReply is what the browser says: the answer to a message, or an event.
type browserReply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// browse starts the browser, which ends with the test.
func browse(t *testing.T) *browser {
	t.Helper()
	path := program(t, "chromium")
	commands, to := pipe(t)
	from, answers := pipe(t)
	command := exec.Command(path,
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-breakpad", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--window-size=1280,800", "--remote-debugging-pipe")
	command.ExtraFiles = []*os.File{commands, answers} // its descriptors 3 and 4
	p := start(t, command)
	commands.Close()
	answers.Close()
	b := &browser{t: t, to: to, waiting: make(map[int]chan browserReply)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(from)
	}()
	t.Cleanup(func() {
		// Asked to end it takes its children with it, which write to its folder.
		_, _ = b.call("Browser.close", nil)
		p.wait(t, endLimit)
		to.Close()
		<-read
		from.Close()
	})
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.must("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.must("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Runtime", "Log", "Page", "Network"} {
		b.must(domain+".enable", nil, nil)
	}
	return b
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// read takes in what the browser says until it ends.
func (b *browser) read(from *os.File) {
	in := bufio.NewReader(from)
	for {
		message, err := in.ReadBytes(0)
		if err != nil {
			break
		}
		var reply browserReply
		if err := json.Unmarshal(message[:len(message)-1], &reply); err != nil {
			continue // then nobody gets an answer, and says so
		}
		b.mu.Lock()
		if to, ok := b.waiting[reply.ID]; ok {
			to <- reply
			delete(b.waiting, reply.ID)
		} else {
			b.events = append(b.events, reply)
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, to := range b.waiting {
		close(to)
		delete(b.waiting, id)
	}
}

// call sends a message and returns the result.
func (b *browser) call(method string, params any) (json.RawMessage, error) {
	answer := make(chan browserReply, 1)
	b.mu.Lock()
	b.sent++
	id := b.sent
	b.waiting[id] = answer
	b.mu.Unlock()
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.session != "" && !strings.HasPrefix(method, "Browser.") {
		message["sessionId"] = b.session
	}
	data, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	if _, err := b.to.Write(append(data, 0)); err != nil {
		return nil, err
	}
	timer := time.NewTimer(browserLimit)
	defer timer.Stop()
	select {
	case reply, ok := <-answer:
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: the browser has ended", method)
		case reply.Error != nil:
			return nil, fmt.Errorf("%s: %s", method, reply.Error.Message)
		}
		return reply.Result, nil
	case <-timer.C:
		return nil, fmt.Errorf("%s: no answer within %v", method, browserLimit)
	}
}

// must is call for what has to work.
func (b *browser) must(method string, params, result any) {
	b.t.Helper()
	data, err := b.call(method, params)
	if err == nil && result != nil {
		err = json.Unmarshal(data, result)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// evaluate runs JavaScript in the page and returns its value as text; a promise is
// waited for. An exception is an error.
func (b *browser) evaluate(script string) (string, error) {
	b.t.Helper()
	var got struct {
		Result struct {
			Value json.RawMessage `json:"value"` // an object after an exception
		} `json:"result"`
		ExceptionDetails json.RawMessage `json:"exceptionDetails"`
	}
	b.must("Runtime.evaluate", map[string]any{
		"expression": "(async () => String(await (" + script + ")))()", "awaitPromise": true, "returnByValue": true,
	}, &got)
	if got.ExceptionDetails != nil {
		return "", fmt.Errorf("%s: %s", script, got.ExceptionDetails)
	}
	var value string
	if err := json.Unmarshal(got.Result.Value, &value); err != nil {
		return "", fmt.Errorf("%s: %w", script, err)
	}
	return value, nil
}

// eval is evaluate of a script that must not fail.
func (b *browser) eval(script string) string {
	b.t.Helper()
	value, err := b.evaluate(script)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// key presses a key, as a keyboard does.
func (b *browser) key(key string) {
	b.t.Helper()
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		b.must("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key}, nil)
	}
}

// write enters text where the page has its focus.
func (b *browser) write(text string) {
	b.t.Helper()
	b.must("Input.insertText", map[string]any{"text": text}, nil)
}

// until waits until JavaScript is true. An exception is not yet the end: a page that
// is still loaded has no body.
func (b *browser) until(what, script string) {
	b.t.Helper()
	var last error
	defer func() {
		if b.t.Failed() && last != nil {
			b.t.Error(last)
		}
	}()
	eventually(b.t, browserLimit, what, func() bool {
		value, err := b.evaluate(script)
		last = err
		return value == "true"
	})
}

// complaints returns what the page said on its console, and its uncaught errors.
func (b *browser) complaints() []string {
	return b.eventsOf("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
}

// requests returns what was requested by the page, or to show it.
func (b *browser) requests() []string {
	b.t.Helper()
	var urls []string
	for _, params := range b.eventsOf("Network.requestWillBeSent") {
		var request struct {
			Request struct {
				URL string `json:"url"`
			} `json:"request"`
		}
		if err := json.Unmarshal([]byte(params), &request); err != nil {
			b.t.Fatal(err)
		}
		urls = append(urls, request.Request.URL)
	}
	return urls
}

func (b *browser) eventsOf(methods ...string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []string
	for _, e := range b.events {
		for _, method := range methods {
			if e.Method == method {
				list = append(list, string(e.Params))
			}
		}
	}
	return list
}
