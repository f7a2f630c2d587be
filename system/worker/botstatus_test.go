package worker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-build/weir/system/proto/bots"
	"github.com/weir-build/weir/system/worker"
)

func TestStatusFileTakesTheWorkerOutOfService(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("# of machine 7\nbotStatus: ok\n")
	r := newRig(t, func(c *worker.Config) { c.StatusFile = file })
	gate := fifo(t)
	r.nextUpdate().reply(offer(t, "a", "until "+gate))
	r.nextUpdate("a:ACTIVE").reply(active("a"))
	held := r.nextUpdate("a:ACTIVE")

	write("botStatus: UNHEALTHY")
	<-held.ctx.Done()
	p := r.nextUpdate("a:ACTIVE") // what runs goes on
	if got := p.session.Status; got != bots.BotStatus_UNHEALTHY {
		t.Errorf("status %v, want UNHEALTHY", got)
	}
	p.reply(active("a"), offer(t, "b", "named"))
	held = r.nextUpdate("a:ACTIVE") // b isn't taken

	write("botStatus: host_rebooting")
	<-held.ctx.Done()
	held = r.nextUpdate("a:ACTIVE")
	if got := held.session.Status; got != bots.BotStatus_HOST_REBOOTING {
		t.Errorf("status %v, want HOST_REBOOTING", got)
	}
	write("botStatus: ok")
	<-held.ctx.Done()
	held = r.nextUpdate("a:ACTIVE")
	if got := held.session.Status; got != bots.BotStatus_OK {
		t.Errorf("status %v, want OK", got)
	}

	write("botStatus: BotTerminating")
	<-held.ctx.Done()
	p = r.nextUpdate("a:ACTIVE")
	if got := p.session.Status; got != bots.BotStatus_BOT_TERMINATING {
		t.Errorf("status %v, want BOT_TERMINATING", got)
	}
	r.endsWith(t, p, gate)
}

func TestStatusFileMustMakeSenseAtTheStart(t *testing.T) {
	for text, want := range map[string]string{
		"botStatus: fine": `botStatus "fine" is none of ok`,
		"":                `botStatus "" is none of ok`,
		"status: ok":      "field status not found",
		"\xff":            "status",
	} {
		file := filepath.Join(t.TempDir(), "status")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := startRig(t, func(c *worker.Config) { c.StatusFile = file })
		if err := r.leave(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: ended with %v, want %q", text, err, want)
		}
	}
	r := startRig(t, func(c *worker.Config) { c.StatusFile = "/no/such/file" })
	if err := r.leave(); err == nil || !strings.Contains(err.Error(), "bot status: open /no/such/file") {
		t.Errorf("ended with %v", err)
	}
}
