package segments

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, keep int) *Log {
	t.Helper()
	l, err := Open(dir, Config{Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func appendText(l *Log, text string) int64 {
	return l.Append(func(b []byte) []byte { return append(b, text...) })
}

// content returns what is in the files, by name.
func content(t *testing.T, dir string) string {
	t.Helper()
	list, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, s := range list {
		data, err := os.ReadFile(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, fmt.Sprintf("%d:%s", s.Number, data))
	}
	return strings.Join(text, " ")
}

func check(t *testing.T, dir, want string) {
	t.Helper()
	if got := content(t, dir); got != want {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}

func TestFlushWritesAllThatWasAppended(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 0)
	l.Rotate([]byte("begin "))
	first := appendText(l, "one ")
	appendText(l, "two ")
	check(t, dir, "")
	if err := l.Flush(first); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "1:begin one two ")
	last := appendText(l, "three")
	if err := l.Flush(first); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "1:begin one two ")
	if err := l.Sync(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "1:begin one two three")
}

func TestRotateLeavesTheNewestAndWhatIsKept(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 1)
	l.Rotate([]byte("a"))
	appendText(l, "1")
	l.Rotate([]byte("b"))
	appendText(l, "2")
	if got := l.Size(); got != 2 {
		t.Errorf("the newest segment has %d bytes, want 2", got)
	}
	end := l.Rotate([]byte("c"))
	if err := l.Sync(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "2:b2 3:c")
}

func TestResumeCutsTheTail(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	l.Rotate([]byte("whole torn"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// A crash may leave the beginning of a segment that never was.
	if err := os.WriteFile(filepath.Join(dir, fileName(2)+temporary), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, 0)
	last, ok, err := l.Last()
	if err != nil || !ok || last.Number != 1 {
		t.Fatalf("the last segment is %v, %v, %v", last, ok, err)
	}
	if err := l.Resume(6); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(appendText(l, "more")); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "1:whole more")
	if left, _ := filepath.Glob(filepath.Join(dir, "*"+temporary)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFolderIsForOneProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, 0)
	if _, err := Open(dir, Config{}); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
}

// TestEveryoneWaitsForTheSameSync appends from many sides, with rotations in
// between: each must find its own in the file when Sync returns, in whole.
func TestEveryoneWaitsForTheSameSync(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 1000)
	l.Rotate([]byte("\n"))
	var writers sync.WaitGroup
	const writing, each = 8, 50
	for w := range writing {
		writers.Go(func() {
			for i := range each {
				if w == 0 && i%10 == 5 {
					l.Rotate([]byte("\n"))
				}
				if err := l.Sync(t.Context(), appendText(l, fmt.Sprintf("w%d-%d\n", w, i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	got := content(t, dir)
	for w := range writing {
		for i := range each {
			if line := fmt.Sprintf("\nw%d-%d\n", w, i); strings.Count(got, line) != 1 {
				t.Errorf("%q is there %d times, want once", line, strings.Count(got, line))
			}
		}
	}
}

// TestFileTellsWhatWasSynced: what was written while the disk was busy isn't.
func TestFileTellsWhatWasSynced(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Config{Synced: func(b []byte, offset, synced int64) []byte {
		return fmt.Appendf(b, "<%d at %d>", synced, offset)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(t.Context(), l.Rotate([]byte("begin"))); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(t.Context(), appendText(l, "one")); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"two", "three"} {
		if err := l.Flush(appendText(l, text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "1:begin<5 at 5>one<16 at 16>twothree")
}

func TestSyncGivesUpWithItsCaller(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	l.Rotate([]byte("begin"))
	l.writing.Lock() // as if a write took for ever
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Sync(ctx, appendText(l, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the caller left", err)
	}
	l.writing.Unlock()
}

// TestFailedWriteIsTheLast: what comes after a hole could not be read.
func TestFailedWriteIsTheLast(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(t.Context(), l.Rotate([]byte("begin"))); err != nil {
		t.Fatal(err)
	}
	l.writing.Lock()
	l.file.Close()
	l.writing.Unlock()
	place := appendText(l, "lost")
	if err := l.Flush(place); !errors.Is(err, os.ErrClosed) {
		t.Errorf("flushed to a closed file: %v", err)
	}
	later := appendText(l, "after")
	if err := l.Sync(t.Context(), later); !errors.Is(err, os.ErrClosed) {
		t.Errorf("synced after a failure: %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("closed without a word")
	}
	check(t, dir, "1:begin")
}

func BenchmarkAppend(b *testing.B) {
	l, err := Open(b.TempDir(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	l.Rotate([]byte("begin"))
	record := bytes.Repeat([]byte("x"), 500)
	for b.Loop() {
		place := l.Append(func(to []byte) []byte { return append(to, record...) })
		if err := l.Flush(place); err != nil {
			b.Fatal(err)
		}
	}
}
