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

// rotate begins a segment and waits until it is there.
func rotate(t testing.TB, l *Log, beginning string) {
	t.Helper()
	if begun, err := l.Rotate([]byte(beginning)); !begun || err != nil {
		t.Fatalf("a segment was begun: %v, %v", begun, err)
	}
	l.rotating.Wait()
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
	rotate(t, l, "begin ")
	first := appendText(l, "one ")
	appendText(l, "two ")
	check(t, dir, "1:begin ")
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
	rotate(t, l, "a")
	appendText(l, "1")
	rotate(t, l, "b")
	check(t, dir, "1:a1 2:b")
	if err := l.Flush(appendText(l, "2")); err != nil {
		t.Fatal(err)
	}
	rotate(t, l, "c")
	check(t, dir, "2:b2 3:c")
}

// TestOldSegmentGoesOnMeanwhile holds up a new segment before its last step, for
// which everybody has to wait.
func TestOldSegmentGoesOnMeanwhile(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 1)
	rotate(t, l, "a")
	n := &next{beginning: []byte("b")}
	l.next = n
	appendText(l, "1")
	if again, err := l.Rotate([]byte("c")); again || err != nil {
		t.Errorf("a segment was begun within another: %v, %v", again, err)
	}
	if err := l.Sync(t.Context(), appendText(l, "2")); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "1:a12")
	last := appendText(l, "3")
	if err := l.begin(n); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "1:a123 2:b123")
	if err := l.Flush(last); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(appendText(l, "4")); err != nil {
		t.Fatal(err)
	}
	check(t, dir, "1:a123 2:b1234")
}

func TestResumeCutsTheTail(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	rotate(t, l, "whole torn")
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

// TestEverySegmentIsAllSoFar appends from many sides and begins segments in between,
// each with all that was appended before: then each file is the beginning of all, up
// to what was synced at least, and the last one is all.
func TestEverySegmentIsAllSoFar(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 1000)
	rotate(t, l, "")
	var (
		writers sync.WaitGroup
		mu      sync.Mutex // gives what is appended its order
		all     string     // guarded by mu
	)
	for w := range 8 {
		writers.Go(func() {
			for i := range 50 {
				line := fmt.Sprintf("w%d-%d\n", w, i)
				mu.Lock()
				if w == 0 && i%5 == 2 {
					if _, err := l.Rotate([]byte(all)); err != nil {
						t.Error(err)
					}
				}
				all += line
				place := appendText(l, line)
				mu.Unlock()
				if err := l.Sync(t.Context(), place); err != nil {
					t.Error(err)
					return
				}
				list, err := List(dir)
				if err != nil {
					t.Error(err)
					return
				}
				data, err := os.ReadFile(list[len(list)-1].Path)
				if err != nil {
					t.Error(err)
				}
				if !strings.Contains(string(data), line) {
					t.Errorf("%q is synced, and not in the newest segment", line)
				}
			}
		})
	}
	writers.Wait()
	l.rotating.Wait()
	list, err := List(dir)
	if err != nil || len(list) < 2 {
		t.Fatalf("%d segments: %v", len(list), err)
	}
	for i, s := range list {
		data, err := os.ReadFile(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(all, string(data)) || i == len(list)-1 && string(data) != all {
			t.Errorf("segment %d of %d isn't all so far: %d bytes", s.Number, len(list), len(data))
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
	rotate(t, l, "begin")
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
	rotate(t, l, "begin")
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
	rotate(t, l, "begin")
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

// TestFailedChangeIsTold: what was dropped for a segment that never came isn't written.
func TestFailedChangeIsTold(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	rotate(t, l, "a")
	n := &next{beginning: []byte("b")}
	l.next = n
	place := appendText(l, "1")
	closed, err := os.Create(filepath.Join(t.TempDir(), "closed"))
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if err := l.change(closed, filepath.Join(dir, fileName(2)), 1, n); !errors.Is(err, os.ErrClosed) {
		t.Errorf("changed to a closed file: %v", err)
	}
	if err := l.Flush(appendText(l, "2")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("flushed after that: %v", err)
	}
	if err := l.Sync(t.Context(), place+1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("synced after that: %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("closed without a word")
	}
}

// TestClosedLogPromisesNothing: what comes too late isn't kept, and nobody is told
// that it is.
func TestClosedLogPromisesNothing(t *testing.T) {
	l, err := Open(t.TempDir(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	rotate(t, l, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	place := appendText(l, "late")
	if err := l.Flush(place); !errors.Is(err, ErrClosed) {
		t.Errorf("flushed: %v", err)
	}
	if err := l.Sync(t.Context(), place); !errors.Is(err, ErrClosed) {
		t.Errorf("synced: %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	l, err := Open(b.TempDir(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	rotate(b, l, "begin")
	record := bytes.Repeat([]byte("x"), 500)
	for b.Loop() {
		place := l.Append(func(to []byte) []byte { return append(to, record...) })
		if err := l.Flush(place); err != nil {
			b.Fatal(err)
		}
	}
}
