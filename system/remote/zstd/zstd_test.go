package zstd_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	klauspost "github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/weir-build/weir/system/cas/castest"
	"github.com/weir-build/weir/system/remote/zstd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// blobs are of sizes around those of blocks (128 KiB), and compress well, hardly
// and not at all.
func blobs() map[string][]byte {
	random, _ := castest.Blob(1, 9<<20)
	return map[string][]byte{
		"nothing":        {},
		"a byte":         []byte("x"),
		"text":           []byte(strings.Repeat("what goes round comes round ", 100)),
		"zeros":          make([]byte, 10<<20),
		"a block":        random[:128<<10],
		"a block and 1":  random[:128<<10+1],
		"random":         random,
		"random, zeroed": append(bytes.Clone(random[:300<<10]), make([]byte, 300<<10)...),
	}
}

// encode is Encode by way of the writer, in pieces.
func encode(t testing.TB, c *zstd.Coder, data []byte, piece int) []byte {
	t.Helper()
	var encoded bytes.Buffer
	w := c.NewWriter(&encoded)
	for len(data) > 0 {
		n := min(piece, len(data))
		if got, err := w.Write(data[:n]); got != n || err != nil {
			t.Fatalf("wrote %d of %d bytes, error %v", got, n, err)
		}
		data = data[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return encoded.Bytes()
}

// decode is Decode by way of the reader.
func decode(c *zstd.Coder, encoded []byte, sizeBytes int64) ([]byte, error) {
	r := c.NewReader(bytes.NewReader(encoded), sizeBytes)
	defer r.Close()
	return io.ReadAll(r)
}

func TestRoundTrip(t *testing.T) {
	c := zstd.New()
	for name, data := range blobs() {
		for kind, encoded := range map[string][]byte{"whole": c.Encode(data), "in pieces": encode(t, c, data, 100_000)} {
			if len(encoded) == 0 || len(encoded) > len(data)+len(data)/1000+21 {
				t.Errorf("%s, %s: %d bytes become %d", name, kind, len(data), len(encoded))
			}
			got, err := c.Decode(encoded, int64(len(data)))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, encoded %s, decoded whole: got %d of %d bytes, error %v", name, kind, len(got), len(data), err)
			}
			if got, err = decode(c, encoded, int64(len(data))); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, encoded %s, decoded in pieces: got %d of %d bytes, error %v", name, kind, len(got), len(data), err)
			}
		}
	}
}

// RFC 8878 3: frames stand for what they hold, one after another. Servers that
// store what they got in pieces send such.
func TestFramesAreJoined(t *testing.T) {
	c := zstd.New()
	one, two := bytes.Repeat([]byte("one "), 1000), bytes.Repeat([]byte("two "), 100_000)
	want := slices.Concat(one, two, one)
	encoded := slices.Concat(c.Encode(one), encode(t, c, two, 5000), c.Encode(one))
	if got, err := c.Decode(encoded, int64(len(want))); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d of %d bytes, error %v", len(got), len(want), err)
	}
	if got, err := decode(c, encoded, int64(len(want))); err != nil || !bytes.Equal(got, want) {
		t.Errorf("in pieces: got %d of %d bytes, error %v", len(got), len(want), err)
	}
}

// A frame that is encoded whole tells its size, the other kind is refused as it is
// decoded.
func TestMoreThanAllowedIsRefused(t *testing.T) {
	c := zstd.New()
	for name, data := range blobs() {
		for kind, encoded := range map[string][]byte{"whole": c.Encode(data), "in pieces": encode(t, c, data, 100_000)} {
			for _, size := range []int{0, 1, 1000, len(data) / 2, len(data) - 1} {
				if size < 0 || size >= len(data) {
					continue
				}
				got, err := c.Decode(encoded, int64(size))
				if err == nil || kind == "whole" && !errors.Is(err, zstd.ErrTooLarge) || got != nil {
					t.Errorf("%s, encoded %s, into %d bytes: got %d, error %v, want ErrTooLarge", name, kind, size, len(got), err)
				}
				got, err = decode(c, encoded, int64(size))
				if !errors.Is(err, zstd.ErrTooLarge) || !bytes.Equal(got, data[:size]) {
					t.Errorf("%s, encoded %s, in pieces up to %d bytes: got %d, error %v, want ErrTooLarge", name, kind, size, len(got), err)
				}
			}
		}
	}
}

// A bomb is refused at the price of what was asked for, not of what it holds.
func TestBombTakesNoMemory(t *testing.T) {
	c := zstd.New()
	var bomb bytes.Buffer
	w := c.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 256 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := c.Decode(bomb.Bytes(), 1000); !errors.Is(err, zstd.ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("refusing 256 MiB in %d bytes took %d bytes", bomb.Len(), got)
	}
	r := c.NewReader(bytes.NewReader(bomb.Bytes()), 1000)
	defer r.Close()
	if got, err := io.ReadAll(r); !errors.Is(err, zstd.ErrTooLarge) || len(got) != 1000 {
		t.Errorf("in pieces: got %d bytes, error %v, want 1000 and ErrTooLarge", len(got), err)
	}
	if n, err := r.Read(make([]byte, 10)); n != 0 || !errors.Is(err, zstd.ErrTooLarge) {
		t.Errorf("after its end: got %d bytes, error %v", n, err)
	}
}

