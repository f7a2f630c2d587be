//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weir-build/weir/dashboards"
	"github.com/weir-build/weir/internal/demo"
	"github.com/weir-build/weir/internal/schema"
	"github.com/weir-build/weir/traces/semconv"
)

// scrape returns what a process serves at /metrics, as text and as metrics.
func scrape(t *testing.T, address string) ([]byte, map[string]*dto.MetricFamily) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("scrape %s: %s: %v", address, response.Status, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("scrape %s: %v", address, err)
	}
	return text, families
}

// provoke makes a cluster of one process emit what only trouble makes it emit.
func provoke(t *testing.T, c *upCluster, instance, token string) {
	t.Helper()
	client := dial(t, c.url(), instance, token)
	// Executed, cached, and failed.
	client.wantGood(t, "first")
	client.wantGood(t, "first")
	client.tryExecute(t, client.upload(t, action{script: "true", outputs: []string{"../escape"}}).Proto())
	// A call that is refused.
	if _, err := dial(t, c.url(), instance, "not.a.token").Capabilities(client.context(t)); err == nil {
		t.Error("a bad token was let in")
	}
	// A runner that is killed: its action is given to a worker once more.
	w := newWaiting(t)
	ended := client.send(t, client.upload(t, w.action()))
	eventually(t, callLimit, "the action runs", func() bool { return w.starts(t) == 1 })
	killRunner(t, c.command.Process.Pid)
	w.finish(t)
	if got := <-ended; got.err != nil {
		t.Error(got.err)
	}
}

// notEmitted are metrics that a cluster in one process doesn't come to emit here,
// with the reason.
var notEmitted = map[string]string{
	semconv.TaskRetries.Name:      "a worker must be lost, and those of weir up live as long as it does; TestMetricsOfLostWorker has it",
	semconv.WorkerPollErrors.Name: "the execution-server must be gone, and it lives as long as the workers do; TestMetricsOfLostServer has it",
}

func TestMetricsAreThoseDeclaredAndShown(t *testing.T) {
	const instance = "acme"
	keys := newKeys(t)
	token := keys.mint(t, instance, time.Hour)
	c := up(t, "--jwks", keys.file, "--instance", instance, "--workers", "2", "--slots", "2", "--journal", filepath.Join(t.TempDir(), "journal"))
	provoke(t, c, instance, token)
	build := demo.Build{Client: dial(t, c.url(), instance, token).Client, Jobs: 4}
	if _, err := build.Run(t.Context(), demo.Project()); err != nil {
		t.Fatal(err)
	}
	text, families := scrape(t, c.addresses["metrics"])

	wantDeclared(t, slices.Collect(maps.Values(families))...)
	for _, name := range dashboards.Missing(dashboards.Expressions(), families) {
		if reason, ok := notEmitted[name]; ok {
			t.Logf("%s is not emitted: %s", name, reason)
			continue
		}
		t.Errorf("a dashboard shows %s, which isn't emitted", name)
	}
	for name := range notEmitted {
		if families[name] != nil {
			t.Errorf("%s is emitted after all: take it off the list", name)
		}
	}
	t.Run("promtool", func(t *testing.T) {
		check := exec.CommandContext(t.Context(), program(t, "promtool"), "check", "metrics")
		check.Stdin = bytes.NewReader(text)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	})
	t.Run("Prometheus", func(t *testing.T) { checkPrometheus(t, c.addresses["metrics"], families) })
	c.mustEnd(t)
}

// wantDeclared checks that metrics are as they are declared.
func wantDeclared(t *testing.T, families ...*dto.MetricFamily) {
	t.Helper()
	vocabulary := schema.NewRecord()
	vocabulary.AddMetrics(families)
	for _, problem := range vocabulary.Problems() {
		t.Error(problem)
	}
}

// prometheusLimit bounds the wait for Prometheus: it turns to new targets after
// five seconds.
const prometheusLimit = time.Minute

// A prometheusServer answers queries.
type prometheusServer struct{ address string }

// startPrometheus starts Prometheus, which scrapes a target often.
func startPrometheus(t *testing.T, target string) prometheusServer {
	t.Helper()
	path, dir := program(t, "prometheus"), t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	config := fmt.Sprintf("global: {scrape_interval: 200ms}\nscrape_configs:\n  - job_name: weir\n    static_configs: [{targets: [%q]}]\n", target)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, dir, nil, path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	var address string
	eventually(t, prometheusLimit, "Prometheus is ready", func() bool {
		text := p.text(t)
		if m := listening.FindStringSubmatch(text); m != nil {
			address = m[1]
		}
		return address != "" && strings.Contains(text, "Server is ready")
	})
	return prometheusServer{address}
}

