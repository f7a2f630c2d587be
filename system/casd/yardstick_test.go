package casd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/weir-build/weir/system/casd"
	"github.com/weir-build/weir/system/digest"
	lcpb "github.com/weir-build/weir/system/proto/localcas"
	"github.com/weir-build/weir/system/remote"
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
		writeFile(b, filepath.Join(dir, name), text, 0o644)
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
		RootDigest: root.Proto(), StagingMode: mode, AccessCredentials: &lcpb.StageTreeRequest_Credentials{Uid: nobody, Gid: nobody},
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

// outputFiles is how many files an outputTree has.
const outputFiles = 1000

// atOnce is how many files a capture reads, and how many batches it sends, at a time.
const atOnce = 4

// outputTree is a folder of files, 100 MiB in all.
func outputTree(b *testing.B) string {
	b.Helper()
	tree := make(files)
	for i := range outputFiles {
		text := fmt.Sprintf("output %d ", i)
		tree[fmt.Sprintf("dir%d/file%d", i/100, i)] = strings.Repeat(text, (100<<10)/len(text))
	}
	return plainTree(b, tree)
}

// renew makes each file of a folder another than it ever was.
func renew(b *testing.B, dir string, round int) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(file, "%8d", round)
		return errors.Join(err, file.Close())
	})
	if err != nil {
		b.Fatal(err)
	}
}

// captureOnce captures a folder.
func captureOnce(b *testing.B, w *world, request *lcpb.CaptureTreeRequest) {
	b.Helper()
	request.InstanceName = "near"
	r, err := w.client.CaptureTree(context.Background(), request)
	if err != nil || r.Responses[0].Status.GetCode() != 0 {
		b.Fatalf("%v, %v", r, err)
	}
}

// spent is what something took of the clock and of the processors.
type spent struct{ clock, processor time.Duration }

// spend does something and returns what that took. What was done before leaves no garbage
// to be collected in its time.
func spend(b *testing.B, do func()) spent {
	b.Helper()
	runtime.GC()
	before, begin := processorTime(b), time.Now()
	do()
	return spent{time.Since(begin), processorTime(b) - before}
}

// processorTime is what this process took of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// reportPerFile tells what captures of an outputTree took of the processors.
func reportPerFile(b *testing.B, captures []spent) {
	b.Helper()
	var total time.Duration
	for _, c := range captures {
		total += c.processor
	}
	b.ReportMetric(float64(total.Microseconds())/float64(len(captures)*outputFiles), "cpu-µs/file")
}

// reportRatio sets captures against a yardstick that took turns with them: by the median of
// the ratios by the clock, which are the disk's and the neighbours' as well, and by the
// processor's time.
func reportRatio(b *testing.B, captures, yardstick []spent, unit string) {
	b.Helper()
	var ratios []float64
	var ours, its time.Duration
	for i, c := range captures {
		ratios = append(ratios, c.clock.Seconds()/yardstick[i].clock.Seconds())
		ours, its = ours+c.processor, its+yardstick[i].processor
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "times-"+unit)
	b.ReportMetric(ours.Seconds()/its.Seconds(), "cpu-times-"+unit)
}

// BenchmarkCaptureTree captures 1000 files of 100 MiB without sending them, and hashes
// and links the same, as many at a time. They are in the cache already, or each time new;
// or new and given away, which is when a capture may link too. Those that stay their owner
// may write to, so that a link isn't what is to be done with them: a capture of new ones is
// also set against hashing and copying them.
func BenchmarkCaptureTree(b *testing.B) {
	for _, c := range []struct{ fresh, move bool }{{false, false}, {true, false}, {true, true}} {
		b.Run(fmt.Sprintf("new=%v/move=%v", c.fresh, c.move), func(b *testing.B) {
			w := newWorld(b, quota(1<<30))
			dir := outputTree(b)
			captureOnce(b, w, &lcpb.CaptureTreeRequest{Path: []string{dir}, SkipUpload: true})
			var captures, links, copies []spent
			for round := 0; b.Loop(); round++ {
				if c.move {
					dir = outputTree(b)
				}
				if c.fresh {
					renew(b, dir, round)
				}
				links = append(links, hashEach(b, dir, os.Link))
				if c.fresh && !c.move {
					copies = append(copies, hashEach(b, dir, nil))
				}
				captures = append(captures, spend(b, func() {
					captureOnce(b, w, &lcpb.CaptureTreeRequest{Path: []string{dir}, SkipUpload: true, MoveFiles: c.move})
				}))
			}
			reportPerFile(b, captures)
			reportRatio(b, captures, links, "hash-and-link")
			if copies != nil {
				reportRatio(b, captures, copies, "hash-and-copy")
			}
		})
	}
}

