//go:build integration && interop

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-build/weir/system/runner/runnertest"
)

// buildStreamLimit bounds a build.
const buildStreamLimit = 3 * time.Minute

// A buildStream is a BuildStream project with a home of its own.
type buildStream struct {
	dir, home string
	env       []string
}

// newBuildStream makes a project of three elements: a busybox, something that is built
// with it, and something built of that.
func newBuildStream(t *testing.T, path, config string) *buildStream {
	t.Helper()
	busybox := program(t, "busybox") // a static one (Debian: busybox-static)
	b := &buildStream{dir: runnertest.OpenDir(t), home: runnertest.OpenDir(t)}
	b.env = []string{"PATH=" + path, "HOME=" + b.home, "XDG_CACHE_HOME=" + b.home + "/cache", "XDG_CONFIG_HOME=" + b.home}
	for name, text := range map[string]string{
		"project/project.conf": "name: interop\nmin-version: 2.0\nelement-path: elements\n",
		"project/elements/base.bst": words(
			"kind: import", "sources:", "- kind: local", "  path: files"),
		"project/elements/part.bst": words(
			"kind: manual", "build-depends:", "- base.bst", "config:",
			"  build-commands:", `  - echo "made in a sandbox" > part`,
			"  install-commands:", `  - mkdir -p "%{install-root}/share/empty"`, `  - cp part "%{install-root}/share/"`, `  - ln -s part "%{install-root}/share/link"`),
		"project/elements/whole.bst": words(
			"kind: script", "build-depends:", "- base.bst", "- filename: part.bst", "  config:", "    location: /in",
			"config:", "  commands:", `  - mkdir -p "%{install-root}"`, `  - cat /in/share/part /in/share/link > "%{install-root}/whole"`),
		"buildstream.conf": config,
	} {
		file := filepath.Join(b.dir, strings.TrimPrefix(name, "project/"))
		if name == "buildstream.conf" {
			file = filepath.Join(b.home, name)
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(b.dir, "files", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "busybox"), data, 0o755)
	}
	for _, name := range []string{"sh", "cat", "cp", "echo", "ln", "mkdir", "env", "true"} {
		if err == nil {
			err = os.Symlink("busybox", filepath.Join(bin, name))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs BuildStream in the project, and fails the test unless it exits with 0.
func (b *buildStream) run(t *testing.T, args ...string) string {
	t.Helper()
	p := launch(t, b.dir, b.env, theirs(t, "bst"), append([]string{"--no-interactive", "--no-colors"}, args...)...)
	code := p.wait(t, buildStreamLimit)
	if code != 0 {
		logs, _ := filepath.Glob(filepath.Join(b.home, "cache/buildstream/logs/_casd/*"))
		for _, log := range logs {
			data, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", log, data)
		}
		t.Fatalf("bst %q: exit code %d:\n%s", args, code, p.text(t))
	}
	return p.text(t)
}

// build builds all and looks at what came of it.
func (b *buildStream) build(t *testing.T) (log string) {
	t.Helper()
	log = b.run(t, "build", "whole.bst")
	b.run(t, "artifact", "checkout", "whole.bst", "--directory", filepath.Join(b.dir, "out"))
	got, err := os.ReadFile(filepath.Join(b.dir, "out", "whole"))
	if want := "made in a sandbox\nmade in a sandbox\n"; err != nil || string(got) != want {
		t.Errorf("the artifact holds %q, %v, want %q", got, err, want)
	}
	return log
}

// theirPath is a PATH in which BuildStream finds its own tools, and before them those in
// a folder, if any.
func theirPath(t *testing.T, before string) string {
	t.Helper()
	path := filepath.Dir(theirs(t, "bst")) + ":" + os.Getenv("PATH")
	if before != "" {
		path = before + ":" + path
	}
	return path
}

// onlyCasd is a folder with our casd alone.
func onlyCasd(t *testing.T) string {
	t.Helper()
	weir, err := filepath.Abs(filepath.Join(programs, "weir"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(weir, filepath.Join(dir, "buildbox-casd")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// BuildStream builds with its own casd, which shows that it can build here, and with ours
// in its place.
func TestInteropBuildStream(t *testing.T) {
	program(t, "bwrap")
	t.Run("with its casd", func(t *testing.T) { newBuildStream(t, theirPath(t, ""), "").build(t) })
	t.Run("with ours", func(t *testing.T) {
		b := newBuildStream(t, theirPath(t, onlyCasd(t)), "")
		b.build(t)
		if notThere(filepath.Join(b.home, "cache/buildstream/cas/lock")) {
			t.Error("there is no trace of our casd in the cache's folder")
		}
		// What it has built is there the next time.
		if log := b.run(t, "build", "whole.bst"); !strings.Contains(log, "Build Queue: processed 0") {
			t.Errorf("it builds again:\n%s", log)
		}
	})
}

// BuildStream sends its commands to our remote execution service, whose workers run them
// in BuildBox's sandbox.
func TestInteropBuildStreamRemote(t *testing.T) {
	program(t, "bwrap")
	for name, casd := range map[string]func(*testing.T) string{"with its casd": func(*testing.T) string { return "" }, "with ours": onlyCasd} {
		t.Run(name, func(t *testing.T) {
			cluster := upAt(t, runnertest.OpenDir(t), nil, "--runner", theirs(t, "buildbox-run"), "--platform", "OSFamily=linux", "--platform", "ISA=x86-64")
			url := "http://" + cluster.addresses["client"]
			b := newBuildStream(t, theirPath(t, casd(t)), fmt.Sprintf(`remote-execution:
  execution-service: {url: "%s"}
  storage-service: {url: "%s"}
  action-cache-service: {url: "%s", push: true}
`, url, url, url))
			b.build(t)
		})
	}
}
