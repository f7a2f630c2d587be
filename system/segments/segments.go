// Package segments keeps a log in numbered files, safe to kill at any moment.
//
// A [Log] is appended to in memory, which costs a copy. What was appended is
// written by Flush, after which a killed process loses nothing of it, and
// reaches the disk by Sync, after which a power failure doesn't either. Both are
// shared: whoever comes first does it for all that was appended before.
//
// A file is a segment. Rotate begins another one with what its owner says is
// worth knowing of all before, so that older segments are needed no more and are
// removed. It is written beside the older one, which goes on until the new one has
// caught up and is on disk, and gets its name then: nobody waits for it, and the last
// segment is always whole but for its end, where a killed process may have left half
// a write.
//
// What the bytes mean is the owner's (package system/queue/journal, for one), and
// so is to find the end of what is whole, at which [Log.Resume] cuts the last
// segment. To tell what a crash tore from what a disk lost, the owner may have the
// log write how far it was synced, as soon as something else is written:
//
//	l, err := segments.Open(dir, segments.Config{Synced: journal.AppendSync})
//	if last, ok := l.Last(); ok {
//		size := … // read last.Path
//		err = l.Resume(size)
//	} else {
//		_, err = l.Rotate(beginning)
//	}
//	place := l.Append(func(b []byte) []byte { return append(b, "what happened"...) })
//	err = l.Sync(ctx, place)
package segments

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// suffix ends the name of a segment's file, which begins with its number.
const suffix = ".journal"

// temporary follows that while the segment isn't one yet.
const temporary = ".tmp"

// ErrInUse is returned, wrapped, when another process has the folder.
var ErrInUse = errors.New("another process uses it")

// ErrClosed is returned by a Log that was closed.
var ErrClosed = errors.New("the log is closed")

// Config configures a Log.
type Config struct {
	// Keep is how many segments are kept besides the last one.
	Keep int
	// Synced appends, at an offset in a file, that the file was on disk up to
	// another one when that was written. It is called before something is written
	// after a sync. If it is nil, nothing tells of syncs.
	Synced func(b []byte, offset, synced int64) []byte
}

// A Segment is one file of a log.
type Segment struct {
	Number uint64
	Path   string
}

// List returns the segments in a folder, oldest first.
func List(dir string) ([]Segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Segment
	for _, e := range entries { // sorted by name, hence by number
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && e.Name() == fileName(n) {
			list = append(list, Segment{n, filepath.Join(dir, e.Name())})
		}
	}
	return list, nil
}

// fileName pads with zeros, so that names sort as numbers do.
func fileName(n uint64) string { return fmt.Sprintf("%08d%s", n, suffix) }

// Log is a log that is being written. It is safe for concurrent use.
type Log struct {
	dir    string
	lock   *os.File
	config Config

	mu       sync.Mutex
	pending  []byte // appended and not written; guarded by mu
	spare    []byte // a buffer to append to next; guarded by mu
	appended int64  // bytes, ever; guarded by mu
	next     *next  // the segment that is being begun, or nil; guarded by mu
	closed   bool   // guarded by mu

	writing sync.Mutex   // held to write; comes before mu
	written atomic.Int64 // changed with writing held
	file    *os.File     // guarded by writing
	number  uint64       // of file; guarded by writing
	offset  int64        // of file's end; guarded by writing
	safe    int64        // so much of file is on disk; guarded by writing
	told    int64        // so much of it the file says is; guarded by writing
	retired []*os.File   // older ones, on disk and still open; guarded by writing
	failed  error        // of a write, after which nothing is written any more; guarded by writing

	syncing sync.Mutex
	synced  int64         // guarded by syncing
	broken  error         // guarded by syncing
	round   chan struct{} // closed when the next sync is over; guarded by syncing

	rotating    sync.WaitGroup
	syncs, took atomic.Int64 // see Stats

	wanted chan struct{} // holds a token when a sync is asked for
	quit   chan struct{} // closed to end the syncer
	done   chan struct{} // closed when it has ended
}

// next is a segment that is being begun.
type next struct {
	beginning []byte
	since     []byte // what was appended since then, and isn't in it
}

// Open takes over a folder, which is made if need be, for one process at a time.
func Open(dir string, config Config) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{
		dir: dir, lock: lock, config: config,
		round: make(chan struct{}), wanted: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	if err := l.tidy(); err != nil {
		lock.Close()
		return nil, err
	}
	go l.sync()
	return l, nil
}

