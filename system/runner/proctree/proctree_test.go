package proctree

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"slices"
	"testing"
)

func TestDescendantsAreFoundBothWaysAndKilled(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & sh -c 'sleep 1000 & echo ready; wait' & wait")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	fast, err := fromChildren(cmd.Process.Pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	slow, slowErr := fromStat(cmd.Process.Pid)
	if slowErr != nil {
		t.Fatal(slowErr)
	}
	slices.Sort(fast)
	slices.Sort(slow)
	if len(slow) != 3 || err == nil && !slices.Equal(fast, slow) {
		t.Errorf("found %v by children, %v by stat; want the same three", fast, slow)
	}

	Kill(cmd.Process.Pid)
	// All four hold the pipe, so its end comes when the last is gone.
	if _, err := io.ReadAll(out); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got, want := cmd.ProcessState.String(), "signal: killed"; got != want {
		t.Errorf("the child ended with %q, want %q", got, want)
	}
}

func TestDescendantsOfNobody(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if found, err := Descendants(cmd.Process.Pid); err != nil || len(found) > 0 {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestParentIsFoundBehindAnyName(t *testing.T) {
	for stat, want := range map[string]int{
		"12 (sh) S 7 12 1":          7,
		"12 (a) S 9 (b) c) S 7 1 1": 7,
		"12 (sh":                    -1,
		"12 (sh) S":                 -1,
		"12 (sh) S x":               -1,
		"":                          -1,
	} {
		got, ok := parent([]byte(stat))
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("parent(%q) is %d, %v, want %d", stat, got, ok, want)
		}
	}
}

func FuzzParent(f *testing.F) {
	f.Add([]byte("12 (sh) S 7 12 1"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, stat []byte) { parent(stat) })
}
