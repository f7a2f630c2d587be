package files

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/weir-build/weir/system/cas/lru"
)

// adaptQuota makes the quota such that Config.KeepFreeBytes of the disk stay free;
// mu is held. It asks the system each time, which takes a microsecond, because
// others fill the disk without telling.
func (d *Dir[K]) adaptQuota() error {
	if d.config.KeepFreeBytes == 0 {
		return nil
	}
	free, err := freeBytes(d.objects)
	if err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", d.objects, err)
	}
	d.index.SetLimits(d.limits().Within(d.index.Usage().SizeBytes, free, d.config.KeepFreeBytes))
	return nil
}

// freeBytes is how much of a path's disk is free for users who aren't root.
func freeBytes(path string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// full says why there is no space, and so what would make some.
func (d *Dir[K]) full(u lru.Usage) error {
	err := fmt.Errorf("%w in the quota of %d bytes", ErrNoSpace, u.QuotaBytes)
	if u.QuotaBytes != d.config.QuotaBytes {
		err = fmt.Errorf("%w, which is what keeps %d bytes of the disk free", err, d.config.KeepFreeBytes)
	}
	if u.ProtectedBytes > 0 {
		err = fmt.Errorf("%w; %d bytes are kept because they were used since the start", err, u.ProtectedBytes)
	}
	return err
}

// spaceError wraps what the system says of a full disk in ErrNoSpace.
func spaceError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
