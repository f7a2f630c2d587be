package runner_test

import (
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/runner"
)

func TestParseArgs(t *testing.T) {
	me := strconv.Itoa(os.Getuid())
	base := func(change func(*runner.Options)) runner.Options {
		o := runner.Options{Remote: remote.Config{URL: "grpc://h:1"}, LogLevel: slog.LevelInfo}
		change(&o)
		return o
	}
	for _, test := range []struct {
		args string
		want runner.Options
	}{
		{"", base(func(*runner.Options) {})},
		{"--instance=a/b", base(func(o *runner.Options) { o.Remote.Instance = "a/b" })},
		{"--instance=", base(func(*runner.Options) {})},
		{"--action=a --action-result=b=c", base(func(o *runner.Options) { o.Action, o.ActionResult = "a", "b=c" })},
		{"--access-token=t --remote=grpcs://h", base(func(o *runner.Options) { o.Remote.URL, o.Remote.AccessToken = "grpcs://h", "t" })},
		{"--server-cert=s --client-key=k --client-cert=c --remote=https://h", base(func(o *runner.Options) {
			o.Remote = remote.Config{URL: "https://h", ServerCert: "s", ClientKey: "k", ClientCert: "c"}
		})},
		{"--token-reload-interval=5", base(func(o *runner.Options) { o.Remote.TokenReload = 5 * time.Minute })},
		{"--token-reload-interval=5M", base(func(o *runner.Options) { o.Remote.TokenReload = 5 * time.Minute })},
		{"--token-reload-interval=5H", base(func(o *runner.Options) { o.Remote.TokenReload = 5 * time.Hour })},
		{"--retry-limit=0", base(func(o *runner.Options) { o.Remote.RetryLimit = -1 })},
		{"--retry-limit=3 --retry-delay=250", base(func(o *runner.Options) { o.Remote.RetryLimit, o.Remote.RetryDelay = 3, 250*time.Millisecond })},
		{"--request-timeout=9 --keepalive-time=8", base(func(o *runner.Options) { o.Remote.RequestTimeout, o.Remote.Keepalive = 9*time.Second, 8*time.Second })},
		{"--load-balancing-policy=round_robin", base(func(*runner.Options) {})},
		{"--workspace-path=/w", base(func(o *runner.Options) { o.Workspace = "/w" })},
		{"--disable-localcas", base(func(o *runner.Options) { o.DisableLocalCAS = true })},
		{"--nested-ac-enable-update", base(func(o *runner.Options) { o.NestedUpdates = true })},
		{"--use-localcas", base(func(*runner.Options) {})},
		{"--stdout-file=o --stderr-file=e", base(func(o *runner.Options) { o.StdoutFile, o.StderrFile = "o", "e" })},
		{"--no-logs-capture --collect-execution-stats", base(func(o *runner.Options) { o.NoLogsCapture, o.CollectStats = true, true })},
		{"--staging-mode=fuse", base(func(o *runner.Options) { o.StagingMode = localcas.StageTreeRequest_FUSE })},
		{"--staging-mode=copy-or-link", base(func(o *runner.Options) { o.StagingMode = localcas.StageTreeRequest_COPY_OR_LINK })},
		{"--log-level=WARNING", base(func(o *runner.Options) { o.LogLevel = slog.LevelWarn })},
		{"--log-level=trace", base(func(o *runner.Options) { o.LogLevel = options.LevelTrace })},
		{"--verbose", base(func(o *runner.Options) { o.LogLevel = slog.LevelDebug })},
		{"--log-directory=d", base(func(o *runner.Options) { o.LogDirectory = "d" })},
		{"--run-as=" + me + ":7", base(func(o *runner.Options) { o.RunAs = &runner.User{UID: os.Getuid(), GID: 7} })},
		{"--run-as=" + me, base(func(o *runner.Options) { o.RunAs = &runner.User{UID: os.Getuid(), GID: os.Getuid()} })},
		{"--validate-parameters", base(func(o *runner.Options) { o.Task = runner.ValidateParameters })},
	} {
		t.Run(test.args, func(t *testing.T) {
			got, err := runner.ParseArgs(append([]string{"--remote=grpc://h:1"}, strings.Fields(test.args)...))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(test.args, "--run-as") {
				got.RunAs = nil // TestRunAs
			}
			if diff := cmp.Diff(got, test.want); diff != "" {
				t.Errorf("-got +want\n%s", diff)
			}
		})
	}
}

func TestParseArgsRefuses(t *testing.T) {
	const url = "--remote=grpc://h:1 "
	for _, test := range []struct{ args, want string }{
		{"", "--remote is missing"},
		{"--validate-parameters", "--remote is missing"},
		{"--remote", "needs a value: --remote=URL"},
		{"--remote=", "needs a value"},
		{"--remote=ftp://h", `unknown scheme "ftp"`},
		{"--remote grpc://h:1", "needs a value"},
		{url + "action", `unexpected argument "action"`},
		{url + "-v", `unexpected argument "-v"`},
		{url + "--", `unexpected argument "--"`},
		{url + "--frobnicate", "unknown option --frobnicate"},
		{url + "--verbose=1", "--verbose takes no value"},
		{url + "--retry-limit=-1", "is not a number"},
		{url + "--retry-delay=1s", "is not a number"},
		{url + "--token-reload-interval=M", "is not a number of minutes"},
		{url + "--token-reload-interval=5S", "is not a number of minutes"},
		{url + "--staging-mode=hardlink", "neither fuse nor copy-or-link"},
		{url + "--run-as=me", "want UID or UID:GID"},
		{url + "--run-as=1:4294967295", "numbers up to 4294967294"},
		{url + "--log-level=loud", "none of trace"},
		{url + "--load-balancing-policy=grpclb", "not supported"},
		{url + "--googleapi-auth", "Google's credentials need grpcs://"},
		{url + "--credential-helper=x", "access token leaves this machine only"},
		{"--remote=grpcs://h:1 --access-token=x --googleapi-auth", "exclude each other"},
		{url + "--min-throughput=1Q", "want a number"},
		{url + "--retry-on-code=5", "not the name of a gRPC status"},
		{url + "--log-file=x", "use --log-directory"},
		{url + "--server-cert=x", "certificates need grpcs://"},
		{url + "--access-token=x", "access token leaves this machine only"},
		{url + "--instance=a/../b", "malformed instance name"},
	} {
		t.Run(test.args, func(t *testing.T) {
			_, err := runner.ParseArgs(strings.Fields(test.args))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

func FuzzParseArgs(f *testing.F) {
	f.Add("--remote=grpc://h:1\n--staging-mode=fuse\n--verbose")
	f.Add("--remote=unix:x\n--workspace-path=w\n--log-level=error")
	f.Add("--help")
	f.Fuzz(func(t *testing.T, lines string) {
		o, err := runner.ParseArgs(strings.Split(lines, "\n"))
		if err == nil && o.Task != runner.ShowHelp && o.Task != runner.ShowVersion && o.Task != runner.ShowCapabilities && o.Remote.Validate() != nil {
			t.Errorf("accepted %q, which names no server", lines)
		}
	})
}
