package casd_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// Benchmarks that set casd against what the same takes without it, in one run: times-…
// is the ratio of the times, the yardstick's being 1.

// inputRoot is a tree of so many files, 1 GiB in all or a part of that, and casd has it.
func inputRoot(b *testing.B, w *world, count int) (digest.Digest, files) {
	b.Helper()
	tree := make(files)
	const size = (1 << 30) / 10_000
	for i := range count {
		text := fmt.Sprintf("%d of %d ", i, count)
		tree[fmt.Sprintf("dir%d/file%d", i/100, i)] = strings.Repeat(text, size/len(text))
	}
	root := w.putTree(tree)
	if _, err := w.client.FetchTree(b.Context(), &lcpb.FetchTreeRequest{InstanceName: "near", RootDigest: root.Proto(), FetchFileBlobs: true}); err != nil {
		b.Fatal(err)
	}
	return root, tree
}

// plainTree is the same as a folder.
func plainTree(b *testing.B, tree files) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "tree")
	for name, text := range tree {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// copyWith copies a folder by cp and returns how long that took.
func copyWith(b *testing.B, option, from string) time.Duration {
	b.Helper()
	to := filepath.Join(filepath.Dir(from), "copy")
	begin := time.Now()
	if out, err := exec.Command("cp", option, from, to).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	took := time.Since(begin)
	if err := os.RemoveAll(to); err != nil {
		b.Fatal(err)
	}
	return took
}

// stageOnce stages a tree and takes it down again, and returns how long the first took.
func stageOnce(b *testing.B, w *world, root digest.Digest, mode lcpb.StageTreeRequest_StagingMode) time.Duration {
	b.Helper()
	begin := time.Now()
	s, err := w.tryStage(&lcpb.StageTreeRequest{
		RootDigest: root.Proto(), StagingMode: mode, AccessCredentials: &lcpb.StageTreeRequest_Credentials{Uid: 65534, Gid: 65534},
	})
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(begin)
	s.end()
	return took
}

// BenchmarkStageInputRoot stages 10,000 files of 1 GiB, and 100 of them, by FUSE and by
// links, and copies them by cp.
func BenchmarkStageInputRoot(b *testing.B) {
	needFUSE(b)
	w := newWorld(b)
	for _, count := range []int{100, 10_000} {
		root, tree := inputRoot(b, w, count)
		dir := plainTree(b, tree)
		for mode, option := range map[lcpb.StageTreeRequest_StagingMode]string{
			lcpb.StageTreeRequest_FUSE: "-a", lcpb.StageTreeRequest_COPY_OR_LINK: "-al",
		} {
			b.Run(fmt.Sprintf("files=%d/mode=%v", count, mode), func(b *testing.B) {
				var staged, copied time.Duration
				for b.Loop() {
					copied += copyWith(b, option, dir)
					staged += stageOnce(b, w, root, mode)
				}
				b.ReportMetric(float64(staged.Microseconds())/float64(b.N), "stage-µs")
				b.ReportMetric(staged.Seconds()/copied.Seconds(), "times-cp"+option)
			})
		}
	}
}

// readWhole reads a file to its end and returns its size.
func readWhole(b *testing.B, path string, buffer []byte) (size int64) {
	b.Helper()
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for {
		n, err := file.Read(buffer)
		size += int64(n)
		if err == io.EOF {
			return size
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadMounted reads 256 MiB, warm, through a mount and from a plain file.
func BenchmarkReadMounted(b *testing.B) {
	needFUSE(b)
	w := newWorld(b)
	tree := files{"large": strings.Repeat("0123456789abcdef", 16<<20)}
	dir, root := plainTree(b, tree), w.putTree(tree)
	s := w.stage(root, lcpb.StageTreeRequest_FUSE)
	defer s.end()
	buffer := make([]byte, 1<<20)
	plain, mounted := filepath.Join(dir, "large"), filepath.Join(s.path, "large")
	readWhole(b, plain, buffer)
	readWhole(b, mounted, buffer)
	var alone, through time.Duration
	for b.Loop() {
		begin := time.Now()
		readWhole(b, plain, buffer)
		middle := time.Now()
		b.SetBytes(readWhole(b, mounted, buffer))
		alone, through = alone+middle.Sub(begin), through+time.Since(middle)
	}
	b.ReportMetric(alone.Seconds()/through.Seconds(), "of-plain")
}

// loopback mounts a folder by go-fuse's own loopback file system, told to remember what
// ours is.
func loopback(b *testing.B, dir string) string {
	b.Helper()
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		b.Fatal(err)
	}
	forever := 24 * time.Hour
	path := b.TempDir()
	server, err := fs.Mount(path, root, &fs.Options{
		EntryTimeout: &forever, AttrTimeout: &forever,
		MountOptions: fuse.MountOptions{DirectMount: true, DisableXAttrs: true},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Unmount() })
	return path
}

// BenchmarkOpenMounted opens, reads and closes small files that were read before, through
// a mount of ours and through a loopback; requests is how often the kernel asks us.
func BenchmarkOpenMounted(b *testing.B) {
	needFUSE(b)
	w := newWorld(b)
	var requests atomic.Int64
	w.casd.CountRequests(&requests)
	tree := make(files)
	var names []string
	for i := range 100 {
		name := fmt.Sprintf("dir/file%d", i)
		tree[name], names = fmt.Sprintf("%4000d", i), append(names, name)
	}
	s := w.stage(w.putTree(tree), lcpb.StageTreeRequest_FUSE)
	defer s.end()
	bare := loopback(b, plainTree(b, tree))
	buffer := make([]byte, 8<<10)
	all := func(dir string) time.Duration {
		begin := time.Now()
		for _, name := range names {
			readWhole(b, filepath.Join(dir, name), buffer)
		}
		return time.Since(begin)
	}
	all(s.path)
	all(bare)
	var ours, theirs time.Duration
	asked := requests.Load()
	for b.Loop() {
		theirs += all(bare)
		ours += all(s.path)
	}
	b.ReportMetric(float64(requests.Load()-asked)/float64(b.N*len(names)), "requests/file")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "times-loopback")
}

// BenchmarkCaptureTree captures 1000 files of 100 MiB without sending them, and hashes
// and links the same.
func BenchmarkCaptureTree(b *testing.B) {
	w := newWorld(b)
	dir := plainTree(b, func() files {
		tree := make(files)
		for i := range 1000 {
			text := fmt.Sprintf("output %d ", i)
			tree[fmt.Sprintf("dir%d/file%d", i/100, i)] = strings.Repeat(text, (100<<10)/len(text))
		}
		return tree
	}())
	var captured, hashed time.Duration
	for b.Loop() {
		links := filepath.Join(b.TempDir(), "links")
		begin := time.Now()
		hashAndLink(b, dir, links)
		middle := time.Now()
		r, err := w.client.CaptureTree(context.Background(), &lcpb.CaptureTreeRequest{InstanceName: "near", Path: []string{dir}, SkipUpload: true})
		if err != nil || r.Responses[0].Status.GetCode() != 0 {
			b.Fatalf("%v, %v", r, err)
		}
		hashed, captured = hashed+middle.Sub(begin), captured+time.Since(middle)
	}
	b.ReportMetric(captured.Seconds()/hashed.Seconds(), "times-hash-and-link")
}

// hashAndLink hashes all files below a folder and links them under their hashes.
func hashAndLink(b *testing.B, dir, links string) {
	b.Helper()
	if err := os.MkdirAll(links, 0o755); err != nil {
		b.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		hash := sha256.New()
		if _, err := io.Copy(hash, file); err != nil {
			return err
		}
		return os.Link(path, filepath.Join(links, fmt.Sprintf("%x", hash.Sum(nil))))
	})
	if err != nil {
		b.Fatal(err)
	}
}