// floor is a remote that does the least: it lacks every blob, hashes what it is sent, and
// keeps nothing.
type floor struct {
	repb.UnimplementedContentAddressableStorageServer
}

func (floor) FindMissingBlobs(_ context.Context, r *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	return &repb.FindMissingBlobsResponse{MissingBlobDigests: r.BlobDigests}, nil
}

func (floor) BatchUpdateBlobs(_ context.Context, r *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	answer := new(repb.BatchUpdateBlobsResponse)
	for _, blob := range r.Requests {
		answer.Responses = append(answer.Responses, &repb.BatchUpdateBlobsResponse_Response{Digest: digest.Of(blob.Data).Proto()})
	}
	return answer, nil
}

// BenchmarkCaptureAndSend captures 1000 new files of 100 MiB and sends them to the floor,
// and sends the same to it from memory, as many batches at a time. The files stay, or are
// given away.
func BenchmarkCaptureAndSend(b *testing.B) {
	client, err := remote.Dial(remote.Config{URL: "grpc://" + serve(b, func(r grpc.ServiceRegistrar) {
		repb.RegisterContentAddressableStorageServer(r, floor{})
	})})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	for _, move := range []bool{false, true} {
		b.Run(fmt.Sprintf("move=%v", move), func(b *testing.B) {
			w := newWorld(b, quota(1<<30), func(c *casd.Config) { c.Instances = near(casd.Remotes{CAS: client}) })
			dir := outputTree(b)
			captureOnce(b, w, &lcpb.CaptureTreeRequest{Path: []string{dir}})
			var captures, sends []spent
			for round := 0; b.Loop(); round++ {
				if move {
					dir = outputTree(b)
				}
				renew(b, dir, round)
				sends = append(sends, sendEach(b, client, dir))
				captures = append(captures, spend(b, func() {
					captureOnce(b, w, &lcpb.CaptureTreeRequest{Path: []string{dir}, MoveFiles: move})
				}))
			}
			reportPerFile(b, captures)
			reportRatio(b, captures, sends, "sending")
		})
	}
}

// outputPaths are the files of an outputTree.
func outputPaths(b *testing.B, dir string) []string {
	b.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(paths) != outputFiles {
		b.Fatalf("%d files, %v", len(paths), err)
	}
	return paths
}

// sendEach sends the files of an outputTree from memory.
func sendEach(b *testing.B, client *remote.Client, dir string) spent {
	b.Helper()
	parts := make([]map[digest.Digest][]byte, atOnce)
	for i, path := range outputPaths(b, dir) {
		data, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		if i < atOnce {
			parts[i] = make(map[digest.Digest][]byte)
		}
		parts[i%atOnce][digest.Of(data)] = data
	}
	return spend(b, func() {
		var group errgroup.Group
		for _, blobs := range parts {
			group.Go(func() error { return client.WriteBlobs(b.Context(), blobs) })
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	})
}

// hashEach hashes the files of an outputTree and links each under its hash, or, without
// link, writes what it read to a file of that name.
func hashEach(b *testing.B, dir string, link func(from, to string) error) spent {
	b.Helper()
	stored := b.TempDir()
	took := spend(b, func() {
		paths := outputPaths(b, dir)
		var group errgroup.Group
		for part := range atOnce {
			group.Go(func() error {
				buffer := make([]byte, 1<<20)
				for i := part; i < len(paths); i += atOnce {
					data, err := readFile(paths[i], buffer)
					if err != nil {
						return err
					}
					name := filepath.Join(stored, digest.Of(data).Hex())
					if link != nil {
						err = link(paths[i], name)
					} else {
						err = os.WriteFile(name, data, 0o444)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	})
	if err := os.RemoveAll(stored); err != nil {
		b.Fatal(err)
	}
	return took
}

// readFile reads a file that is smaller than buffer into it.
func readFile(path string, buffer []byte) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	n, err := io.ReadFull(file, buffer)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return buffer[:n], nil
}
