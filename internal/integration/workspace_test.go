//go:build integration

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// buildLimit bounds one command of Bazel.
const buildLimit = 2 * time.Minute

// A workspace is a folder that Bazel builds, with a Bazel server of its own.
type workspace struct {
	dir  string
	path string   // of bazel
	root []string // startup options
}

// newWorkspace writes files into a new workspace. Its server ends with the test.
func newWorkspace(t *testing.T, files map[string]string) *workspace {
	t.Helper()
	w := &workspace{dir: t.TempDir(), path: program(t, "bazel")}
	// What Bazel unpacks is read-only, which t.TempDir doesn't remove.
	root, err := os.MkdirTemp("", "weir-bazel-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("chmod", "-R", "u+w", root).Run()
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	// A server whose test was killed ends by itself. The system's bazelrc is left:
	// in Debian it says where Bazel is.
	w.root = []string{"--nohome_rc", "--output_user_root=" + root, "--max_idle_secs=300"}
	for path, content := range files {
		w.write(t, path, content)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), buildLimit)
		defer cancel()
		if out, err := w.command(ctx, "shutdown").CombinedOutput(); err != nil {
			t.Errorf("bazel shutdown: %v\n%s", err, out)
		}
	})
	return w
}

func (w *workspace) write(t *testing.T, path, content string) {
	t.Helper()
	path = filepath.Join(w.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (w *workspace) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, w.path, append(w.root[:len(w.root):len(w.root)], args...)...)
	c.Dir = w.dir
	if os.Getenv("HOME") == "" {
		c.Env = append(os.Environ(), "HOME="+w.dir)
	}
	return c
}

// clean forgets what has been built here; the cluster remembers.
func (w *workspace) clean(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildLimit)
	defer cancel()
	if out, err := w.command(ctx, "clean").CombinedOutput(); err != nil {
		t.Fatalf("bazel clean: %v\n%s", err, out)
	}
}

// A bazelBuild is what `bazel build` said.
type bazelBuild struct {
	invocation string
	output     string
	exit       int
	ran, hits  int // actions that ran remotely, and those from the cache
	local      int // actions that ran on this machine, which none should
}

var (
	invocationLine = regexp.MustCompile(`(?m)^INFO: Invocation ID: (\S+)$`)
	processesLine  = regexp.MustCompile(`(?m)^INFO: \d+ process(?:es)?: (.*)\.$`)
)

// build builds a target on a cluster.
func (w *workspace) build(t *testing.T, url, target string, flags ...string) bazelBuild {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), buildLimit)
	defer cancel()
	args := append([]string{
		"build", target, "--remote_executor=" + url, "--spawn_strategy=remote", "--noshow_progress", "--color=no", "--curses=no",
	}, flags...)
	out, err := w.command(ctx, args...).CombinedOutput()
	b := bazelBuild{output: string(out)}
	if exit, ok := err.(*exec.ExitError); ok {
		b.exit = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("bazel build: %v", err)
	}
	if ctx.Err() != nil {
		t.Fatalf("bazel build took longer than %v:\n%s", buildLimit, out)
	}
	if m := invocationLine.FindStringSubmatch(b.output); m != nil {
		b.invocation = m[1]
	}
	if m := processesLine.FindStringSubmatch(b.output); m != nil {
		for part := range strings.SplitSeq(m[1], ", ") {
			count, kind, _ := strings.Cut(part, " ")
			n, err := strconv.Atoi(count)
			if err != nil {
				t.Fatalf("bazel said %q: %v", m[0], err)
			}
			switch kind {
			case "remote":
				b.ran = n
			case "remote cache hit":
				b.hits = n
			case "internal":
			default:
				b.local += n
			}
		}
	}
	return b
}

// want checks that a build succeeded with so many actions run and found.
func (b bazelBuild) want(t *testing.T, ran, hits int) {
	t.Helper()
	if b.exit != 0 || b.ran != ran || b.hits != hits || b.local != 0 {
		t.Errorf("bazel: exit code %d with %d actions remote, %d cached, %d local, want 0 with %d, %d and 0:\n%s",
			b.exit, b.ran, b.hits, b.local, ran, hits, b.output)
	}
}