// query returns the values of a query, and how it failed.
func (p prometheusServer) query(t *testing.T, expr string) ([]float64, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/api/v1/query?"+url.Values{"query": {expr}}.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("status %q: %s", answer.Status, answer.Error)
	}
	var values []float64
	for _, r := range answer.Data.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// checkPrometheus checks that the real Prometheus stores what the cluster
// serves, and that it can answer what every panel asks.
func checkPrometheus(t *testing.T, target string, families map[string]*dto.MetricFamily) {
	t.Helper()
	p := startPrometheus(t, target)
	up := func() bool {
		values, err := p.query(t, `count_over_time(up{job="weir"}[1m])`)
		return err == nil && len(values) == 1 && values[0] >= 3 // enough for a rate
	}
	eventually(t, prometheusLimit, "Prometheus has scraped the cluster", up)
	if values, err := p.query(t, `min_over_time(up{job="weir"}[1m])`); err != nil || len(values) != 1 || values[0] != 1 {
		t.Errorf("a scrape failed: up is %v (%v)", values, err)
	}
	answered := 0
	for _, e := range dashboards.Expressions() {
		values, err := p.query(t, e.Query("1m"))
		if err != nil {
			t.Errorf("panel %q: %s: %v", e.Panel, e.Query("1m"), err)
		}
		emitted := !slices.ContainsFunc(e.Metrics, func(name string) bool { return families[name] == nil })
		finite := slices.ContainsFunc(values, func(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) })
		if finite {
			answered++
		} else if emitted && !strings.Contains(e.Expr, "!=") && !strings.Contains(e.Expr, "/") && !strings.Contains(e.Expr, "quantile") {
			// Shares, quantiles and failures have no value while nothing happens.
			t.Errorf("panel %q: no value from %s", e.Panel, e.Query("1m"))
		}
	}
	t.Logf("%d of %d expressions have values", answered, len(dashboards.Expressions()))
}

// A worker that is lost is counted: its session, and the attempt that its action
// lost.
func TestMetricsOfLostWorker(t *testing.T) {
	c := newCluster(t)
	execution := c.roles[1]
	c.casd(t)
	first := c.worker(t, "first")
	client := dial(t, c.url(), "", "")
	w := newWaiting(t)
	ended := client.send(t, client.upload(t, w.action()))
	eventually(t, callLimit, "the action runs", func() bool { return w.starts(t) == 1 })
	first.kill()
	c.worker(t, "second")
	eventually(t, callLimit, "the action runs again", func() bool { return w.starts(t) == 2 })
	w.finish(t)
	if got := <-ended; codeOf(got) != 0 {
		t.Errorf("the action: %v", failureOf(got))
	}
	_, families := scrape(t, execution.metrics)
	for _, m := range []semconv.Metric{semconv.TaskRetries, semconv.SessionsExpired} {
		family := families[m.Name]
		if family == nil {
			t.Errorf("%s isn't emitted", m.Name)
			continue
		}
		wantDeclared(t, family)
		sum := 0.0
		for _, metric := range family.Metric {
			sum += metric.Counter.GetValue()
		}
		if sum != 1 {
			t.Errorf("%s is %g, want 1", m.Name, sum)
		}
	}
	c.drain(t)
}

// A worker whose server is gone counts the polls that fail.
func TestMetricsOfLostServer(t *testing.T) {
	c := newCluster(t)
	c.casd(t)
	worker := c.worker(t, "only")
	for _, role := range c.roles[1:3] { // execution, proxy
		role.kill()
	}
	var family *dto.MetricFamily
	eventually(t, callLimit, "the worker counts a failed poll", func() bool {
		_, families := scrape(t, worker.metrics)
		family = families[semconv.WorkerPollErrors.Name]
		return family != nil
	})
	wantDeclared(t, family)
	c.drain(t)
}

// killRunner kills one runner among a process's children, as kill -9 does.
func killRunner(t *testing.T, parent int) {
	t.Helper()
	for _, pid := range slices.Sorted(maps.Keys(processes(t, "buildbox-run-hosttools"))) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || !strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			continue
		}
		process, err := os.FindProcess(pid)
		if err == nil {
			err = process.Kill()
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("process %d has no runner", parent)
}
