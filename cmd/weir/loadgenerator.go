package main

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-build/weir/loadgen/drive"
	"github.com/weir-build/weir/reports/result"
)

//go:embed load.js
var loadScript []byte

const (
	// progressPoll is how often the generator's progress is looked at.
	progressPoll = 250 * time.Millisecond
	// generatorPatience is how long the generator has to write its result after it was
	// told to end; its builds are cancelled at once.
	generatorPatience = time.Minute
)

// generate runs weir-k6 until it ends, and shows how far it is.
func (l *load) generate(ctx context.Context, target, collector string) error {
	files := map[string][]byte{scenarioFile: l.text, scriptFile: loadScript}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(l.folder.Path, name), data, 0o644); err != nil {
			return err
		}
	}
	options, err := l.options(target)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(l.folder.Path, k6LogFile))
	if err != nil {
		return err
	}
	defer log.Close()
	command := exec.CommandContext(ctx, l.k6, "run", "--quiet", "--no-usage-report", "--no-thresholds", "--summary-mode=disabled", "--no-color",
		"--log-format=raw", "--address=", "--out", "reapi-report="+resultsFile, "--traces-output", "otel=http://"+collector+",proto=grpc",
		"--env", "WEIR_OPTIONS="+options, scriptFile)
	command.Dir = l.folder.Path
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), "K6_AUTO_EXTENSION_RESOLUTION=false", "K6_NO_USAGE_REPORT=true")
	// A terminal's interrupt reaches its whole group: the generator is told once, by us.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = generatorPatience
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	playing, stop := context.WithCancel(ctx)
	var faults errgroup.Group
	err = l.watch(ended, func(begin time.Time) {
		if l.crew != nil {
			faults.Go(func() error { return l.crew.play(playing, begin, l.scenario.Faults, groupsOf(l.scenario.Cluster)[0]) })
		}
	})
	stop()
	err = errors.Join(err, faults.Wait())
	os.Remove(filepath.Join(l.folder.Path, progressFile))
	if err != nil && ctx.Err() == nil {
		return errors.New(cmp.Or(reason(lastLine(log.Name())), "the generator failed: "+err.Error()))
	}
	return nil
}

// options are what the script passes on to the generator.
func (l *load) options(target string) (string, error) {
	r := &l.flags.remote
	o := map[string]any{
		"target": target, "run": l.folder.manifest.ID, "name": l.scenario.Name, "progress": progressFile, "metrics": "none",
		"sharesMachine": l.flags.remote.URL == "", // then the cluster is ours
		"environment":   map[string]string{"weir": version()},
	}
	if l.flags.seeded {
		o["seed"] = l.flags.seed
	}
	if l.flags.duration > 0 {
		o["duration"] = l.flags.duration.String()
	}
	for key, path := range map[string]string{"tokenFile": r.AccessToken, "serverCert": r.ServerCert, "clientCert": r.ClientCert, "clientKey": r.ClientKey} {
		if path == "" {
			continue
		}
		// The generator runs in the run folder.
		absolute, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		o[key] = absolute
	}
	if l.flags.function != "" {
		o["digestFunction"] = l.flags.function
	}
	if notes := notesOn(l.scenario); l.flags.remote.URL != "" && notes != nil {
		o["notes"] = notes
	}
	if r.Instance != "" {
		o["instanceName"] = r.Instance
	}
	text, err := json.Marshal(o)
	return string(text), err
}

// watch shows the generator's progress until it has ended, and tells once when the measured
// part began.
func (l *load) watch(ended <-chan error, began func(time.Time)) error {
	ticker := time.NewTicker(progressPoll)
	defer ticker.Stop()
	live := terminal(l.progress)
	shown := time.Time{}
	for {
		select {
		case err := <-ended:
			if live {
				overwrite(l.progress, "")
			}
			return err
		case <-ticker.C:
		}
		data, err := os.ReadFile(filepath.Join(l.folder.Path, progressFile))
		var p drive.Progress
		if err != nil || json.Unmarshal(data, &p) != nil {
			continue
		}
		if !p.Begin.IsZero() && began != nil {
			began(p.Begin)
			began = nil
		}
		switch {
		case live:
			overwrite(l.progress, progressLine(p, l.scenario.Duration))
		case time.Since(shown) >= quietProgress:
			fmt.Fprintln(l.progress, progressLine(p, l.scenario.Duration))
			shown = time.Now()
		}
	}
}

// quietProgress is how often a line is printed where nobody watches.
const quietProgress = 10 * time.Second

const barWidth = 20

func progressLine(p drive.Progress, duration time.Duration) string {
	if p.Phase == "preparing" {
		return fmt.Sprintf("preparing: %d blobs stored", p.Prepared)
	}
	filled := barWidth
	if duration > 0 {
		filled = min(barWidth, int(float64(barWidth)*float64(p.Elapsed)/float64(duration)))
	}
	bar := strings.Repeat("█", filled) + strings.Repeat("░", barWidth-filled)
	line := fmt.Sprintf("%s %s %s", p.Phase, bar, p.Elapsed.Round(time.Second))
	if p.Failed > 0 || p.Dropped > 0 { // first, since a narrow terminal cuts the end
		line += fmt.Sprintf("  %d failed, %d dropped", p.Failed, p.Dropped)
	}
	if p.Actions > 0 || p.Builds > 0 {
		line += fmt.Sprintf("  %s, %s (%d cached)", plural(p.Builds, "build"), plural(p.Actions, "action"), p.Cached)
	}
	if p.P99 > 0 { // else nothing has ended lately
		line += fmt.Sprintf("  p50 %v p99 %v", result.Round(p.P50), result.Round(p.P99))
	}
	return line + fmt.Sprintf("  %d in flight  %s", p.InFlight, plural(p.Calls, "call"))
}

// lastLine is what a program said last.
func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for _, line := range slices.Backward(lines) {
		// k6 shows where in the script it was, after what it was.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "at ") {
			return line
		}
	}
	return ""
}

// reason is what our module said, without what k6 says around it.
func reason(line string) string {
	line, _, _ = strings.Cut(line, " at default (file://")
	if _, after, ok := strings.Cut(line, "runScenario: "); ok {
		return after
	}
	return line
}

// findK6 finds weir-k6 beside this program, or in PATH.
func findK6() (string, error) {
	const name = "weir-k6"
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), name)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return beside, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("%s is neither beside weir nor in PATH: build it by make build, or go build -o bin/ github.com/weir-build/weir/cmd/weir-k6", name)
}
