package actioncache_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
)

// usedCache is a Cache that tells how full it is.
type usedCache interface {
	actioncache.Cache
	Usage() actioncache.Usage
}

func openDisk(t testing.TB, dir string, config actioncache.DiskConfig) *actioncache.Disk {
	t.Helper()
	cache, err := actioncache.OpenDisk(dir, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	return cache
}

// TestContract tests both caches against the contract of Cache.
func TestContract(t *testing.T) {
	caches := map[string]func(t *testing.T, quotaBytes int64) usedCache{
		"Memory": func(t *testing.T, quota int64) usedCache {
			return actioncache.NewMemory(actioncache.MemoryConfig{QuotaBytes: quota})
		},
		"Disk": func(t *testing.T, quota int64) usedCache {
			return openDisk(t, t.TempDir(), actioncache.DiskConfig{QuotaBytes: quota})
		},
	}
	parts := map[string]func(*testing.T, usedCache){
		"AbsentResultIsNotFound":  testNotFound,
		"LaterPutReplaces":        testReplaces,
		"CallerOwnsTheMessage":    testOwnership,
		"ActionsOfOneHashDiffer":  testSizes,
		"FunctionsAreKeptApart":   testFunctions,
		"EmptyResultIsAResult":    testEmptyResult,
		"QuotaEvictsLeastUsed":    testQuota,
		"TooLargeIsNoSpace":       testNoSpace,
		"ConcurrentPutsAreAtomic": testConcurrent,
	}
	for name, open := range caches {
		for part, test := range parts {
			t.Run(name+"/"+part, func(t *testing.T) { test(t, open(t, 64<<10)) })
		}
	}
}

func action(i int) digest.Digest { return digest.Of(fmt.Appendf(nil, "action %d", i)) }

func put(t testing.TB, cache actioncache.Cache, action digest.Digest, result *repb.ActionResult) {
	t.Helper()
	if err := cache.Put(t.Context(), action, result); err != nil {
		t.Fatal(err)
	}
}

func wantResult(t testing.TB, cache actioncache.Cache, action digest.Digest, want *repb.ActionResult) {
	t.Helper()
	got, err := cache.Get(t.Context(), action)
	if err != nil {
		t.Errorf("get %v: %v", action, err)
		return
	}
	if !proto.Equal(got, want) {
		t.Errorf("get %v: %v, want %v", action, got, want)
	}
}

func wantNotFound(t testing.TB, cache actioncache.Cache, action digest.Digest) {
	t.Helper()
	if got, err := cache.Get(t.Context(), action); !errors.Is(err, actioncache.ErrNotFound) {
		t.Errorf("get %v: %v, error %v, want ErrNotFound", action, got, err)
	}
}

func testNotFound(t *testing.T, cache usedCache) { wantNotFound(t, cache, action(1)) }

func testReplaces(t *testing.T, cache usedCache) {
	for code := range int32(3) {
		result := &repb.ActionResult{ExitCode: code, StdoutRaw: bytes.Repeat([]byte("x"), int(3-code)*100)}
		put(t, cache, action(1), result)
		wantResult(t, cache, action(1), result)
	}
	if got := cache.Usage().Entries; got != 1 {
		t.Errorf("%d entries, want 1", got)
	}
}

func testOwnership(t *testing.T, cache usedCache) {
	result := &repb.ActionResult{StdoutRaw: []byte("original")}
	want := proto.CloneOf(result)
	put(t, cache, action(1), result)
	copy(result.StdoutRaw, "changed!")
	got, err := cache.Get(t.Context(), action(1))
	if err != nil {
		t.Fatal(err)
	}
	copy(got.StdoutRaw, "changed!")
	wantResult(t, cache, action(1), want)
}

func testSizes(t *testing.T, cache usedCache) {
	a, b := action(1), action(1)
	b.SizeBytes++
	put(t, cache, a, &repb.ActionResult{ExitCode: 1})
	wantNotFound(t, cache, b)
	put(t, cache, b, &repb.ActionResult{ExitCode: 2})
	wantResult(t, cache, a, &repb.ActionResult{ExitCode: 1})
}

func testEmptyResult(t *testing.T, cache usedCache) {
	put(t, cache, action(1), &repb.ActionResult{})
	wantResult(t, cache, action(1), &repb.ActionResult{})
}

func testQuota(t *testing.T, cache usedCache) {
	result := &repb.ActionResult{StdoutRaw: make([]byte, 4000)}
	for i := range 50 {
		put(t, cache, action(i), result)
		wantResult(t, cache, action(0), result)
	}
	wantNotFound(t, cache, action(1))
	wantResult(t, cache, action(49), result)
	if got := cache.Usage(); got.SizeBytes > 64<<10 || got.Entries < 12 || got.EvictedBytes < 30*4000 {
		t.Errorf("usage is %+v", got)
	}
}

func testNoSpace(t *testing.T, cache usedCache) {
	put(t, cache, action(1), &repb.ActionResult{ExitCode: 1})
	large := &repb.ActionResult{StdoutRaw: make([]byte, 70_000)}
	if err := cache.Put(t.Context(), action(2), large); !errors.Is(err, actioncache.ErrNoSpace) {
		t.Errorf("error %v, want ErrNoSpace", err)
	}
	wantResult(t, cache, action(1), &repb.ActionResult{ExitCode: 1})
}

// testConcurrent has writers of one action with results of different sizes: a
// reader sees one of them whole.
func testConcurrent(t *testing.T, cache usedCache) {
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := range 50 {
				n := worker*50 + i
				err := cache.Put(t.Context(), action(1), &repb.ActionResult{ExitCode: int32(n), StdoutRaw: make([]byte, n)})
				if err != nil {
					t.Errorf("put: %v", err)
				}
				got, err := cache.Get(t.Context(), action(1))
				if err != nil || int(got.ExitCode) != len(got.StdoutRaw) {
					t.Errorf("get: %v, error %v", got, err)
				}
			}
		})
	}
	group.Wait()
}

