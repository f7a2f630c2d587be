package remote

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// tokenFile sends the content of a file as bearer token.
type tokenFile struct {
	path   string
	reload time.Duration
	secure bool

	// mu guards the fields below.
	mu     sync.Mutex
	header map[string]string
	readAt time.Time
}

func (t *tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return t.read()
}

func (t *tokenFile) read() (map[string]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.header != nil && (t.reload == 0 || time.Since(t.readAt) < t.reload) {
		return t.header, nil
	}
	content, err := os.ReadFile(t.path)
	token := strings.TrimSpace(string(content))
	switch {
	case err == nil && token != "":
		t.header = map[string]string{"authorization": "Bearer " + token}
		t.readAt = time.Now()
	case t.header != nil:
		// A token that can't be read again may still be good.
	case err != nil:
		return nil, fmt.Errorf("access token: %w", err)
	default:
		return nil, fmt.Errorf("access token %s: the file is empty", t.path)
	}
	return t.header, nil
}

// RequireTransportSecurity is false on loopback, where Validate allows it.
func (t *tokenFile) RequireTransportSecurity() bool { return t.secure }