// A frame that refers back up to 3.75 TB doesn't get the memory for it.
func TestWideWindowIsRefused(t *testing.T) {
	c := zstd.New()
	for name, header := range map[string][]byte{
		"3.75 TB":            {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x01, 0, 0},
		"9 MiB":              {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x69, 0x01, 0, 0},
		"a segment of 2^63":  {0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x01, 0, 0},
		"a content of 2^63":  {0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x58, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x01, 0, 0},
		"a dictionary of us": {0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x58, 0x07, 0x01, 0, 0},
	} {
		if got, err := c.Decode(header, 10); err == nil || len(got) != 0 {
			t.Errorf("%s: got %d bytes, error %v", name, len(got), err)
		}
		if got, err := decode(c, header, math.MaxInt64); err == nil || len(got) != 0 {
			t.Errorf("%s, in pieces: got %d bytes, error %v", name, len(got), err)
		}
	}
	// What the reference encoder makes up to level 19 is read.
	e, err := klauspost.NewWriter(nil, klauspost.WithWindowSize(8<<20), klauspost.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	data, _ := castest.Blob(1, 9<<20)
	if got, err := decode(c, e.EncodeAll(data, nil), int64(len(data))); err != nil || !bytes.Equal(got, data) {
		t.Errorf("a window of 8 MiB: got %d bytes, error %v", len(got), err)
	}
}

func TestBrokenDataIsRefused(t *testing.T) {
	c := zstd.New()
	data := []byte(strings.Repeat("what goes round comes round ", 100))
	encoded := c.Encode(data)
	for name, broken := range map[string][]byte{
		"no zstd":     data,
		"cut":         encoded[:len(encoded)-1],
		"cut early":   encoded[:7],
		"a bit":       append([]byte{encoded[0] ^ 1}, encoded[1:]...),
		"with a tail": append(bytes.Clone(encoded), "tail"...),
	} {
		if got, err := c.Decode(broken, int64(len(data))); err == nil || got != nil {
			t.Errorf("%s: got %d bytes, error %v", name, len(got), err)
		}
		if _, err := decode(c, broken, int64(len(data))); err == nil {
			t.Errorf("%s, in pieces: no error", name)
		}
	}
}

// What the source has to say of its failure gets to the caller.
func TestErrorsOfTheSource(t *testing.T) {
	c := zstd.New()
	random, _ := castest.Blob(1, 1<<20)
	broken := errors.New("the line is dead")
	source := io.MultiReader(bytes.NewReader(c.Encode(random)[:500<<10]), iotest.ErrReader(broken))
	r := c.NewReader(source, int64(len(random)))
	defer r.Close()
	if got, err := io.ReadAll(r); !errors.Is(err, broken) || !bytes.HasPrefix(random, got) {
		t.Errorf("got %d bytes, error %v, want %v", len(got), err, broken)
	}
	w := c.NewWriter(writerFunc(func([]byte) (int, error) { return 0, broken }))
	if _, err := w.Write(random); !errors.Is(err, broken) {
		t.Errorf("writing: error %v, want %v", err, broken)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("closing: error %v, want %v", err, broken)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// What was given back is another's by now.
func TestClosedIsClosed(t *testing.T) {
	c := zstd.New()
	r := c.NewReader(bytes.NewReader(c.Encode([]byte("x"))), 1)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reading: error %v", err)
	}
	if err := r.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closing again: error %v", err)
	}
	w := c.NewWriter(io.Discard)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("writing: error %v", err)
	}
	if err := w.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closing again: error %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	c := zstd.New()
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			data, _ := castest.Blob(uint64(i), 200_000+i)
			for range 5 {
				encoded := c.Encode(data)
				if i%2 == 0 {
					encoded = encode(t, c, data, 50_000)
				}
				got, err := c.Decode(encoded, int64(len(data)))
				if i%3 == 0 {
					got, err = decode(c, encoded, int64(len(data)))
				}
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("blob %d: got %d bytes, error %v", i, len(got), err)
				}
			}
		})
	}
	all.Wait()
}

// Whatever the bytes, both ways of decoding agree on what they hold, and neither
// gives more than it was asked for.
func FuzzDecode(f *testing.F) {
	c := zstd.New()
	for _, data := range []string{"", "x", strings.Repeat("what goes round comes round ", 100)} {
		f.Add(c.Encode([]byte(data)), uint16(len(data)))
		f.Add(c.Encode([]byte(data)), uint16(len(data)/2))
		f.Add(encode(f, c, []byte(data), 10), uint16(len(data)))
	}
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x03, 0x00, 0x10, 'x'}, uint16(1000)) // RLE of 128 KiB
	f.Fuzz(func(t *testing.T, encoded []byte, size uint16) {
		whole, err := c.Decode(encoded, int64(size))
		pieces, piecesErr := decode(c, encoded, int64(size))
		if len(whole) > int(size) || len(pieces) > int(size) {
			t.Fatalf("decoded to %d and %d bytes, allowed are %d", len(whole), len(pieces), size)
		}
		if err == nil && piecesErr == nil && !bytes.Equal(whole, pieces) {
			t.Errorf("decoded whole to %d bytes, in pieces to %d others", len(whole), len(pieces))
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	c := zstd.New()
	f.Add([]byte{}, uint16(1))
	f.Add([]byte("what goes round comes round"), uint16(5))
	f.Fuzz(func(t *testing.T, data []byte, piece uint16) {
		if got, err := c.Decode(encode(t, c, data, int(piece)+1), int64(len(data))); err != nil || !bytes.Equal(got, data) {
			t.Errorf("written in pieces: got %d of %d bytes, error %v", len(got), len(data), err)
		}
		if got, err := decode(c, c.Encode(data), int64(len(data))); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read in pieces: got %d of %d bytes, error %v", len(got), len(data), err)
		}
	})
}
