package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/golang-jwt/jwt/v5"

	"github.com/weir-build/weir/internal/clustertest"
	"github.com/weir-build/weir/system/stack"
)

// asked is what commands are asked for in a test: of one cluster.
type asked struct {
	t      *testing.T
	server []string
}

// weir runs a command and returns what it prints, and how it ends.
func (a asked) weir(args ...string) (stdout, stderr string, code int) {
	a.t.Helper()
	var out, errs bytes.Buffer
	code = run(a.t.Context(), append(append([]string{"weir"}, args...), a.server...), &out, &errs)
	return out.String(), errs.String(), code
}

// says runs a command that has to work, and checks that it says some things.
func (a asked) says(command string, wants ...string) string {
	a.t.Helper()
	stdout, stderr, code := a.weir(strings.Fields(command)...)
	if code != 0 || stderr != "" {
		a.t.Errorf("weir %s: exit code %d: %s", command, code, stderr)
	}
	for _, want := range wants {
		if !strings.Contains(stdout, want) {
			a.t.Errorf("weir %s doesn't say %q:\n%s", command, want, stdout)
		}
	}
	return stdout
}

// refuses runs a command that has to fail, and checks that it says some things.
func (a asked) refuses(command string, wantCode int, wants ...string) {
	a.t.Helper()
	_, stderr, code := a.weir(strings.Fields(command)...)
	if code != wantCode {
		a.t.Errorf("weir %s: exit code %d, want %d", command, code, wantCode)
	}
	for _, want := range wants {
		if !strings.Contains(stderr, want) {
			a.t.Errorf("weir %s doesn't say %q:\n%s", command, want, stderr)
		}
	}
}

// execute begins an action and returns the name of its operation.
func execute(t *testing.T, c *clustertest.Cluster, platform string) string {
	t.Helper()
	client := c.Dial(c.Recorder("client"))
	action, blobs := clustertest.Action{Script: "true", Platform: []string{platform}, NoCache: true}.Blobs(t)
	if err := client.WriteBlobs(t.Context(), blobs); err != nil {
		t.Fatal(err)
	}
	stream, err := repb.NewExecutionClient(client.Conn()).Execute(t.Context(), &repb.ExecuteRequest{ActionDigest: action.Proto(), SkipCacheLookup: true})
	if err != nil {
		t.Fatal(err)
	}
	op, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return op.Name
}

func TestCommandsAskTheScheduler(t *testing.T) {
	c := clustertest.Start(t, stack.Cluster{})
	ask := asked{t, []string{"--server", "grpc://" + c.Up.Client}}
	bot := c.Bot("builder-1", "", "OSFamily=linux")
	first := execute(t, c, "OSFamily=linux")
	bot.Take()
	second, third := execute(t, c, "OSFamily=linux"), execute(t, c, "OSFamily=windows")

	ask.says("queue explain "+first, first+": executing\n", "Worker builder-1 has had it for")
	ask.says("queue explain "+second, "queued, workers_busy", "1 of 1 slot of 1 worker that serves its platform is taken. Of 1 queued task of its platform it comes next.",
		"platform   OSFamily=linux")
	// The id will do.
	ask.says("queue explain "+strings.TrimPrefix(third, "operations/"), "queued, no_matching_worker", "no worker has OSFamily=windows (1 has OSFamily=linux).")
	var explained struct {
		Reason  string `json:"reason"`
		Missing []struct {
			Key string `json:"key"`
		} `json:"missing"`
	}
	if err := json.Unmarshal([]byte(ask.says("queue explain "+third+" --format json")), &explained); err != nil {
		t.Fatal(err)
	}
	if explained.Reason != "no_matching_worker" || len(explained.Missing) != 1 || explained.Missing[0].Key != "OSFamily" {
		t.Errorf("explained as JSON: %+v, want what is missing", explained)
	}
	ask.refuses("queue explain operations/nope", exitFailed, `operation "operations/nope" is unknown`)

	ask.says("top --once", "2 queued", "1 executing", "QUEUES (2)", "OSFamily=windows", "no_matching_worker", strings.TrimPrefix(third, "operations/"), "builder-1")
	var state struct {
		Queued  int `json:"queued"`
		Workers []struct {
			Name string `json:"name"`
			Busy int    `json:"busy"`
		} `json:"workers"`
	}
	if err := json.Unmarshal([]byte(ask.says("top --once --format json")), &state); err != nil {
		t.Fatal(err)
	}
	if state.Queued != 2 || len(state.Workers) != 1 || state.Workers[0].Name != "builder-1" || state.Workers[0].Busy != 1 {
		t.Errorf("the state as JSON: %+v, want two queued and builder-1 busy", state)
	}

	ask.says("drain --property OSFamily=linux", "builder-1: drained, 1 of 1 slots taken\n")
	ask.says("queue explain "+second, "workers_drained", "the only worker that serves its platform is drained")
	ask.says("top --once", "drained: workers with OSFamily=linux, since")
	ask.says("drain --property OSFamily=windows", "No worker with OSFamily=windows is connected. Those that come will be drained.")
	ask.refuses("drain --worker builder-1 --undo", exitFailed, "drained as one of the workers with OSFamily=linux: undo that")
	ask.refuses("drain --worker nobody", exitFailed, `worker "nobody" is not connected`)
	ask.says("drain --property OSFamily=linux --undo --format json", `"drained": false`)
	ask.says("drain --worker builder-1", "builder-1: drained")

	ask.refuses("drain", exitUsage, "want either --worker NAME or --property KEY=VALUE")
	ask.refuses("drain --property linux", exitUsage, `--property "linux": want KEY=VALUE`)
	ask.refuses("drain --worker a --undo --wait", exitUsage, "nothing to wait for")
	ask.refuses("top --format json", exitUsage, "--format json needs --once")
	ask.refuses("top --interval 1ms", exitUsage, "--interval 1ms: want 200ms to 1m")
}