func resultFile(dir string, action digest.Digest) string {
	return filepath.Join(dir, action.Hex()[:2], fmt.Sprintf("%s-%d", action.Hex()[2:], action.SizeBytes))
}

func TestDiskKeepsResultsOverRestart(t *testing.T) {
	dir := t.TempDir()
	cache := openDisk(t, dir, actioncache.DiskConfig{Fsync: true})
	want := &repb.ActionResult{ExitCode: 7}
	put(t, cache, action(1), want)
	if _, err := os.Stat(resultFile(dir, action(1))); err != nil {
		t.Error(err)
	}
	cache.Close()
	wantResult(t, openDisk(t, dir, actioncache.DiskConfig{}), action(1), want)
}

func TestDiskKeepsFunctionsApartOverRestart(t *testing.T) {
	dir := t.TempDir()
	cache := openDisk(t, dir, actioncache.DiskConfig{})
	for i, f := range cas.Functions {
		put(t, cache, f.Of([]byte("action")), &repb.ActionResult{ExitCode: int32(i)})
	}
	cache.Close()
	cache = openDisk(t, dir, actioncache.DiskConfig{})
	for i, f := range cas.Functions {
		wantResult(t, cache, f.Of([]byte("action")), &repb.ActionResult{ExitCode: int32(i)})
	}
}

// testFunctions has actions whose digests differ by nothing but the function.
func testFunctions(t *testing.T, cache usedCache) {
	hash := action(1).Hex()
	for i, f := range cas.Functions {
		d, err := f.Digest(hash, 7)
		if err != nil {
			t.Fatal(err)
		}
		wantNotFound(t, cache, d)
		put(t, cache, d, &repb.ActionResult{ExitCode: int32(i)})
	}
	for i, f := range cas.Functions {
		d, _ := f.Digest(hash, 7)
		wantResult(t, cache, d, &repb.ActionResult{ExitCode: int32(i)})
	}
}

func TestDiskUnreadableFileIsNotFoundAndRemoved(t *testing.T) {
	dir := t.TempDir()
	cache := openDisk(t, dir, actioncache.DiskConfig{})
	// A result cut inside a field, and bytes that are no message.
	whole, err := proto.Marshal(&repb.ActionResult{StdoutRaw: []byte("some output")})
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{whole[:len(whole)-3], []byte("\xff\xff\xff")}
	for i, data := range damaged {
		put(t, cache, action(i), &repb.ActionResult{StdoutRaw: []byte("some output")})
		path := resultFile(dir, action(i))
		os.Chmod(path, 0o644)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cache.Close()
	var log bytes.Buffer
	cache = openDisk(t, dir, actioncache.DiskConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range damaged {
		wantNotFound(t, cache, action(i))
		if _, err := os.Stat(resultFile(dir, action(i))); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("damaged file %d is still there", i)
		}
	}
	if got := strings.Count(log.String(), "dropped a damaged action result"); got != len(damaged) {
		t.Errorf("%d warnings, want %d: %s", got, len(damaged), log.String())
	}
}

func TestDiskStartDropsForeignFiles(t *testing.T) {
	dir := t.TempDir()
	openDisk(t, dir, actioncache.DiskConfig{}).Close()
	good := action(1)
	foreign := []string{
		filepath.Join(dir, "ab", "x"),
		filepath.Join(dir, good.Hex()[:2], good.Hex()[2:]),
		filepath.Join(dir, good.Hex()[:2], good.Hex()[2:]+"-007"),
		filepath.Join(dir, good.Hex()[:2], good.Hex()[2:]+"--7"),
	}
	for _, path := range foreign {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cache := openDisk(t, dir, actioncache.DiskConfig{})
	for _, path := range foreign {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
	if got := cache.Usage().Entries; got != 0 {
		t.Errorf("%d entries, want none", got)
	}
}
