//go:build integration && interop

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"

	"github.com/weir-build/weir/internal/freeport"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner/runnertest"
)

// postgres starts a PostgreSQL, which BuildGrid keeps its queue in, and returns the URL
// of a database.
func postgres(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		lacking(t, "PostgreSQL is not installed (Debian: postgresql)")
	}
	dir := runnertest.OpenDir(t)
	run := func(name string, args ...string) {
		t.Helper()
		command := exec.Command(filepath.Join(found[0], name), args...)
		if os.Getuid() == 0 { // which it refuses to be
			command = exec.Command("runuser", append([]string{"-u", "postgres", "--", command.Path}, args...)...)
		}
		command.Dir = dir
		// Output by way of a file: the server keeps it open.
		p := start(t, command)
		if code := p.wait(t, startLimit); code != 0 {
			t.Fatalf("%s: exit code %d:\n%s", name, code, p.text(t))
		}
	}
	data := filepath.Join(dir, "data")
	run("initdb", "-D", data, "-A", "trust", "-U", "bgd")
	run("pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", "-c listen_addresses= -c fsync=off -c unix_socket_directories="+dir, "start")
	t.Cleanup(func() { run("pg_ctl", "-D", data, "-m", "immediate", "stop") })
	run("createdb", "-h", dir, "-U", "bgd", "bgd")
	return "postgresql+psycopg2:///bgd?host=" + dir + "&user=bgd"
}

// buildGrid starts BuildGrid's server.
func buildGrid(t *testing.T, address string) {
	t.Helper()
	path, database, dir := theirs(t, "bgd"), postgres(t), t.TempDir()
	migrate := launch(t, dir, nil, path, "migrate", "apply", database)
	if code := migrate.wait(t, startLimit); code != 0 {
		t.Fatalf("migrate: exit code %d:\n%s", code, migrate.text(t))
	}
	config := fmt.Sprintf(`server:
  - !channel {address: "%s", insecure-mode: true}
connections:
  - !sql-connection &sql {connection-string: "%s"}
storages:
  - !disk-storage &cas {path: "%s"}
caches:
  - !lru-action-cache &results {storage: *cas, max-cached-refs: 256, allow-updates: true}
schedulers:
  - !sql-scheduler &scheduler
    sql: *sql
    storage: *cas
    action-cache: *results
    property-set: !dynamic-property-set {match-property-keys: [OSFamily, ISA]}
    assigners:
      - !priority-age-assigner {count: 1, interval: 0.2}
instances:
  - name: ''
    services:
      - !action-cache {cache: *results}
      - !execution {scheduler: *scheduler}
      - !cas {storage: *cas}
      - !bytestream {storage: *cas}
thread-pool-size: 40
`, address, database, t.TempDir())
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	awaitPort(t, launch(t, dir, nil, path, "server", "start", "config.yml"), address)
}

// Our worker works for BuildGrid, with our casd in front of its storage.
func TestInteropOurWorkerOnBuildGrid(t *testing.T) {
	server, casd := freeport.Address(t), freeport.Address(t)
	buildGrid(t, server)
	ourCasd(t, casd, "--cas-remote=http://"+server)
	worker := launch(t, t.TempDir(), nil, filepath.Join(programs, "buildbox-worker"),
		"--bots-remote=http://"+server, "--cas-remote=http://"+casd, "--buildbox-run=buildbox-run-hosttools",
		"--platform", "OSFamily=linux", "--platform=ISA=x86-64", "--bots-request-timeout=10", "--concurrent-jobs=2",
		"--graceful-shutdown-timeout=5", "our-bot")
	c := dial(t, "grpc://"+server, "", "")

	response := c.execute(t, c.upload(t, everyday))
	wantStatus(t, response, codes.OK)
	c.wantEveryday(t, response.Result)
	m := response.Result.ExecutionMetadata
	if m.Worker == "" || m.QueuedTimestamp == nil || m.WorkerStartTimestamp == nil || m.ExecutionStartTimestamp == nil || m.WorkerCompletedTimestamp == nil {
		t.Errorf("metadata %v", m)
	}
	// Several, more than there are slots.
	c.wantGood(t, "one")
	c.wantGood(t, "two")

	// A cancelled one is killed.
	w := newWaiting(t)
	ctx, cancel := context.WithCancel(c.context(t))
	defer cancel()
	names := make(chan string, 1)
	go func() {
		_, _ = c.Execute(ctx, c.request(c.upload(t, w.action())), func(u remote.Update) {
			select {
			case names <- u.Name:
			default:
			}
		})
	}()
	eventually(t, callLimit, "the action runs", func() bool { return w.starts(t) == 1 })
	if _, err := longrunningpb.NewOperationsClient(c.Conn()).CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: <-names}); err != nil {
		t.Fatal(err)
	}
	eventually(t, callLimit, "the cancelled action's processes are gone", func() bool { return len(processes(t, w.marker)) == 0 })
	c.wantGood(t, "after that")
	if err := worker.command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := worker.wait(t, endLimit); code != 0 {
		t.Errorf("the worker's exit code is %d", code)
	}
}
