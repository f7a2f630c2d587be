package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// Scripts tell a mistake of theirs from what couldn't be done by the exit code.
func TestWrongCallsExitWith2(t *testing.T) {
	for _, call := range []string{
		"upp", "trace bogus", "serve bogus", "load", "load smoke --tarjet x", "load smoke --duration -5s", "up extra", "serve worker", "sim cold-build --policy fiar",
		"sim fuzz --runs -1", "trace diff a", "validate smoke --duration 0s", "sim sweep cold-build --vary workers=1..2 --duration -1s", "sim branch cold-build --at 1s --with workers=2 --duration 0s",
	} {
		var out, errs strings.Builder
		if code := run(t.Context(), append([]string{"weir"}, strings.Fields(call)...), &out, &errs); code != exitUsage {
			t.Errorf("weir %s: exit code %d, want %d:\n%s", call, code, exitUsage, errs.String())
		}
		if !strings.HasSuffix(errs.String(), "\nSee --help.\n") || out.Len() > 0 {
			t.Errorf("weir %s says on standard output %q, on standard error %q", call, out.String(), errs.String())
		}
	}
}

func TestARunThatNeverWasLeavesNoFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, call := range []string{
		"sim cas-mix", "up --memory --runner no-such-runner --listen 127.0.0.1:0 --listen-workers 127.0.0.1:0 --listen-casd 127.0.0.1:0",
		"up --memory --runner internal:sleep --dir up --listen 127.0.0.1:0 --listen-workers 127.0.0.1:0 --listen-casd 127.0.0.1:0 --listen-health 127.0.0.1:-1",
	} {
		var out, errs strings.Builder
		if code := run(t.Context(), append([]string{"weir"}, strings.Fields(call)...), &out, &errs); code != exitFailed {
			t.Errorf("weir %s: exit code %d, want %d:\n%s%s", call, code, exitFailed, out.String(), errs.String())
		}
		entries, err := os.ReadDir("runs")
		if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
			t.Errorf("weir %s leaves %v (error %v)", call, entries, err)
		}
	}
}

func TestAnInterruptedSimulationSaysSoAndLeavesNoFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs strings.Builder
	code := run(ctx, []string{"weir", "sim", "incremental-day", "--duration", "24h"}, &out, &errs)
	if got, want := errs.String(), "weir: simulate incremental-day: interrupted, and left nothing: half a run says nothing of the whole\n"; code != exitFailed || got != want {
		t.Errorf("exit code %d, want %d; got %q, want %q", code, exitFailed, got, want)
	}
	if entries, err := os.ReadDir("runs"); err != nil || len(entries) > 0 {
		t.Errorf("it leaves %v (error %v)", entries, err)
	}
}
