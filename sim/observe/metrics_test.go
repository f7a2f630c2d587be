package observe_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
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

	"github.com/weir-build/weir/dashboards"
	"github.com/weir-build/weir/sim/des"
	"github.com/weir-build/weir/sim/model"
	"github.com/weir-build/weir/sim/observe"
	"github.com/weir-build/weir/traces/semconv"
)

// point is a sample of a series.
type point struct {
	ms    int64
	value float64
}

// sampleLine is a sample of OpenMetrics text as we write it.
var sampleLine = regexp.MustCompile(`^(\w+)\{((?:\w+="[^"\n]*",?)+)\} (\S+) (\d+)\.(\d{3})$`)

// seriesOf reads OpenMetrics text: families one after the other, and an end.
func seriesOf(t *testing.T, text []byte) map[string][]point {
	t.Helper()
	all, families, family := make(map[string][]point), make(map[string]bool), ""
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines {
		if comment, ok := strings.CutPrefix(line, "# "); ok {
			words := strings.Fields(comment)
			if words[0] == "EOF" && i != len(lines)-1 || words[0] == "TYPE" && families[words[1]] {
				t.Fatalf("line %d: %s", i+1, line)
			}
			if words[0] == "TYPE" {
				family = words[1]
				families[family] = true
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || !strings.HasPrefix(m[1], family) {
			t.Fatalf("line %d in family %s: %s", i+1, family, line)
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		ms, err := strconv.ParseInt(m[4]+m[5], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		name := `__name__="` + m[1] + `",` + m[2]
		all[name] = append(all[name], point{ms, value})
	}
	if lines[len(lines)-1] != "# EOF" {
		t.Error("no end")
	}
	return all
}

// sum adds up the last values of the series of a metric that have all these labels.
func sum(all map[string][]point, metric string, with ...string) (total float64) {
	for name, points := range all {
		if strings.Contains(name, `__name__="`+metric+`"`) && !slices.ContainsFunc(with, func(l string) bool { return !strings.Contains(name, l) }) {
			total += points[len(points)-1].value
		}
	}
	return total
}

// TestMetricsAreThoseOfProduction: each has a name and the labels that are declared, its
// samples go forward, and its values are those of the run.
func TestMetricsAreThoseOfProduction(t *testing.T) {
	r := run(t, eventful, -1)
	all := seriesOf(t, r.om.Bytes())
	declared := make(map[string]semconv.Metric)
	for _, m := range semconv.All() {
		declared[m.Name] = m
	}
	name, label := regexp.MustCompile(`__name__="(\w+)"`), regexp.MustCompile(`(\w+)="`)
	for series, points := range all {
		metric := name.FindStringSubmatch(series)[1]
		m, ok := declared[metric]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if !ok {
				m, ok = declared[strings.TrimSuffix(metric, suffix)]
			}
		}
		if !ok {
			t.Errorf("%s isn't declared", metric)
		}
		var got []string
		for _, l := range label.FindAllStringSubmatch(series, -1) {
			if l[1] != "__name__" && l[1] != "le" {
				got = append(got, l[1])
			}
		}
		for _, l := range got {
			if l != semconv.Role && !slices.Contains(m.Labels, l) {
				t.Errorf("%s has the label %s", metric, l)
			}
		}
		for i := range points {
			if i > 0 && (points[i].ms <= points[i-1].ms || m.Kind != semconv.Gauge && points[i].value < points[i-1].value) {
				t.Errorf("%s goes back from %v to %v", series, points[i-1], points[i])
			}
		}
		if first, last := points[0].ms, points[len(points)-1].ms; first < base.UnixMilli() || last != base.Add(r.outcome.End).UnixMilli() {
			t.Errorf("%s is from %d to %d", series, first, last)
		}
	}
	var waited, executed time.Duration
	outcomes := make(map[string]float64)
	for _, a := range r.log.attempts {
		waited += time.Duration(a.Leased - a.Queued)
	}
	retries := 0
	for _, a := range r.log.actions {
		asker := a.Asker == model.Asker{Stream: a.Stream, Build: a.Build, Index: a.Index}
		switch {
		case a.Ended == model.Cached:
			outcomes["hit"]++
			continue
		case a.Ended == model.Stopped:
			outcomes["CANCELLED"]++
		case a.Ended != model.Errored:
			outcomes["OK"]++
			if asker {
				executed += time.Duration(a.Ran - a.Fetched)
			}
		}
		if asker && a.Ended == model.Executed {
			retries += len(a.Lost)
		}
		outcomes["miss"]++
	}
	for _, test := range []struct {
		got, want float64
		what      string
	}{
		{sum(all, "weir_operations_total", `code="OK"`), outcomes["OK"], "operations that are OK"},
		{sum(all, "weir_operations_total", `code="CANCELLED"`), outcomes["CANCELLED"], "operations that were cancelled"},
		{sum(all, "weir_action_cache_lookups_total", `result="hit"`), outcomes["hit"], "hits"},
		{sum(all, "weir_action_cache_lookups_total", `result="miss"`), outcomes["miss"], "misses"},
		{sum(all, "weir_queue_wait_seconds_count"), float64(len(r.log.attempts)), "waits"},
		{sum(all, "weir_queue_wait_seconds_bucket", `le="+Inf"`), float64(len(r.log.attempts)), "waits in buckets"},
		{sum(all, "weir_queue_wait_seconds_sum"), waited.Seconds(), "seconds waited"},
		{sum(all, "weir_stage_duration_seconds_sum", `stage="execute"`), executed.Seconds(), "seconds executed"},
		{sum(all, "weir_task_retries_total"), float64(retries), "retries"},
		{sum(all, "weir_queue_depth"), 0, "tasks waiting at the end"},
		{sum(all, "weir_tasks_executing"), 0, "tasks executing at the end"},
	} {
		if math.Abs(test.got-test.want) > 1e-6*test.want {
			t.Errorf("%s: got %v, want %v", test.what, test.got, test.want)
		}
	}
	// At each second, what was there.
	for at := range 100 {
		want := level{}
		for _, l := range r.log.levels {
			if l.at > des.Time(at)*des.Time(time.Second) {
				break
			}
			want = l
		}
		got := func(metric string, with string) (total float64) {
			for series, points := range all {
				if strings.Contains(series, `"`+metric+`"`) && strings.Contains(series, with) {
					i, found := slices.BinarySearchFunc(points, base.UnixMilli()+int64(at)*1000, func(p point, ms int64) int { return cmp.Compare(p.ms, ms) })
					if !found {
						t.Fatalf("%s has no sample at %d s", series, at)
					}
					total += points[i].value
				}
			}
			return total
		}
		if depth, busy, workers := got("weir_queue_depth", ""), got("weir_worker_slots", `state="busy"`), got("weir_workers", ""); depth != float64(want.Queued) || busy != float64(want.Running) || workers != float64(want.Workers) {
			t.Errorf("at %d s: %v waiting, %v slots busy, %v workers, want %+v", at, depth, busy, workers, want)
		}
	}
}

// TestSamplesAreBounded: a long run is sampled less often, and still to its end.
func TestSamplesAreBounded(t *testing.T) {
	r := run(t, long, -1)
	n, every := r.metrics.Samples()
	if n > observe.MaxSamples || n < observe.MaxSamples/2 || every != 8*time.Second && every != 16*time.Second {
		t.Errorf("%d samples, every %v", n, every)
	}
	points := seriesOf(t, r.om.Bytes())[`__name__="weir_queue_depth",role="execution-server",instance_name="",platform=""`]
	if len(points) != n || points[n-1].ms != base.Add(r.outcome.End).UnixMilli() || points[1].ms-points[0].ms != every.Milliseconds() {
		t.Errorf("%d points, the last %v", len(points), points[max(0, n-1):])
	}
}

// TestPrometheusAnswersOfASimulation: promtool makes blocks of a run's metrics, and a real
// Prometheus answers the dashboards' questions from them.
func TestPrometheusAnswersOfASimulation(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not in PATH: Debian's package prometheus has it")
	}
	prometheus, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not in PATH")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, dir := run(t, eventful, -1), t.TempDir()
	file, data := filepath.Join(dir, "metrics.om"), filepath.Join(dir, "data")
	if err := os.WriteFile(file, r.om.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, promtool, "tsdb", "create-blocks-from", "openmetrics", file, data).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := startPrometheus(ctx, t, prometheus, config, data)

	// Panels of what a simulation has: all but the RPCs, the journal, the disks.
	has := []string{
		"weir_queue_depth", "weir_queue_oldest_age_seconds", "weir_queue_wait_seconds", "weir_tasks_executing", "weir_operations_total", "weir_task_retries_total",
		"weir_stage_duration_seconds", "weir_workers", "weir_worker_slots", "weir_action_cache_lookups_total", "weir_proxy_active_invocations",
	}
	at := base.Add(60 * time.Second)
	answered := 0
	for _, e := range dashboards.Expressions() {
		if slices.ContainsFunc(e.Metrics, func(m string) bool { return !slices.Contains(has, m) }) {
			continue
		}
		answered++
		if got := query(ctx, t, address, e.Query("1m"), at); len(got) == 0 {
			t.Errorf("panel %q: no data from %s", e.Panel, e.Query("1m"))
		}
	}
	if answered < 20 {
		t.Errorf("%d expressions are of what a simulation has", answered)
	}
	var want float64
	for _, l := range r.log.levels {
		if l.at <= des.Time(60*time.Second) {
			want = float64(l.Queued)
		}
	}
	if got := query(ctx, t, address, "sum(weir_queue_depth)", at); len(got) != 1 || got[0] != want {
		t.Errorf("tasks waiting: got %v, want %v", got, want)
	}
	if got := query(ctx, t, address, "sum(weir_queue_wait_seconds_count)", base.Add(r.outcome.End+time.Second)); len(got) != 1 || got[0] != float64(len(r.log.attempts)) {
		t.Errorf("waits: got %v, want %d", got, len(r.log.attempts))
	}
}

// startPrometheus serves blocks on loopback until the test ends.
func startPrometheus(ctx context.Context, t *testing.T, binary, config, data string) (address string) {
	t.Helper()
	command := exec.CommandContext(ctx, binary, "--config.file="+config, "--storage.tsdb.path="+data, "--web.listen-address=127.0.0.1:0", "--log.level=info")
	log, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended
		_ = command.Wait()         // it was killed: that is an error
	})
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	var text bytes.Buffer
	buffer := make([]byte, 4096)
	for !strings.Contains(text.String(), "Server is ready") {
		n, err := log.Read(buffer)
		text.Write(buffer[:n])
		if err != nil {
			t.Fatalf("Prometheus ended before it was ready:\n%s", text.String())
		}
	}
	go func() { _, _ = io.Copy(io.Discard, log) }() // to its end
	m := listening.FindStringSubmatch(text.String())
	if m == nil {
		t.Fatalf("Prometheus doesn't say where it listens:\n%s", text.String())
	}
	return m[1]
}

