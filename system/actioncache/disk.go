package actioncache

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"github.com/weir-build/weir/system/cas/files"
	"github.com/weir-build/weir/system/digest"
)

// DiskConfig configures Disk.
type DiskConfig struct {
	// QuotaBytes is how much disk results may take, each rounded up to blocks of
	// 4 KiB, before the least recently used are evicted. 0 means no limit.
	QuotaBytes int64
	// Fsync makes a result reach the disk before it counts as stored, at the
	// cost of milliseconds a result.
	Fsync bool
	// Logger hears of damaged files. nil means silence.
	Logger *slog.Logger
}

// Disk is a Cache that keeps each serialized result in a file named by the
// action's digest:
//
//	<dir>/<first 2 hex digits>/<other 62>-<size>
//
// with `.blake3` behind it if that is the digest function. Other functions than those of
// cas.Functions are the caller's mistake. A file that can't be decoded is removed and counts as not found.
type Disk struct {
	files  *files.Dir[digest.Digest]
	logger *slog.Logger
}

var _ Cache = (*Disk)(nil)

// OpenDisk opens the cache in a folder, which is made if need be. It fails if
// another process uses the folder. The caller calls Close.
func OpenDisk(dir string, config DiskConfig) (*Disk, error) {
	logger := config.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	naming := files.Naming[digest.Digest]{Path: resultPath, Key: resultKey}
	f, err := files.Open(dir, "", naming, files.Config{QuotaBytes: config.QuotaBytes, Fsync: config.Fsync})
	if err != nil {
		return nil, fmt.Errorf("open action cache: %w", err)
	}
	return &Disk{files: f, logger: logger}, nil
}

// blake3Suffix ends the names of results whose actions aren't named by SHA-256.
const blake3Suffix = ".blake3"

// resultPath returns where an action's result is.
func resultPath(action digest.Digest) string {
	name := make([]byte, 0, 2*digest.Size+32)
	name = hex.AppendEncode(name, action.Hash[:1])
	name = append(name, '/')
	name = hex.AppendEncode(name, action.Hash[1:])
	name = append(name, '-')
	name = strconv.AppendInt(name, action.SizeBytes, 10)
	switch action.Func() {
	case digest.SHA256:
	case digest.BLAKE3:
		name = append(name, blake3Suffix...)
	default:
		panic("actioncache: a Disk keeps no results of digest function " + action.Func().String())
	}
	return string(name)
}

// resultKey is the inverse of resultPath.
func resultKey(path string, _ int64) (digest.Digest, bool) {
	const dash = 2*digest.Size + 1 // the hash and a slash
	if len(path) <= dash || path[dash] != '-' {
		return digest.Digest{}, false
	}
	name, blake3 := strings.CutSuffix(path, blake3Suffix)
	function := digest.SHA256
	if blake3 {
		function = digest.BLAKE3
	}
	action, err := function.Parse(name[:2] + name[3:dash] + "/" + name[dash+1:])
	if err != nil || resultPath(action) != path {
		return digest.Digest{}, false // a size such as 007
	}
	return action, true
}

// Close lets another process open the folder.
func (c *Disk) Close() error { return c.files.Close() }

// Usage returns how full the cache is.
func (c *Disk) Usage() Usage { return c.files.Usage() }

// Get implements Cache.
func (c *Disk) Get(ctx context.Context, action digest.Digest) (*repb.ActionResult, error) {
	data, err := c.read(action)
	if errors.Is(err, files.ErrNotFound) {
		return nil, notFound(action)
	}
	if err != nil {
		return nil, fmt.Errorf("read result of action %v from disk: %w", action, err)
	}
	result, err := decode(action, data)
	if err != nil {
		c.files.Forget(action)
		c.logger.LogAttrs(ctx, slog.LevelWarn, "dropped a damaged action result", slog.String("action", action.String()), slog.Any("err", err))
		return nil, notFound(action)
	}
	return result, nil
}

func (c *Disk) read(action digest.Digest) ([]byte, error) {
	file, sizeBytes, err := c.files.Open(action)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data := make([]byte, sizeBytes)
	_, err = io.ReadFull(file, data)
	return data, err
}

// Put implements Cache.
func (c *Disk) Put(ctx context.Context, action digest.Digest, result *repb.ActionResult) error {
	data, err := encode(action, result)
	if err != nil {
		return err
	}
	err = c.write(action, data)
	if errors.Is(err, files.ErrNoSpace) {
		return fmt.Errorf("write result of action %v to disk: %w: %w", action, ErrNoSpace, err)
	}
	if err != nil {
		return fmt.Errorf("write result of action %v to disk: %w", action, err)
	}
	return nil
}

func (c *Disk) write(action digest.Digest, data []byte) error {
	temp, err := c.files.Create()
	if err != nil {
		return err
	}
	if _, err := temp.Write(data); err != nil {
		temp.Discard()
		return err
	}
	return temp.Commit(action)
}
