//go:build integration

package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-build/weir/internal/freeport"
	"github.com/weir-build/weir/system/runner/runnertest"
)

// A served is a role in a process of its own: `weir serve ROLE`.
type served struct {
	*process
	folder  string // its run folder
	metrics string // address
}

// serve runs a role by a configuration file and waits until it serves. The keys of
// infra are added to that part of the file.
func serve(t *testing.T, role, config string, infra ...string) *served {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, role+".yaml")
	infra = append([]string{`bind_addr: "127.0.0.1:0"`, `metricsz_bind_addr: "127.0.0.1:0"`}, infra...)
	config += "\ninfra: {" + strings.Join(infra, ", ") + "}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &served{process: launch(t, dir, nil, filepath.Join(programs, "weir"), "serve", role, "-c", file)}
	eventually(t, startLimit, "weir serve "+role+" serves", func() bool {
		if s.hasEnded() {
			t.Fatalf("weir serve %s has ended:\n%s", role, s.text(t))
		}
		lines := bufio.NewScanner(strings.NewReader(s.text(t)))
		for lines.Scan() {
			var line struct{ Msg, Metrics, Record string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				s.folder, s.metrics = filepath.Join(dir, line.Record), line.Metrics
				return true
			}
		}
		return false
	})
	return s
}

// A cluster is one whose roles are processes of their own.
type cluster struct {
	dir                                                      string
	clientAddr, botsAddr, storageAddr, executionAddr, casdAt string

	execution *served
	// infra are keys of all roles' configurations.
	infra []string
	// roles are all that were ever started, the killed ones too.
	roles []*served
}

// sessionTimeout is how soon the cluster's execution-server gives up a worker:
// sooner than it would in earnest, which is a minute.
const sessionTimeout = "3s"

// newCluster starts storage-server, execution-server and proxy-server. casd and
// workers are the test's to start.
func newCluster(t *testing.T, infra ...string) *cluster {
	t.Helper()
	c := &cluster{
		infra: infra, dir: runnertest.OpenDir(t), clientAddr: freeport.Address(t), botsAddr: freeport.Address(t),
		storageAddr: freeport.Address(t), executionAddr: freeport.Address(t), casdAt: freeport.Address(t),
	}
	c.start(t, "storage", storageConfig(c.storageAddr, filepath.Join(c.dir, "storage")))
	c.execution = c.start(t, "execution", c.executionConfig())
	c.start(t, "proxy", fmt.Sprintf(`listen_addresses:
  - addr: %s
    auth_scheme: dev_only_no_auth
    allowed_service_names:
      - build.bazel.remote.execution.v2.ContentAddressableStorage
      - build.bazel.remote.execution.v2.ActionCache
      - build.bazel.remote.execution.v2.Capabilities
      - build.bazel.remote.execution.v2.Execution
      - google.bytestream.ByteStream
      - google.longrunning.Operations
  - addr: %s
    auth_scheme: dev_only_no_auth
    allowed_service_names:
      - build.bazel.remote.execution.v2.ContentAddressableStorage
      - build.bazel.remote.execution.v2.Capabilities
      - google.bytestream.ByteStream
      - google.devtools.remoteworkers.v1test2.Bots
backends:
  storage: {address: "%s"}
  execution: {address: "%s"}
default_backends: {cas: storage, action_cache: storage, execution: execution}
`, c.clientAddr, c.botsAddr, c.storageAddr, c.executionAddr))
	return c
}

func (c *cluster) executionConfig() string { return c.executionConfigWith(sessionTimeout) }

func (c *cluster) executionConfigWith(sessionTimeout string) string {
	return fmt.Sprintf("listen_address: %s\ninstances: [\"\"]\nstorage: grpc://%s\nsession_timeout: %s\njournal: {dir: %s}\n",
		c.executionAddr, c.storageAddr, sessionTimeout, filepath.Join(c.dir, "journal"))
}

func storageConfig(address, dir string) string {
	return fmt.Sprintf("listen_address: %s\ninstances: [\"\"]\ncas: {path: %s}\naction_cache: {path: %s}\n",
		address, filepath.Join(dir, "cas"), filepath.Join(dir, "ac"))
}

func (c *cluster) start(t *testing.T, role, config string) *served {
	t.Helper()
	s := serve(t, role, config, c.infra...)
	c.roles = append(c.roles, s)
	return s
}

// casd starts the casd, or starts it again.
func (c *cluster) casd(t *testing.T) *served {
	t.Helper()
	return c.start(t, "casd", fmt.Sprintf("listen_address: %s\ndir: %s\nremote: {url: \"grpc://%s\"}\n",
		c.casdAt, filepath.Join(c.dir, "casd"), c.botsAddr))
}

// worker starts a worker with one slot.
func (c *cluster) worker(t *testing.T, id string) *served {
	t.Helper()
	work := filepath.Join(c.dir, "work-"+id)
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	return c.start(t, "worker", fmt.Sprintf("bot_id: %s\nbots: {url: \"grpc://%s\"}\ncas: {url: \"grpc://%s\"}\nwork_dir: %s\nslots: 1\n",
		id, c.botsAddr, c.casdAt, work))
}

func (c *cluster) url() string { return "grpc://" + c.clientAddr }

// drain ends what still runs, the last started first, and returns what all roles
// have written.
func (c *cluster) drain(t *testing.T) *record {
	t.Helper()
	folders := make([]string, len(c.roles))
	for i := len(c.roles) - 1; i >= 0; i-- {
		folders[i] = c.roles[i].folder
		if !c.roles[i].hasEnded() {
			c.roles[i].mustEnd(t)
		}
	}
	return readRecord(t, folders...)
}
