package dashboards_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/dashboards"
)

// prometheusLimit bounds the test with the real Prometheus. It takes six seconds,
// of which five are Prometheus' wait before it turns to new targets: its
// discovery manager's, which no flag shortens.
const prometheusLimit = 15 * time.Second

// server is a Prometheus of this test.
type server struct{ address string }

// startPrometheus starts Prometheus with the scrape config of provisioning,
// pointed at target and in more of a hurry. It is killed when the test ends.
func startPrometheus(ctx context.Context, t *testing.T, target string) *server {
	t.Helper()
	binary, dir := program(t, "prometheus"), t.TempDir()
	var config scrapeConfig
	decode(t, "prometheus.yml", &config)
	config.Global.ScrapeInterval = "200ms"
	config.ScrapeConfigs[0].StaticConfigs[0].Targets[0] = target
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, binary, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--log.level=info")
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	address, ready := make(chan string, 1), make(chan bool, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(ready)
		listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
		for scanner := bufio.NewScanner(log); scanner.Scan(); {
			lines = append(lines, scanner.Text())
			if m := listening.FindStringSubmatch(scanner.Text()); m != nil && len(address) == 0 {
				address <- m[1]
			}
			if strings.Contains(scanner.Text(), "Server is ready") && len(ready) == 0 {
				ready <- true
			}
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended
		<-ended
		_ = command.Wait() // it was killed: that is an error
		if t.Failed() {
			t.Logf("log of Prometheus:\n%s", strings.Join(lines, "\n"))
		}
	})
	if !<-ready {
		t.Fatal("Prometheus ended, or ran out of time, before it was ready")
	}
	return &server{<-address}
}

// A sample is one series of an answer, at one time.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (s sample) float(t *testing.T) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(fmt.Sprint(s.Value[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// get asks the HTTP API and decodes the data of the answer.
func (s *server) get(ctx context.Context, path string, parameters url.Values, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+path+"?"+parameters.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: into}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("status %q: %s", answer.Status, answer.Error)
	}
	return nil
}

func (s *server) query(ctx context.Context, t *testing.T, promql string) []sample {
	t.Helper()
	var data struct{ Result []sample }
	if err := s.get(ctx, "/api/v1/query", url.Values{"query": {promql}}, &data); err != nil {
		t.Errorf("query %s: %v", promql, err)
	}
	return data.Result
}

// The real Prometheus scrapes every metric that is declared, from the collectors
// that the roles use, and answers every expression of every panel.
func TestPrometheusAnswersEveryPanel(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for Prometheus for six seconds: not with -short")
	}
	ctx, cancel := context.WithTimeout(t.Context(), prometheusLimit)
	defer cancel()
	metrics := newExposition(t)
	prometheus := startPrometheus(ctx, t, metrics.Listener.Addr().String())
	select {
	case <-metrics.scraped:
	case <-ctx.Done():
		t.Fatalf("%d scrapes in %v", metrics.scrapes.Load(), prometheusLimit)
	}

	byPanel := make(map[string][]sample)
	for _, e := range dashboards.Expressions() {
		got := prometheus.query(ctx, t, e.Query("1m"))
		if len(got) == 0 {
			t.Errorf("panel %q: no data from %s", e.Panel, e.Query("1m"))
		}
		for _, s := range got {
			if v := s.float(t); math.IsNaN(v) {
				t.Errorf("panel %q: not a number for %v from %s", e.Panel, s.Metric, e.Query("1m"))
			}
		}
		byPanel[e.Panel] = append(byPanel[e.Panel], got...)
	}
	families, err := metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, f := range families {
		names[f.GetName()] = true
	}
	if missing := dashboards.Missing(dashboards.Expressions(), names); len(missing) > 0 {
		t.Errorf("missing from the exposition: %v", missing)
	}

	t.Run("values are those of the cluster", func(t *testing.T) {
		for _, test := range []struct {
			panel    string
			min, max float64
		}{
			{"Slots busy", 0.75, 0.75},                   // 3 of 3+1, at two instances
			{"Operations failed", 0.49, 0.51},            // one code of two
			{"Action cache hits", 0.33, 0.34},            // one result of three
			{"Longest wait", 1, 1},                       // not the sum over the platforms
			{"Calls served that went wrong", 0.24, 0.26}, // INTERNAL of four codes
			{"Quota used", 1, 1},
			{"Age of the credentials in force", 3599, 3600 + prometheusLimit.Seconds()},
			// Quantiles are exact to the factor of two of the buckets.
			{"Unary calls, median", unarySeconds / 2, unarySeconds * 2},
			{"Unary calls, 99th percentile", unarySeconds / 2, unarySeconds * 2},
			{"Unary calls by method, 99th percentile", unarySeconds / 2, unarySeconds * 2},
			{"Unary calls made, 99th percentile", unarySeconds / 2, unarySeconds * 2},
			{"Transfers by method, 99th percentile", transferSeconds / 2, transferSeconds * 2},
			{"Long polls and waiting streams, median", waitSeconds / 2, waitSeconds * 2},
			{"Stages, median", otherSeconds / 2, otherSeconds * 2},
			{"Where an action's time goes", otherSeconds * 0.99, otherSeconds * 1.01},
		} {
			if len(byPanel[test.panel]) == 0 {
				t.Errorf("panel %q shows nothing", test.panel)
			}
			for _, s := range byPanel[test.panel] {
				if got := s.float(t); got < test.min || got > test.max {
					t.Errorf("panel %q: got %g for %v, want %g to %g", test.panel, got, s.Metric, test.min, test.max)
				}
			}
		}
	})

	t.Run("a call's code is never left out", func(t *testing.T) {
		var got []string
		for _, s := range byPanel["Calls served that weren't OK, by code"] {
			got = append(got, s.Metric["rpc_response_status_code"])
		}
		slices.Sort(got)
		if want := []string{"CANCELLED", "INTERNAL", "NOT_FOUND"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})

	// The REAPI instance without a name is not taken for a label that isn't there.
	t.Run("instances keep their names", func(t *testing.T) {
		var got []string
		for _, s := range byPanel["Bytes read"] {
			got = append(got, s.Metric["instance_name"])
		}
		slices.Sort(got)
		if want := []string{"", "main"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})

	t.Run("variables have values", func(t *testing.T) {
		question := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
		want := map[string][]string{
			"instance_name": {"main"}, "platform": values("platform")[1:], "role": {"storage-server"},
		}
		for _, p := range pages(t) {
			for _, v := range p.Templating.List[1:] {
				m := question.FindStringSubmatch(v.Query)
				if m == nil {
					t.Fatalf("variable %s asks %q", v.Name, v.Query)
				}
				var got []string
				if err := prometheus.get(ctx, "/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &got); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want[v.Name]) {
					t.Errorf("variable %s: got %q, want %q", v.Name, got, want[v.Name])
				}
			}
		}
	})
}
