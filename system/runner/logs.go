package runner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// maxSmallLog is up to what size output is read whole and sent in one message;
// more goes over ByteStream in pieces of the same size. It is far below the
// usual message limit of 4 MiB.
const maxSmallLog = 1 << 20

// logs are where a command's stdout and stderr go.
type logs struct {
	stdout, stderr logFile
	captured       bool
}

// logFile is one of them.
type logFile struct {
	file *os.File // to append to, and to read back: its name may be replaced by the command
	temp string   // to be removed
}

// openLogs creates the files that o names, or temporary ones, or with
// NoLogsCapture gives the command the two given. They become the user's, whose processes
// may want to open them again.
func openLogs(o Options, stdout, stderr *os.File, user *User) (*logs, error) {
	if o.NoLogsCapture {
		return &logs{stdout: logFile{file: stdout}, stderr: logFile{file: stderr}}, nil
	}
	l := &logs{captured: true}
	err := errors.Join(l.stdout.open(o.StdoutFile, user), l.stderr.open(o.StderrFile, user))
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (f *logFile) open(path string, user *User) error {
	if path == "" {
		temp, err := os.CreateTemp("", "buildbox-run-log-")
		if err != nil {
			return fmt.Errorf("create log file: %w", err)
		}
		temp.Close()
		path, f.temp = temp.Name(), temp.Name()
	}
	var err error
	// Appending, so that a command that opens it again doesn't overwrite.
	if f.file, err = os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("create log file: %w", err)
	}
	if err := user.give(f.file.Chown); err != nil {
		return fmt.Errorf("give the log file to user %v: %w", user, err)
	}
	return nil
}

// close closes the files and removes the temporary ones.
func (l *logs) close() {
	if !l.captured {
		return
	}
	for _, f := range []logFile{l.stdout, l.stderr} {
		if f.file != nil {
			f.file.Close()
		}
		if f.temp != "" {
			os.Remove(f.temp)
		}
	}
}

// upload stores what was written and returns the digests, nil if nothing was
// captured. The command has ended.
func (l *logs) upload(ctx context.Context, client *remote.Client) (stdout, stderr digest.Digest, err error) {
	var wait sync.WaitGroup
	var errs [2]error
	wait.Go(func() { stdout, errs[0] = uploadFile(ctx, client, l.stdout.file) })
	stderr, errs[1] = uploadFile(ctx, client, l.stderr.file)
	wait.Wait()
	if errs[0] != nil {
		return stdout, stderr, fmt.Errorf("upload stdout: %w", errs[0])
	}
	if errs[1] != nil {
		return stdout, stderr, fmt.Errorf("upload stderr: %w", errs[1])
	}
	return stdout, stderr, nil
}

// uploadBytes stores what is in memory.
func uploadBytes(ctx context.Context, client *remote.Client, d digest.Digest, data []byte) error {
	switch {
	case len(data) == 0:
		return nil // every CAS has it
	case len(data) <= maxSmallLog:
		return client.WriteBlob(ctx, d, data)
	}
	writer, err := client.Create(ctx, d)
	if err != nil {
		return err
	}
	for piece := range slices.Chunk(data, maxSmallLog) {
		if err := writer.Append(piece); err != nil {
			writer.Abort()
			return err
		}
	}
	return writer.Commit()
}

func uploadFile(ctx context.Context, client *remote.Client, file *os.File) (digest.Digest, error) {
	stat, err := file.Stat()
	if err != nil {
		return digest.Digest{}, err
	}
	size := stat.Size()
	if size == 0 {
		return digest.Empty, nil
	}
	// Both ways read the size seen now: were the file to grow it wouldn't
	// matter, and one that shrank is an error.
	if size <= maxSmallLog {
		data := make([]byte, size)
		if _, err := file.ReadAt(data, 0); err != nil {
			return digest.Digest{}, err
		}
		d := digest.Of(data)
		return d, uploadBytes(ctx, client, d, data)
	}
	hash := sha256.New()
	if n, err := io.Copy(hash, io.NewSectionReader(file, 0, size)); err != nil || n < size {
		return digest.Digest{}, fmt.Errorf("hash %d of %d bytes: %w", n, size, errors.Join(err, io.ErrUnexpectedEOF))
	}
	d := digest.Digest{Hash: [digest.Size]byte(hash.Sum(nil)), SizeBytes: size}
	writer, err := client.Create(ctx, d)
	if err != nil {
		return d, err
	}
	for offset := int64(0); offset < size; {
		piece := make([]byte, min(maxSmallLog, size-offset)) // the writer keeps it
		if _, err := file.ReadAt(piece, offset); err != nil {
			writer.Abort()
			return d, err
		}
		if err := writer.Append(piece); err != nil {
			writer.Abort()
			return d, err
		}
		offset += int64(len(piece))
	}
	return d, writer.Commit()
}

// tail returns the end of what was written to stderr, for a message.
func (l *logs) tail() string {
	const most = 500
	if !l.captured {
		return "see the runner's own stderr"
	}
	f := l.stderr
	info, err := f.file.Stat()
	if err != nil {
		return err.Error()
	}
	data := make([]byte, min(most, info.Size()))
	n, err := f.file.ReadAt(data, info.Size()-int64(len(data)))
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(data[:n]), "?"))
}
