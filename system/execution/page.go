package execution

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
)

//go:embed queue.html
var queuePage string

// Pages returns what a person looks at in a browser, by the pattern of its path: what
// weir top shows. It is for the port of metrics, since nobody is asked who they are.
//
//	/queue       the page, which loads nothing from elsewhere
//	/queue.json  {"instances": […], "state": …} of the first instance, or of ?instance=
func (s *Server) Pages() map[string]http.Handler {
	return map[string]http.Handler{
		"GET /queue":      http.HandlerFunc(serveQueue),
		"GET /queue.json": http.HandlerFunc(s.serveState),
	}
}

// queuePolicy is the page's Content-Security-Policy: only its own style and script
// count, and only its own server is asked.
var queuePolicy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	hashOf("style"), hashOf("script"))

// hashOf names an inline element of the page by its hash (CSP 3, "hash-source").
func hashOf(element string) string {
	_, rest, _ := strings.Cut(queuePage, "<"+element+">")
	content, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(content))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func serveQueue(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", queuePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(queuePage)) // a browser that has left needs no answer
}

func (s *Server) serveState(w http.ResponseWriter, r *http.Request) {
	name := s.config.Instances[0]
	if asked := r.URL.Query(); asked.Has("instance") {
		name = asked.Get("instance")
	}
	at, err := s.instance(name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	if err := s.beginWatch(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer s.watchers.Add(-1)
	state, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(s.state(at, 0))
	if err == nil {
		state, err = json.Marshal(struct {
			Instances []string        `json:"instances"`
			State     json.RawMessage `json:"state"`
		}{s.config.Instances, state})
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(state)
}
