package execution

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/queue"
)

// property is one key and value of a platform.
type property struct{ key, value string }

// platform is what a set of actions asks of a worker, and their queue.
type platform struct {
	id         queue.PlatformID
	instance   *instance
	text       string // key=value, sorted, comma separated
	properties []property
	workers    int // sessions that serve it
	drained    int // of these
	waits      prometheus.Observer
	classes    []classPlatform // by class, those like this one

	lacks  string    // what no worker had, when the roster was
	lackOf uint64    // this, and one more
	warned time.Time // of a long wait
}

// platformKey tells platforms apart, whatever their properties hold.
type platformKey struct {
	instance   string
	properties string
}

type platforms struct {
	byKey map[platformKey]*platform
	all   []*platform // by id
	made  []*platform // since the journal was told last
}

// properties returns what an action asks for: its own platform, or that of its
// command, which is where clients before REAPI 2.2 put it.
func properties(action *repb.Action, ofCommand *repb.Platform) ([]property, error) {
	from := action.GetPlatform()
	if from == nil {
		from = ofCommand
	}
	list := make([]property, 0, len(from.GetProperties()))
	for _, p := range from.GetProperties() {
		list = append(list, property{p.Name, p.Value})
	}
	slices.SortFunc(list, compareProperties)
	list = slices.Compact(list)
	if text := platformText(list); len(list) > maxProperties || len(text) > maxPlatformBytes {
		return nil, invalid("the platform has %d properties of %d bytes, more than %d or %d", len(list), len(text), maxProperties, maxPlatformBytes)
	}
	return list, nil
}

// maxPlatformBytes bounds the text of a platform, which lives as long as the
// server, in metrics too. It has room for an image's name and digest many times.
const maxPlatformBytes = 4 << 10

func platformText(list []property) string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.key + "=" + p.value
	}
	return strings.Join(words, ",")
}

// serves reports whether a worker has all that a platform asks for.
func (p *platform) serves(offered []property) bool {
	for _, want := range p.properties {
		if !offers(offered, want) {
			return false
		}
	}
	return true
}

// offered returns what a worker offers: the properties of its first device, and
// its own. A key may have several values, of which any will do.
func offered(w *bots.Worker) []property {
	var list []property
	if devices := w.GetDevices(); len(devices) > 0 {
		for _, p := range devices[0].Properties {
			list = append(list, property{p.Key, p.Value})
		}
	}
	for _, p := range w.GetProperties() {
		list = append(list, property{p.Key, p.Value})
	}
	return list
}

// platform returns the platform with these properties. A new one is served from
// the start by every worker that can; the lock is held.
func (s *Server) platform(now time.Time, at *instance, list []property) (*platform, error) {
	sh := &s.shell
	if p, ok := sh.platforms.byKey[keyOf(at, list)]; ok {
		return p, nil
	}
	if len(sh.platforms.all) >= maxPlatforms {
		return nil, &limitError{"too many different platforms are in use: " + platformText(list) + " would be one more"}
	}
	p := s.newPlatform(at, list)
	var serving []*session
	for _, session := range sh.sessions {
		if session.instance == at && p.serves(session.offered) {
			serving = append(serving, session)
		}
	}
	slices.SortFunc(serving, func(a, b *session) int { return cmp.Compare(uint32(a.worker), uint32(b.worker)) })
	for _, session := range serving {
		s.serve(now, session, p)
	}
	return p, nil
}

// newPlatform gives a platform the next number; the lock is held.
func (s *Server) newPlatform(at *instance, list []property) *platform {
	all := &s.shell.platforms
	text := platformText(list)
	p := &platform{id: queue.PlatformID(len(all.all)), instance: at, text: text, properties: list, waits: s.metrics.wait(at.name, text)}
	all.byKey[keyOf(at, list)] = p
	all.all = append(all.all, p)
	all.made = append(all.made, p)
	return p
}

func keyOf(at *instance, list []property) platformKey {
	return platformKey{at.name, fmt.Sprintf("%q", list)}
}
