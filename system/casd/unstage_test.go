package casd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-build/weir/system/casd"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// script makes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnstageCommandsSeeTheTree(t *testing.T) {
	modes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		seen := filepath.Join(t.TempDir(), "seen")
		command := script(t, `echo "$# $1 $(cat "$1/f") $(pwd)" >> `+seen)
		w := newWorld(t, func(c *casd.Config) { c.UnstageCommands = []string{"/no/such", command} })
		s, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: w.putTree(files{"f": "content"}).Proto(), StagingMode: mode, PreUnstageCommands: []string{command, command}})
		if err != nil {
			t.Fatal(err)
		}
		s.end()
		here, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		line := "1 " + s.path + " content " + here + "\n"
		if got, err := os.ReadFile(seen); err != nil || string(got) != line+line {
			t.Errorf("got %q, %v, want %q twice", got, err, line)
		}
	})
}

// The client hears that a command failed, the tree goes all the same.
func TestFailedUnstageCommandEndsTheCall(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	fails, works := script(t, "echo no good >&2; exit 3"), script(t, "touch "+good)
	w := newWorld(t, func(c *casd.Config) { c.UnstageCommands = []string{fails, works} })
	s, err := w.tryStage(&lcpb.StageTreeRequest{RootDigest: w.putTree(files{"f": "x"}).Proto(), PreUnstageCommands: []string{fails, works}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.stream.Send(new(lcpb.StageTreeRequest)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.stream.Recv(); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), fails) || !strings.Contains(err.Error(), "no good") {
		t.Errorf("got %v, want INTERNAL that tells of the command and what it said", err)
	}
	if _, err := os.Stat(good); err != nil {
		t.Errorf("the command after it: %v", err)
	}
	s.gone()
}