// tidy removes the beginnings of segments that never were.
func (l *Log) tidy() error {
	left, err := filepath.Glob(filepath.Join(l.dir, "*"+suffix+temporary))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// lockDir keeps other processes out of a folder until the file is closed.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	return f, nil
}

// Last returns the last segment, if there is one.
func (l *Log) Last() (last Segment, ok bool, err error) {
	list, err := List(l.dir)
	if err != nil || len(list) == 0 {
		return Segment{}, false, err
	}
	return list[len(list)-1], true, nil
}

// Resume goes on with the last segment from size on, and cuts off what is behind
// that.
func (l *Log) Resume(size int64) error {
	last, ok, err := l.Last()
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s has no segment to go on with", l.dir)
	}
	f, err := os.OpenFile(last.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), seekEnd(f)); err != nil {
		f.Close()
		return fmt.Errorf("cut %s at byte %d: %w", last.Path, size, err)
	}
	l.writing.Lock()
	l.file, l.number, l.offset = f, last.Number, size
	l.writing.Unlock()
	return nil
}

func seekEnd(f *os.File) error {
	_, err := f.Seek(0, io.SeekEnd)
	return err
}

// Append lets add append to a buffer, and returns the place after that, for Flush
// and Sync. The caller sees to the order of its calls. Once the log is closed it does
// nothing, and the place is one that is never reached.
func (l *Log) Append(add func([]byte) []byte) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return math.MaxInt64
	}
	if l.pending == nil {
		l.pending, l.spare = l.spare[:0], nil
	}
	before := len(l.pending)
	l.pending = add(l.pending)
	l.appended += int64(len(l.pending) - before)
	if l.next != nil {
		l.next.since = append(l.next.since, l.pending[before:]...)
	}
	return l.appended
}

// Rotate begins a segment with what is worth knowing of all that was appended so
// far, by bytes that the log owns from now on. It does nothing, and returns false,
// while another one is being begun. The first segment of a log is there when it
// returns.
func (l *Log) Rotate(beginning []byte) (begun bool, err error) {
	l.mu.Lock()
	if l.closed || l.next != nil {
		l.mu.Unlock()
		return false, nil
	}
	n := &next{beginning: beginning}
	l.next = n
	l.rotating.Add(1)
	l.mu.Unlock()
	l.writing.Lock()
	first := l.file == nil
	l.writing.Unlock()
	if first {
		defer l.rotating.Done()
		return true, l.begin(n)
	}
	go func() {
		defer l.rotating.Done()
		if err := l.begin(n); err != nil {
			l.writing.Lock()
			if l.failed == nil {
				l.failed = err
			}
			l.writing.Unlock()
		}
	}()
	return true, nil
}

// Next returns the number that the next segment will have.
func (l *Log) Next() uint64 {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.number + 1
}

// Rotating tells whether a segment is being begun, or none can be any more.
func (l *Log) Rotating() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next != nil || l.closed
}

// Settle waits until the segment that is being begun, if one is, is there.
func (l *Log) Settle() error {
	l.rotating.Wait()
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.failed
}

// Stats is what a log has done.
type Stats struct {
	Written int64 // bytes
	Syncs   int64
	Syncing time.Duration // the disk took for them
}

// Stats returns what the log has done.
func (l *Log) Stats() Stats {
	return Stats{l.written.Load(), l.syncs.Load(), time.Duration(l.took.Load())}
}

