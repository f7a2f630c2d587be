package proxy_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/proxy"
)

func TestRetries(t *testing.T) {
	for method, m := range rpcs {
		t.Run(method[1:], func(t *testing.T) {
			t.Parallel()
			want := 1
			if m.retried {
				want = 3
			}
			for code, want := range map[codes.Code]int{codes.Unavailable: want, codes.Internal: 1, codes.ResourceExhausted: 1, codes.Aborted: 1} {
				b := startBackend(t, func(context.Context, string) error { return status.Error(code, "down") }, nil)
				c := config(b, proxy.NoAuth)
				c.Default.Execution = "execution"
				c.Backends["execution"] = c.Backends["all"]
				c.Listeners[0].Services = allServices
				if strings.HasSuffix(method, "GetCapabilities") {
					c.Default.Execution = ""
				}
				p := startProxy(t, c)
				err := invoke(t.Context(), p.conns[0], method, m.request("acme"))
				if s := status.Convert(err); s.Code() != code || s.Message() != "down" {
					t.Errorf("got %v, want the backend's %v", err, code)
				}
				if got := len(b.seen()); got != want {
					t.Errorf("the backend answered %v and was called %d times, want %d", code, got, want)
				}
			}
		})
	}
}

func TestRetrySucceeds(t *testing.T) {
	var mu sync.Mutex
	calls := 0
	b := startBackend(t, func(context.Context, string) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls < 3 {
			return status.Error(codes.Unavailable, "not yet")
		}
		return nil
	}, nil)
	p := startProxy(t, config(b, proxy.NoAuth))
	if err := invoke(t.Context(), p.conns[0], findMissing, rpcs[findMissing].request("acme")); err != nil {
		t.Error(err)
	}
	if calls != 3 {
		t.Errorf("the backend was called %d times, want 3", calls)
	}
}

// TestRetryBudget calls a backend that is down: of the hundred tokens each
// failure takes one, and below fifty nothing is tried again.
func TestRetryBudget(t *testing.T) {
	b := startBackend(t, func(context.Context, string) error { return status.Error(codes.Unavailable, "down") }, nil)
	p := startProxy(t, config(b, proxy.NoAuth))
	var calls sync.WaitGroup
	for range 100 {
		calls.Go(func() { _ = invoke(t.Context(), p.conns[0], findMissing, rpcs[findMissing].request("acme")) })
	}
	calls.Wait()
	if got := len(b.seen()); got < 100 || got > 150 {
		t.Errorf("100 calls became %d, want 100 to 150", got)
	}
}

func TestTimeoutOfGetActionResult(t *testing.T) {
	b := startBackend(t, func(ctx context.Context, method string) error {
		<-ctx.Done()
		return ctx.Err()
	}, nil)
	c := config(b, proxy.NoAuth)
	c.Timeouts.GetActionResultMillis = 30
	p := startProxy(t, c)
	err := invoke(t.Context(), p.conns[0], getResult, rpcs[getResult].request("acme"))
	if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != "storage backend timeout" {
		t.Errorf("got %v, want Unavailable: storage backend timeout", err)
	}
	if got := len(b.seen()); got != 1 {
		t.Errorf("the backend was called %d times, want 1", got)
	}
	// Others have the client's deadline only.
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	if got := status.Code(invoke(ctx, p.conns[0], findMissing, rpcs[findMissing].request("acme"))); got != codes.DeadlineExceeded {
		t.Errorf("FindMissingBlobs: got %v, want DeadlineExceeded", got)
	}
}
