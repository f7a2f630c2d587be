package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// nurseries is how many folders share the files being written. Who makes a file waits for
// all who make one in its folder, and ext4 gives them all inodes of one group of blocks.
// Without a journal it looks there at every inode that was freed in the last minute before
// it takes one (recently_deleted in fs/ext4/ialloc.c).
const nurseries = 32

// nursery is the name of one of them, and not one that files in tmp had before there were any.
func nursery(i uint64) string { return "n" + strconv.FormatUint(i%nurseries, 10) }

// openNurseries makes the folder tmp and those in it, and empties them.
func openNurseries(tmp string) error {
	if err := mkdir(tmp); err != nil {
		return err
	}
	scatterFolders(tmp)
	known := make(map[string]bool)
	for i := range uint64(nurseries) {
		known[nursery(i)] = true
	}
	// To make them anew each time would take milliseconds.
	if err := emptyFolder(tmp, known); err != nil {
		return err
	}
	for name := range known {
		path := filepath.Join(tmp, name)
		if err := mkdir(path); err != nil {
			return err
		}
		if err := emptyFolder(path, nil); err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes a folder unless it is there.
func mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// emptyFolder deletes what is in a folder, but for folders of the names to keep.
func emptyFolder(path string, keep map[string]bool) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() && keep[entry.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// topdirFlag is FS_TOPDIR_FL of linux/fs.h.
const topdirFlag = 0x00020000

// scatterFolders tells ext4 to put the folders made in this one from now on each into a
// group of its own (chattr +T), not into that of their parent. Other file systems don't
// know the flag, and have no need of it: any error means that.
func scatterFolders(path string) {
	folder, err := os.Open(path)
	if err != nil {
		return
	}
	defer folder.Close()
	flags, err := unix.IoctlGetUint32(int(folder.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return
	}
	_ = unix.IoctlSetPointerInt(int(folder.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topdirFlag))
}
