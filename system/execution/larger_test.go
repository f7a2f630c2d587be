package execution

import (
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/remote"
)

// TestLargerWorkersAreLookedForOnce: each action that is queued asks for them, and there may
// be thousands of workers, of which none is larger.
func TestLargerWorkersAreLookedForOnce(t *testing.T) {
	s, small := newSized(t)
	now, z := time.Now(), &size{chosen: true}
	look := func() *platform { return s.larger(now, small, z) }
	s.shell.join(small.instance, "s", property{"size", "small"})
	if got := look(); got != nil {
		t.Errorf("a larger platform is %q, and no worker is larger", got.text)
	}
	if n := testing.AllocsPerRun(10, func() { look() }); n > 0 {
		t.Errorf("it is looked for again, with %v allocations, and nobody came or went", n)
	}
	s.shell.join(small.instance, "l", property{"size", "large"})
	if got := look(); got == nil || got.text != "size=large" || z.larger != 1 {
		t.Errorf("the larger platform is %v, of class %d; want size=large, of class 1", got, z.larger)
	}
}

// TestNoRoomForLargerPlatform: an action whose own platform is there is not refused because
// its larger one can't be made.
func TestNoRoomForLargerPlatform(t *testing.T) {
	s, small := newSized(t)
	s.shell.join(small.instance, "l", property{"size", "large"})
	s.shell.platforms.all = append(s.shell.platforms.all, make([]*platform, maxPlatforms)...)
	if got := s.larger(time.Now(), small, &size{chosen: true}); got != nil {
		t.Errorf("got %q, beyond the limit", got.text)
	}
}

// newSized returns a server of two classes, and the platform of the smaller one.
func newSized(t *testing.T) (*Server, *platform) {
	t.Helper()
	client, err := remote.Dial(remote.Config{URL: "grpc://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	s, err := New(Config{
		Instances: []string{""}, Storage: client, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Sizes: Sizes{Key: "size", Classes: []string{"small", "large"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, s.newPlatform(s.instances[""], []property{{"size", "small"}})
}

// join enters a worker.
func (s *shell) join(at *instance, name string, offered ...property) {
	s.roster++
	s.sessions[name] = &session{name: name, instance: at, offered: offered}
}
