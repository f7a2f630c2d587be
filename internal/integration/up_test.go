//go:build integration

package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/weir-build/weir/traces/lifecycle"
)

// An upCluster is a whole cluster: a process that runs `weir up`.
type upCluster struct {
	*process
	dir       string // where it runs: runs/ is in it
	folder    string // its run folder
	addresses map[string]string
}

// recordLine is how `weir up` names its run folder, once it serves.
var recordLine = regexp.MustCompile(`(?m)^  record +(\S+)$`)

// upArgs is the command that starts a cluster on free ports.
func upArgs(more ...string) []string {
	return append([]string{
		"up", "--listen", "127.0.0.1:0", "--listen-workers", "127.0.0.1:0", "--listen-casd", "127.0.0.1:0",
		"--listen-health", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0",
	}, more...)
}

// up starts a cluster with empty stores and waits until it serves.
func up(t *testing.T, args ...string) *upCluster {
	t.Helper()
	return upAt(t, t.TempDir(), nil, args...)
}

// upAt starts a cluster whose stores are in a folder, with variables added to
// its environment.
func upAt(t *testing.T, stores string, env []string, args ...string) *upCluster {
	t.Helper()
	c := &upCluster{dir: t.TempDir()}
	c.process = launch(t, c.dir, env, filepath.Join(programs, "weir"), upArgs(append([]string{"--dir", stores}, args...)...)...)
	eventually(t, startLimit, "weir up serves", func() bool {
		if c.hasEnded() {
			t.Fatalf("weir up has ended:\n%s", c.text(t))
		}
		line := recordLine.FindStringSubmatch(c.text(t))
		if line == nil {
			return false
		}
		c.folder = filepath.Join(c.dir, line[1])
		return true
	})
	c.addresses = addresses(t, c.folder)
	return c
}

// addresses reads the listen addresses from a run's manifest.
func addresses(t *testing.T, folder string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Addresses map[string]string `json:"addresses"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	return manifest.Addresses
}

// url is where clients reach the cluster.
func (c *upCluster) url() string { return "grpc://" + c.addresses["client"] }

// drain interrupts the cluster, which must end in order, and returns what it
// leaves behind, having checked it.
func (c *upCluster) drain(t *testing.T, o lifecycle.Options) *record {
	t.Helper()
	c.mustEnd(t)
	r := readRecord(t, c.folder)
	r.check(t, o)
	return r
}