// A project is a workspace's files that make a number by many small actions.
type project struct {
	files   map[string]string
	actions int // of all targets
	leaves  int
}

// groupSize is how many leaves are summed up by one action.
const groupSize = 8

// newProject returns a project with so many leaves: actions that write a number
// each, every fourth of them into two files. Others sum them up, and a C program,
// which is generated, compiled, linked and run by actions too, adds the sums. The
// seed makes its actions differ from those of another project.
func newProject(leaves, seed int) project {
	p := project{files: map[string]string{"WORKSPACE": "workspace(name = \"integration\")\n"}, leaves: leaves}
	var build strings.Builder
	rule := func(name, outs, srcs, command string) {
		fmt.Fprintf(&build, "genrule(name = %q, outs = [%s], srcs = [%s], cmd = %q)\n", name, outs, srcs, command)
		p.actions++
	}
	var sums, group []string
	for i := range leaves {
		name := fmt.Sprintf("leaf%d", i)
		if i%4 == 0 {
			rule(name, fmt.Sprintf("%q, %q", name+".txt", name+".log"), "",
				fmt.Sprintf("echo %d > $(RULEDIR)/%s.txt; echo seed %d > $(RULEDIR)/%s.log", i, name, seed, name))
		} else {
			rule(name, fmt.Sprintf("%q", name+".txt"), "", fmt.Sprintf(": seed %d; echo %d > $@", seed, i))
		}
		group = append(group, fmt.Sprintf("%q", name+".txt"))
		if len(group) == groupSize || i == leaves-1 {
			sum := fmt.Sprintf("sum%d", len(sums))
			rule(sum, fmt.Sprintf("%q", sum+".txt"), strings.Join(group, ", "),
				fmt.Sprintf(": seed %d; s=0; for f in $(SRCS); do s=$$((s + $$(cat $$f))); done; echo $$s > $@", seed))
			sums, group = append(sums, fmt.Sprintf("%q", sum+".txt")), nil
		}
	}
	rule("header", `"seed.h"`, "", fmt.Sprintf("echo '#define SEED %d' > $@", seed))
	rule("main", `"main.o"`, `"main.c", "seed.h"`, "/usr/bin/gcc -Wall -Werror -I$(RULEDIR) -c $(location main.c) -o $@")
	rule("adder", `"adder.o"`, `"adder.c", "seed.h"`, "/usr/bin/gcc -Wall -Werror -I$(RULEDIR) -c $(location adder.c) -o $@")
	rule("program", `"program.exe"`, `"main.o", "adder.o"`, "/usr/bin/gcc -o $@ $(SRCS)")
	rule("total", `"total.txt"`, `"program.exe", `+strings.Join(sums, ", "), "$(location program.exe) $(SRCS) > $@")
	p.files["BUILD"] = build.String()
	p.files["main.c"] = `#include <stdio.h>
#include "seed.h"
long add(long sum, const char *file);
int main(int n, char **files) {
	long sum = 0;
	for (int i = 2; i < n; i++) sum = add(sum, files[i]); /* files[1] is this program */
	printf("%ld %d\n", sum, SEED);
	return 0;
}
`
	p.files["adder.c"] = `#include <stdio.h>
#include <stdlib.h>
#include "seed.h"
long add(long sum, const char *file) {
	long n;
	FILE *f = fopen(file, "r");
	if (!f || fscanf(f, "%ld", &n) != 1) { perror(file); exit(1); }
	fclose(f);
	return sum + n;
}
`
	return p
}

// wantTotal checks what the project's last action has made of all others.
func (p project) wantTotal(t *testing.T, w *workspace, seed int) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(w.dir, "bazel-bin", "total.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d %d\n", p.leaves*(p.leaves-1)/2, seed); string(got) != want {
		t.Errorf("total is %q, want %q", got, want)
	}
}
