package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// nobody is whom the processes of actions belong to where the runner is root: casd's
// blobs are safe from them, and so is the machine from a mistake in a build.
var nobody = User{UID: 65534, GID: 65534}

// maxID is the largest id of a user or group; the one above means "unchanged".
const maxID = 1<<32 - 2

// ParseUser reads UID or UID:GID; without the second both are the same.
func ParseUser(s string) (*User, error) {
	first, second, both := strings.Cut(s, ":")
	if !both {
		second = first
	}
	uid, err := strconv.ParseUint(first, 10, 32)
	gid, err2 := strconv.ParseUint(second, 10, 32)
	if err := errors.Join(err, err2); err != nil || uid > maxID || gid > maxID {
		return nil, fmt.Errorf("%.50q: want UID or UID:GID, numbers up to %d", s, maxID)
	}
	return &User{UID: int(uid), GID: int(gid)}, nil
}

// DefaultUser is nobody for root, and for others themselves: nil.
func DefaultUser() *User {
	if os.Geteuid() == 0 {
		u := nobody
		return &u
	}
	return nil
}

// give makes something the user's, by a chown of it, where this process may; nobody else
// runs commands as another.
func (u *User) give(chown func(uid, gid int) error) error {
	if u == nil || os.Geteuid() != 0 {
		return nil
	}
	return chown(u.UID, u.GID)
}

func (u *User) String() string { return fmt.Sprintf("%d:%d", u.UID, u.GID) }

// Enters reports whether a user can enter a directory and all above it, and if not which
// one keeps it out. Root can.
func (u *User) Enters(dir string) (barrier string, ok bool) {
	if u == nil || u.UID == 0 {
		return "", true
	}
	for path := filepath.Clean(dir); ; path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return path, false
		}
		stat, mode := info.Sys().(*syscall.Stat_t), info.Mode().Perm()
		const execute = 0o1
		switch {
		case int(stat.Uid) == u.UID:
			mode >>= 6
		case int(stat.Gid) == u.GID:
			mode >>= 3
		}
		if mode&execute == 0 {
			return path, false
		}
		if path == "/" || path == "." {
			return "", true
		}
	}
}

// checkReachable explains why the processes of a user couldn't work in a staged tree.
func checkReachable(dir string, u *User) error {
	barrier, ok := u.Enters(dir)
	if ok {
		return nil
	}
	return fmt.Errorf("user %v, whom the action's processes belong to, can't enter %s, on the way to its inputs in %s: stage elsewhere (casd's folder, --workspace-path), or choose another user (--run-as)", u, barrier, dir)
}
