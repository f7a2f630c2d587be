package early_test

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/weir-build/weir/system/runner/early"
)

// run calls early.Run and returns what it wrote.
func run(t *testing.T, args ...string) (code int, done bool, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	var files [2]*os.File
	for i, name := range []string{"stdout", "stderr"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	code, done = early.Run(args, nil, files[0], files[1], []string{"own"})
	var texts [2]string
	for i, f := range files {
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	return code, done, texts[0], texts[1]
}

func TestWhatIsDoneEarly(t *testing.T) {
	for _, test := range []struct {
		args           []string
		code           int
		done           bool
		stdout, stderr string
	}{
		{[]string{"--capabilities"}, 0, true, "no-logs-capture\nrun-as\nserve-pool-2\nown\n", ""},
		{nil, 0, false, "", ""},
		{[]string{"--version"}, 0, false, "", ""},
		{[]string{"--log-level=info", "--capabilities"}, 0, false, "", ""},
		{[]string{"--exec-inside"}, 127, true, "", ""},
		{[]string{"--exec-inside", "true"}, 127, true, "", "true: no such file or directory; a command is named by its path, there is no search along PATH\n"},
		{[]string{"--exec-inside", "/nowhere/true"}, 127, true, "", "/nowhere/true: no such file or directory\n"},
		{[]string{"--exec-inside", "/etc/passwd"}, 126, true, "", "/etc/passwd: permission denied\n"},
		{[]string{"--exec-inside", "/bin/echo", "a\x00b"}, 126, true, "", "/bin/echo: invalid argument\n"},
		{[]string{"--enter-groups=", "--exec-inside", "/bin/true"}, 126, true, "", "enter control groups:  are no descriptors\n"},
		{[]string{"--enter-groups=3;4", "--exec-inside", "/bin/true"}, 126, true, "", "enter control groups: 3;4 are no descriptors\n"},
		{[]string{"--enter-groups=99999999999999999999", "--exec-inside", "/bin/true"}, 126, true, "", "enter control groups: 99999999999999999999 are no descriptors\n"},
		{[]string{"--enter-groups=10000000,,", "--exec-inside", "/bin/true"}, 126, true, "", "enter control groups: 10000000,, are no descriptors\n"},
		{[]string{"--enter-groups=10000000"}, 0, false, "", ""},
		{[]string{"--enter-groups=10000000", "--help"}, 0, false, "", ""},
		{[]string{"--enter-groups=10000000", "--exec-inside", "/bin/true"}, 126, true, "", "enter control group: bad file descriptor\n"},
	} {
		code, done, stdout, stderr := run(t, test.args...)
		if code != test.code || done != test.done || stdout != test.stdout || stderr != test.stderr {
			t.Errorf("%q: exit code %d, done %v, stdout %q, stderr %q, want %d, %v, %q, %q", test.args, code, done, stdout, stderr, test.code, test.done, test.stdout, test.stderr)
		}
	}
}

func TestGroupsAreEnteredAndClosed(t *testing.T) {
	dir := t.TempDir()
	var numbers string
	var paths []string
	for _, name := range []string{"a", "b"} {
		paths = append(paths, filepath.Join(dir, name))
		f, err := os.Create(paths[len(paths)-1])
		if err != nil {
			t.Fatal(err)
		}
		numbers += "," + strconv.Itoa(dup(t, f)) // what is closed here must not be a file of Go's
		f.Close()
	}
	if code, done, _, stderr := run(t, "--enter-groups="+numbers[1:], "--exec-inside", "/nowhere"); code != 127 || !done {
		t.Errorf("exit code %d, done %v, stderr %q", code, done, stderr)
	}
	for _, path := range paths {
		if text, err := os.ReadFile(path); err != nil || string(text) != "0" {
			t.Errorf("%q was written to %s, error %v, want 0", text, path, err)
		}
	}
	if code, _, _, stderr := run(t, "--enter-groups="+numbers[1:], "--exec-inside", "/nowhere"); code != 126 {
		t.Errorf("the groups are open still: exit code %d, stderr %q", code, stderr)
	}
}

func dup(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