// A drain that waits ends when the last action of the worker has.
func TestDrainWaits(t *testing.T) {
	c := clustertest.Start(t, stack.Cluster{})
	ask := asked{t, []string{"--server", "grpc://" + c.Up.Client}}
	bot := c.Bot("builder-1", "", "OSFamily=linux")
	execute(t, c, "OSFamily=linux")
	lease := bot.Take()
	drained := make(chan string, 1)
	go func() {
		stdout, stderr, _ := ask.weir("drain", "--worker", "builder-1", "--wait")
		drained <- stdout + stderr
	}()
	// It is drained before the action ends.
	for until := time.Now().Add(20 * time.Second); !strings.Contains(ask.says("top --once"), "drained: worker builder-1"); {
		if time.Now().After(until) {
			t.Fatal("the worker isn't drained")
		}
	}
	select {
	case text := <-drained:
		t.Fatalf("the command ended while the action ran: %s", text)
	default:
	}
	if err := bot.Complete(lease, &repb.ActionResult{}); err != nil {
		t.Fatal(err)
	}
	if got, want := <-drained, "builder-1: drained, 0 of 1 slots taken\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	asked{t, []string{"--server", "grpc://127.0.0.1:1"}}.refuses("top --once", exitFailed, "no server answers at grpc://127.0.0.1:1: is weir up running?")
	asked{t, []string{"--server", "nonsense"}}.refuses("top --once", exitUsage, "want grpc://HOST:PORT")

	secret := []byte("0123456789abcdef0123456789abcdef")
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys := file("jwks.json", fmt.Sprintf(`{"keys": [{"kty": "oct", "alg": "HS256", "kid": "h", "k": %q}]}`, base64.RawURLEncoding.EncodeToString(secret)))
	token := func(scope string) string {
		k := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"iat": time.Now().Unix() - 10, "exp": time.Now().Add(time.Hour).Unix(), "aud": []string{scope}, "toolchain_customer": "acme",
		})
		k.Header["kid"] = "h"
		signed, err := k.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return file(scope, signed)
	}
	c := clustertest.Start(t, stack.Cluster{JWKSet: keys, Instance: "acme"})
	ask := asked{t, []string{"--server", "grpc://" + c.Up.Client, "--instance", "acme"}}
	ask.refuses("top --once", exitFailed, "wants to know who asks: name the file of a token with the scope admin by --token")
	ask.refuses("top --once --token "+token("exec"), exitFailed, `the token needs the scope admin (its claim aud), and to be for the instance "acme"`)
	ask.says("top --once --token "+token("admin"), `instance "acme"`)
	ask = asked{t, []string{"--server", "grpc://" + c.Up.Bots, "--instance", "acme"}}
	ask.refuses("top --once", exitFailed, "doesn't offer this: its listener's allowed_service_names must have weir.admin.v1.Admin")
}