// query returns the values of an answer.
func query(ctx context.Context, t *testing.T, address, promql string, at time.Time) (values []float64) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://"+address+"/api/v1/query?"+url.Values{"query": {promql}, "time": {fmt.Sprint(at.Unix())}}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.Status != "success" {
		t.Errorf("%s: %s", promql, answer.Error)
	}
	for _, r := range answer.Data.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

// TestOldestAgeIsThatOfWhoWaitsLongest: at each second.
func TestOldestAgeIsThatOfWhoWaitsLongest(t *testing.T) {
	r := run(t, strings.Replace(long, "20000s", "300s", 1), -1)
	points := seriesOf(t, r.om.Bytes())[`__name__="weir_queue_oldest_age_seconds",role="execution-server",instance_name="",platform=""`]
	waited := 0
	for _, p := range points[:len(points)-1] { // the last isn't at a second
		at := des.Time(p.ms-base.UnixMilli()) * des.Time(time.Millisecond)
		oldest := at
		for _, a := range r.log.attempts {
			if a.Queued <= at && a.Leased > at {
				oldest = min(oldest, a.Queued)
			}
		}
		if want := time.Duration(at - oldest).Seconds(); math.Abs(p.value-want) > 1e-9 {
			t.Errorf("at %v: got %v, want %v", time.Duration(at), p.value, want)
		} else if want > 0 {
			waited++
		}
	}
	if waited < 50 {
		t.Errorf("something waited at %d of %d seconds", waited, len(points))
	}
}
