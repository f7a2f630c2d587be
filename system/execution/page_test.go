package execution_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weir-build/weir/system/queue"
)

func TestPagesTellTheState(t *testing.T) {
	c := start(t, queue.Config{})
	c.queuedFor(of(t.Context(), `<script>`), "a", wanting("OSFamily", "windows"))
	get := func(path string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRecorder()
		name, _, _ := strings.Cut(path, "?")
		c.pages["GET "+name].ServeHTTP(r, httptest.NewRequest("GET", path, nil))
		return r
	}
	page := get("/queue")
	if page.Code != 200 || !strings.Contains(page.Body.String(), "<title>Weir: queue</title>") {
		t.Errorf("the page is %d %.100q", page.Code, page.Body)
	}
	if policy := page.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q, want one that allows nothing but the page's own", policy)
	}
	var told struct {
		Instances []string `json:"instances"`
		State     struct {
			Queued      int `json:"queued"`
			Invocations []struct {
				ID string `json:"id"`
			} `json:"invocations"`
		} `json:"state"`
	}
	state := get("/queue.json")
	if err := json.Unmarshal(state.Body.Bytes(), &told); err != nil {
		t.Fatalf("%v: %s", err, state.Body)
	}
	if len(told.Instances) != 2 || told.State.Queued != 1 || told.State.Invocations[0].ID != "<script>" {
		t.Errorf("got %+v, want one of two instances, with one queued", told)
	}
	if got := get("/queue.json?instance=other"); got.Code != 200 || !strings.Contains(got.Body.String(), `"instance_name":"other"`) {
		t.Errorf("another instance: %d %s", got.Code, got.Body)
	}
	if got := get("/queue.json?instance=nope"); got.Code != 404 {
		t.Errorf("an unknown instance: %d %s, want 404", got.Code, got.Body)
	}
}
