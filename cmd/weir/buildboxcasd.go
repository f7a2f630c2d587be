package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
	"github.com/weir-build/weir/system/telemetry"
)

// boxCasd is the command line of buildbox-casd.
type boxCasd struct {
	common
	casd                           stack.Casd
	bind                           string
	mode                           stack.Mode
	cas, actionCache, exec, assets remote.Config
}

func (b *boxCasd) options(stdout, stderr io.Writer) []options.Option {
	c := &b.casd
	text := func(into interface{ UnmarshalText([]byte) error }) func(string) error {
		return func(v string) error { return into.UnmarshalText([]byte(v)) }
	}
	ignored := func(string) error { return nil }
	list := []options.Option{
		{Name: "bind", Value: "ADDRESS", Help: "HOST:PORT or unix:PATH to listen on; default casd.sock in the cache's folder", Set: options.String(&b.bind)},
		{Name: "unix-socket-mode", Value: "MODE", Help: "of that socket, in octal; default 0600", Set: text(&b.mode)},
		{Name: "allow-pre-unstage-command", Value: "PATH", Help: "program that clients may have run before a tree goes; repeatable", Set: options.Append(&c.UnstageCommands)},
		{Name: "quota-high", Value: "SIZE", Help: "how large the cache may get, with suffix K, M, G or T of 1000, or Ki and so on of 1024; default no bound", Set: text(&c.Quota)},
		{Name: "quota-low", Value: "SIZE", Help: "how much is left when something had to go, also as a percentage of --quota-high, without which it has no effect", Set: text(&c.QuotaLow)},
		{Name: "reserved", Value: "SIZE", Help: "how much of the disk is kept free", Set: text(&c.Reserved)},
		{Name: "protect-session-blobs", Help: "keep blobs that were used since the start", Set: options.True(&c.ProtectSessionBlobs)},
		{Name: "cache-failures", Value: "BOOL", Help: "keep results with an exit code other than 0; default true", Set: b.setCacheFailures},
		{Name: "read-only-remote", Help: "send nothing to the remotes", Set: options.True(&c.ReadOnly)},
		{Name: "local-server-instance", Value: "NAME", Help: "instance of the local cache alone; repeatable", Optional: true, Set: options.Append(&c.LocalInstances)},
		{Name: "proxy-instance", Value: "LOCAL[:REMOTE]", Help: "another instance, and its name at the remotes; repeatable", Set: b.addProxy},
		{Name: "num-io-threads", Value: "N", Help: "without effect: there are as many as calls", Set: ignored},
		{Name: "num-digest-threads", Value: "N", Help: "without effect, likewise", Set: ignored},
		{Name: "buildbox-run", Value: "PATH", Help: "without effect: casd runs no actions by itself", Set: ignored},
		{Name: "runner-arg", Value: "ARG", Help: "without effect, likewise", Set: ignored},
		{Name: "jobs", Value: "N", Help: "without effect, likewise", Set: ignored},
		{Name: "findmissingblobs-cache-ttl", Value: "SECONDS", Help: "the remote is asked each time"},
		{Name: "exec-fallback-to-local", Help: "casd runs no actions by itself"},
	}
	list = append(list, b.common.options(stdout, stderr, func(w io.Writer) error { return b.usage(w, stdout, stderr) })...)
	list = append(list, options.Remote("", &b.cas, &b.actionCache, &b.exec, &b.assets)...)
	list = append(list, options.Remote("cas-", &b.cas)...)
	list = append(list, options.Remote("ac-", &b.actionCache)...)
	list = append(list, options.Remote("exec-", &b.exec)...)
	return append(list, options.Remote("ra-", &b.assets)...)
}

func (b *boxCasd) setCacheFailures(v string) error {
	keep, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("%.50q is neither true nor false", v)
	}
	b.casd.CacheFailures = &keep
	return nil
}

func (b *boxCasd) addProxy(v string) error {
	local, remote, ok := strings.Cut(v, ":")
	if !ok {
		remote = local
	}
	if b.casd.ProxyInstances == nil {
		b.casd.ProxyInstances = make(map[string]string)
	}
	b.casd.ProxyInstances[local] = remote
	return nil
}

func (b *boxCasd) usage(w, stdout, stderr io.Writer) error {
	return options.WriteUsage(w, fmt.Sprintf(`Usage: %s [OPTION]... CACHE_FOLDER
Caches blobs, and stages and captures trees for runners.

Example:
  %s --bind=unix:/run/casd.sock --remote=grpc://127.0.0.1:8980 --quota-high=30G /var/cache/casd

`, b.name, b.name), b.options(stdout, stderr))
}

// buildboxCasd is the program buildbox-casd.
func buildboxCasd(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	b := &boxCasd{common: common{name: "buildbox-casd"}}
	if ended, err := b.parse(args, b.options(stdout, stderr), "the cache's folder", &b.casd.Dir); ended {
		return err
	}
	if b.casd.Dir == "" {
		return usageError{errors.New("the folder of the cache is missing: name it after the options")}
	}
	root, err := filepath.Abs(b.casd.Dir)
	if err != nil {
		return err
	}
	// As BuildBox has it, whose clients read blobs there: action results and assets would
	// be beside it.
	b.casd.Dir = filepath.Join(root, "cas")
	for _, service := range []struct {
		from remote.Config
		to   *stack.Remote
	}{{b.cas, &b.casd.CAS}, {b.actionCache, &b.casd.ActionCache}, {b.exec, &b.casd.Execution}, {b.assets, &b.casd.Assets}} {
		if service.from.URL != "" {
			*service.to = stack.RemoteOf(service.from)
		}
	}
	if b.casd.Quota == 0 {
		b.casd.QuotaLow = stack.Mark{} // of what?
	}
	if b.bind == "" {
		b.bind = "unix:" + filepath.Join(root, "casd.sock")
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	listener, err := stack.Listen(b.bind, b.mode)
	if err != nil {
		return err
	}
	err = b.run(ctx, "casd", stderr, func(t *telemetry.Telemetry) (*stack.Role, error) { return stack.NewCasd(b.casd, t, listener) })
	listener.Close() // a server that ran has closed it already
	return err
}
