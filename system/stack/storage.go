package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"github.com/weir-build/weir/system/actioncache"
	"github.com/weir-build/weir/system/cas"
	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/storage"
	"github.com/weir-build/weir/system/telemetry"
)

// Storage configures a storage-server.
type Storage struct {
	// Instances are the instance names served; each has stores of its own.
	Instances []string `yaml:"instances"`
	// CAS and ActionCache say where blobs and results are kept.
	CAS         Store `yaml:"cas"`
	ActionCache Store `yaml:"action_cache"`
	// MaxBatchBytes is advertised and enforced; 0 means the default.
	MaxBatchBytes Size `yaml:"max_batch_bytes"`
}

// Store configures one kind of store.
type Store struct {
	// Path is the folder of a store on disk; empty keeps it in memory.
	Path string `yaml:"path"`
	// Quota bounds each instance's; the least recently used go first. 0 means no
	// bound.
	Quota Size `yaml:"quota"`
	// Fsync survives a power failure too, at the cost of milliseconds a blob.
	Fsync bool `yaml:"fsync"`
}

// NewStorage returns a storage-server that will serve on a listener.
func NewStorage(c Storage, t *telemetry.Telemetry, listener net.Listener) (*Role, error) {
	config := storage.Config{
		Functions:     cas.Functions,
		Instances:     make(map[string]storage.Instance),
		MaxBatchBytes: int64(c.MaxBatchBytes),
		Registerer:    t.Registerer,
		Logger:        t.Logger,
	}
	var opened closers
	for _, name := range c.Instances {
		instance, err := c.open(name, t, &opened)
		if err != nil {
			return nil, errors.Join(err, opened.close())
		}
		config.Instances[name] = instance
	}
	server, err := storage.New(config)
	if err != nil {
		return nil, errors.Join(err, opened.close())
	}
	return &Role{
		Name: "storage-server", Telemetry: t, Addr: listener.Addr().String(),
		run: func(ctx context.Context) error { return serve(ctx, t, listener, server, nil) },
		close: func() error {
			server.Close()
			return opened.close()
		},
	}, nil
}

func (c *Storage) open(name string, t *telemetry.Telemetry, opened *closers) (storage.Instance, error) {
	if err := digest.CheckInstance(name); err != nil {
		return storage.Instance{}, err
	}
	var instance storage.Instance
	if c.CAS.Path == "" {
		instance.CAS = cas.NewMemory(cas.MemoryConfig{QuotaBytes: int64(c.CAS.Quota)})
	} else {
		disk, err := cas.OpenDisk(folder(c.CAS.Path, name), cas.DiskConfig{QuotaBytes: int64(c.CAS.Quota), Fsync: c.CAS.Fsync, Logger: t.Logger})
		if err != nil {
			return instance, fmt.Errorf("CAS of instance %q: %w", name, err)
		}
		opened.add(disk.Close)
		instance.CAS = disk
	}
	if c.ActionCache.Path == "" {
		instance.AC = actioncache.NewMemory(actioncache.MemoryConfig{QuotaBytes: int64(c.ActionCache.Quota)})
	} else {
		disk, err := actioncache.OpenDisk(folder(c.ActionCache.Path, name), actioncache.DiskConfig{QuotaBytes: int64(c.ActionCache.Quota), Logger: t.Logger})
		if err != nil {
			return instance, fmt.Errorf("action cache of instance %q: %w", name, err)
		}
		opened.add(disk.Close)
		instance.AC = disk
	}
	return instance, nil
}

// folder is where an instance's store is. '@' is in no instance's name.
func folder(path, instance string) string {
	if instance == "" {
		instance = "@default"
	}
	return filepath.Join(path, strings.ReplaceAll(instance, "/", "@"))
}

// closers closes what was opened, the last first.
type closers struct{ list []func() error }

func (c *closers) add(f func() error) { c.list = append(c.list, f) }

func (c *closers) close() error {
	var errs []error
	for i := len(c.list) - 1; i >= 0; i-- {
		errs = append(errs, c.list[i]())
	}
	c.list = nil
	return errors.Join(errs...)
}
