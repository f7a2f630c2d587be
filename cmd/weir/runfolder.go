package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/weir-build/weir/system/telemetry"
	"github.com/weir-build/weir/traces/otlpfile"
)

// Files of a run folder.
const (
	manifestFile = "manifest.json"
	spansFile    = "spans.otlp"
	metricsFile  = "metrics.om"
	logFile      = "log.txt"
)

// flushTimeout bounds how long spans may take to reach the collector at the end.
const flushTimeout = 5 * time.Second

// runFolder is what a run leaves behind: who ran what (manifest.json), every
// span (spans.otlp), the last state of every metric (metrics.om) and the log.
type runFolder struct {
	Path     string
	manifest manifest

	spans     *os.File
	writer    *otlpfile.Writer
	log       io.Writer
	logFile   *os.File
	level     slog.Level
	sampler   *telemetry.Sampler // may be nil
	telemetry []*telemetry.Telemetry
	simulated int64 // spans that came of no role
}

// manifest is manifest.json.
type manifest struct {
	ID        string            `json:"id"`
	Command   []string          `json:"command"`
	Version   string            `json:"version"`
	Host      string            `json:"host"`
	Started   time.Time         `json:"started"`
	Ended     time.Time         `json:"ended,omitzero"`
	Roles     []string          `json:"roles"`
	Addresses map[string]string `json:"addresses,omitempty"`
	// Spans is what became of them, once the run has ended.
	Spans *telemetry.SpanCounts `json:"spans,omitempty"`
}

// newRunFolder makes runs/<UTC>-<4 hex> below a folder. The log goes to a file
// in it, and to also if that isn't nil. Builds leave spans as sampling says.
func newRunFolder(below string, command []string, also io.Writer, level slog.Level, sampling telemetry.Sampling) (*runFolder, error) {
	var random [2]byte
	rand.Read(random[:])
	now := time.Now().UTC()
	id := now.Format("20060102T150405Z") + "-" + hex.EncodeToString(random[:])
	r := &runFolder{Path: filepath.Join(below, "runs", id), level: level}
	if err := os.MkdirAll(r.Path, 0o755); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	r.manifest = manifest{ID: id, Command: command, Version: version(), Host: host, Started: now, Addresses: make(map[string]string)}
	if r.spans, err = os.Create(filepath.Join(r.Path, spansFile)); err != nil {
		return nil, err
	}
	if r.logFile, err = os.Create(filepath.Join(r.Path, logFile)); err != nil {
		return nil, err
	}
	r.writer, r.log = otlpfile.NewWriter(r.spans), r.logFile
	if also != nil {
		r.log = io.MultiWriter(r.logFile, also)
	}
	if r.sampler, err = newSampler(sampling); err != nil {
		return nil, err
	}
	return r, r.writeManifest()
}

// record returns the telemetry of a role of this run.
func (r *runFolder) record(ctx context.Context, format telemetry.LogFormat, role string) (*telemetry.Telemetry, error) {
	t, err := telemetry.New(ctx, telemetry.Config{
		Role: role, Spans: r.writer, OTLP: otlpWanted(), Sampler: r.sampler, LogWriter: r.log, LogFormat: format, LogLevel: r.level,
	})
	if err != nil {
		return nil, err
	}
	r.telemetry = append(r.telemetry, t)
	r.manifest.Roles = append(r.manifest.Roles, role)
	return t, nil
}

// otlpWanted reports whether the environment names a collector.
func otlpWanted() bool {
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// close writes what is still to be written. gather may be nil.
func (r *runFolder) close(gather prometheus.Gatherer) error {
	// The run's own context has ended by now.
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	var errs []error
	if r.sampler != nil {
		errs = append(errs, r.sampler.Close(ctx))
	}
	for _, t := range r.telemetry {
		errs = append(errs, t.Shutdown(ctx))
	}
	// Now the counts of spans are final.
	if gather != nil {
		errs = append(errs, r.writeMetrics(gather))
	}
	r.manifest.Spans = &telemetry.SpanCounts{Exported: r.simulated}
	for _, t := range r.telemetry {
		r.manifest.Spans.Add(t.SpanCounts())
	}
	r.manifest.Ended = time.Now().UTC()
	errs = append(errs, r.spans.Close(), r.logFile.Close(), r.writeManifest())
	return errors.Join(errs...)
}

// discard removes the folder of a run that never was: nothing is known of it that its error
// doesn't say.
func (r *runFolder) discard() error {
	return errors.Join(r.close(nil), os.RemoveAll(r.Path))
}

func (r *runFolder) writeManifest() error {
	data, err := json.MarshalIndent(&r.manifest, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.Path, manifestFile), append(data, '\n'), 0o644)
}

// writeMetrics writes the state of all metrics, as OpenMetrics text.
func (r *runFolder) writeMetrics(gather prometheus.Gatherer) error {
	families, err := gather.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	f, err := os.Create(filepath.Join(r.Path, metricsFile))
	if err != nil {
		return err
	}
	encoder := expfmt.NewEncoder(f, expfmt.NewFormat(expfmt.TypeOpenMetrics))
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if closer, ok := encoder.(expfmt.Closer); ok {
		err = closer.Close()
	}
	return errors.Join(err, f.Close())
}