// Flush writes what was appended up to a place, so that the end of the process
// doesn't lose it.
func (l *Log) Flush(place int64) error {
	if l.written.Load() >= place {
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.written.Load() >= place {
		return nil
	}
	l.write()
	if l.failed == nil && l.written.Load() < place {
		return ErrClosed
	}
	return l.failed
}

// write writes all that is pending; writing is held.
func (l *Log) write() {
	l.mu.Lock()
	data, end := l.pending, l.appended
	l.pending = nil
	l.mu.Unlock()
	if l.failed != nil || len(data) == 0 {
		return
	}
	if l.file == nil {
		l.failed = fmt.Errorf("%s has no segment to append to", l.dir)
		return
	}
	if l.failed = l.writeTo(data); l.failed != nil {
		return
	}
	l.written.Store(end)
	l.mu.Lock()
	l.spare = data
	l.mu.Unlock()
}

// writeTo writes to the file, and what was synced before; writing is held.
func (l *Log) writeTo(data []byte) error {
	if l.config.Synced != nil && l.safe > l.told {
		data = append(l.config.Synced(nil, l.offset, l.safe), data...)
		l.told = l.safe
	}
	n, err := l.file.Write(data)
	l.offset += int64(n)
	return err
}

// begin makes the next segment, without the others' waiting for it but at the end.
func (l *Log) begin(n *next) error {
	l.writing.Lock()
	number := l.number + 1
	l.writing.Unlock()
	path := filepath.Join(l.dir, fileName(number))
	f, err := os.OpenFile(path+temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(n.beginning)
	if err == nil {
		err = f.Sync()
	}
	size := int64(len(n.beginning))
	n.beginning = nil
	for err == nil && l.since(n) > catchUp {
		var more int
		more, err = f.Write(l.takeSince(n))
		size += int64(more)
	}
	if err == nil {
		err = l.change(f, path, size, n)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("begin %s: %w", path, err)
	}
	return l.prune()
}

// catchUp is how much of what came since a segment was begun is left for when
// everybody has to wait: a write of less than a millisecond.
const catchUp = 256 << 10

func (l *Log) since(n *next) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(n.since)
}

func (l *Log) takeSince(n *next) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	data := n.since
	n.since = nil
	return data
}

// change lets a new segment take the place of the old one.
func (l *Log) change(f *os.File, path string, size int64, n *next) (err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	// Before others may write: they would leave out what is dropped below.
	defer func() {
		if err != nil && l.failed == nil {
			l.failed = err
		}
	}()
	l.write()
	if l.failed != nil {
		return l.failed
	}
	// Between the write above and here more may be appended. It is pending, and in
	// n.since as well: what is pending is then the new segment's.
	l.mu.Lock()
	data, end := n.since, l.appended
	n.since, l.next = nil, nil
	l.pending = nil
	l.mu.Unlock()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(path+temporary, path); err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	if l.file != nil {
		l.retired = append(l.retired, l.file)
	}
	size += int64(len(data))
	l.file, l.number = f, l.number+1
	l.offset, l.safe, l.told = size, size, 0
	l.written.Store(end)
	return nil
}

// prune removes segments that are needed no more.
func (l *Log) prune() error {
	list, err := List(l.dir)
	if err != nil {
		return err
	}
	for _, s := range list[:max(0, len(list)-1-l.config.Keep)] {
		if err := os.Remove(s.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Sync returns when what was appended up to a place is on disk, or ctx is done.
func (l *Log) Sync(ctx context.Context, place int64) error {
	for {
		l.syncing.Lock()
		synced, broken, round := l.synced, l.broken, l.round
		l.syncing.Unlock()
		if synced >= place {
			return nil
		}
		if broken != nil {
			return broken
		}
		select {
		case l.wanted <- struct{}{}:
		default:
		}
		select {
		case <-round:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sync serves those who wait in Sync, until the log is closed.
func (l *Log) sync() {
	defer close(l.done)
	for {
		select {
		case <-l.wanted:
		case <-l.quit:
			return
		}
		end, err := l.syncOnce()
		l.tell(end, err)
		if err != nil {
			return
		}
	}
}

func (l *Log) syncOnce() (int64, error) {
	l.writing.Lock()
	l.write()
	f, end, offset, err := l.file, l.written.Load(), l.offset, l.failed
	retired := l.retired
	l.retired = nil
	l.writing.Unlock()
	for _, old := range retired {
		old.Close()
	}
	if err != nil {
		return 0, err
	}
	if f == nil {
		return end, nil
	}
	// Others may write meanwhile.
	started := time.Now()
	if err := syscall.Fdatasync(int(f.Fd())); err != nil {
		return 0, fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	l.syncs.Add(1)
	l.took.Add(int64(time.Since(started)))
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.file == f {
		l.safe = offset
	}
	return end, nil
}

func (l *Log) tell(end int64, err error) {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.synced, l.broken = max(l.synced, end), err
	close(l.round)
	l.round = make(chan struct{})
}

// Close syncs all that was appended and gives the folder back.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	end := l.appended
	l.mu.Unlock()
	l.rotating.Wait()
	err := l.Sync(context.Background(), end)
	close(l.quit)
	<-l.done
	l.tell(0, ErrClosed)
	l.writing.Lock()
	defer l.writing.Unlock()
	for _, f := range append(l.retired, l.file) {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return errors.Join(err, l.lock.Close())
}
