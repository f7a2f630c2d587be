package cas_test

import (
	"bufio"
	"bytes"
	"context"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/digest"
)

// writerDir, in the environment, makes the test binary the process to be killed:
// it writes blobs to that folder and a line for each that is stored.
const writerDir = "CAS_TEST_WRITER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		writeUntilKilled(dir)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// killedBlobs are more than the quota holds, and large, so that a kill is likely
// to find one half written.
const (
	killedBlobs = 12
	killedQuota = 8 << 20
)

func killedBlob(i int) ([]byte, digest.Digest) { return castest.Blob(uint64(i), 700_000+i*12_345) }

// writeUntilKilled ends only when something fails.
func writeUntilKilled(dir string) {
	store, err := cas.OpenDisk(dir, cas.DiskConfig{QuotaBytes: killedQuota})
	if err != nil {
		return
	}
	var blobs [killedBlobs][]byte
	var digests [killedBlobs]digest.Digest
	for i := range blobs {
		blobs[i], digests[i] = killedBlob(i)
	}
	for i := 0; ; i = (i + 1) % killedBlobs {
		if writeSlowly(store, digests[i], blobs[i]) != nil {
			return
		}
		if _, err := os.Stdout.WriteString("stored\n"); err != nil {
			return
		}
	}
}

func writeSlowly(store cas.Store, d digest.Digest, data []byte) error {
	w, err := store.Create(context.Background(), d)
	if err != nil {
		return err
	}
	for piece := range slices.Chunk(data, 20_000) {
		if err := w.Append(piece); err != nil {
			return err
		}
	}
	return w.Commit()
}

// TestDiskSurvivesKill kills a writing process, at moments picked by a seeded
// generator, and checks that every blob the store then has is whole, and that it
// has the last one the process said it stored.
func TestDiskSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(7, 7))
	for round := range 6 {
		last := killWriter(t, dir, 1+random.IntN(20), random.IntN(60_000)) % killedBlobs
		store, err := cas.OpenDisk(dir, cas.DiskConfig{QuotaBytes: killedQuota})
		if err != nil {
			t.Fatal(err)
		}
		files := checkObjects(t, dir)
		if got := store.Usage().Entries; got != files || files == 0 {
			t.Errorf("round %d: the index has %d blobs, the folder %d", round, got, files)
		}
		data, d := killedBlob(last)
		if got, err := store.Read(t.Context(), d); err != nil || !bytes.Equal(got, data) {
			t.Errorf("round %d: blob %d was stored, then lost: %v", round, last, err)
		}
		store.Close()
	}
}

// killWriter runs the writer until it has stored a number of blobs and a little
// longer, measured in loop turns and not in time, kills it, and returns the
// number of the last blob stored.
func killWriter(t *testing.T, dir string, blobs, turns int) int {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines, stored := bufio.NewScanner(out), 0
	for stored < blobs && lines.Scan() {
		stored++
	}
	var spin [digest.Size]byte
	for range turns {
		spin = digest.Of(spin[:]).Hash
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		stored++
	}
	if child.Wait() == nil || stored < blobs {
		t.Fatalf("the writer ended by itself after %d blobs", stored)
	}
	return stored - 1
}

// checkObjects hashes every file and returns how many there are.
func checkObjects(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	root := filepath.Join(dir, "objects")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if got := objectFile(dir, digest.Of(data)); got != path {
			t.Errorf("%s holds the blob of %s", path, got)
		}
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
