package casd_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	lcpb "github.com/weir-build/weir/system/proto/localcas"
)

// actions are what actions do to their inputs, with what the tree is after it.
var actions = map[string]struct {
	do    func(dir string) error
	after files
}{
	"overwrite": {
		func(dir string) error { return os.WriteFile(dir+"/a", []byte("new"), 0o644) },
		files{"a": "new", "b": "bbb", "d/c": "ccc"},
	},
	"write inside": {
		func(dir string) error {
			return edit(dir+"/a", os.O_RDWR, func(f *os.File) error { _, err := f.WriteAt([]byte("X"), 1); return err })
		},
		files{"a": "aXa", "b": "bbb", "d/c": "ccc"},
	},
	"append": {
		func(dir string) error {
			return edit(dir+"/a", os.O_WRONLY|os.O_APPEND, func(f *os.File) error { _, err := f.WriteString("!"); return err })
		},
		files{"a": "aaa!", "b": "bbb", "d/c": "ccc"},
	},
	"truncate": {
		func(dir string) error { return os.Truncate(dir+"/a", 1) },
		files{"a": "a", "b": "bbb", "d/c": "ccc"},
	},
	"grow": {
		func(dir string) error { return os.Truncate(dir+"/a", 5) },
		files{"a": "aaa\x00\x00", "b": "bbb", "d/c": "ccc"},
	},
	"read, then write": {
		// The kernel may have the cache's own file open for the inode by then.
		func(dir string) error {
			if _, err := os.ReadFile(dir + "/a"); err != nil {
				return err
			}
			return os.WriteFile(dir+"/a", []byte("new"), 0o644)
		},
		files{"a": "new", "b": "bbb", "d/c": "ccc"},
	},
	"write while it is read": {
		func(dir string) error {
			reader, err := os.Open(dir + "/a")
			if err != nil {
				return err
			}
			defer reader.Close()
			if err := edit(dir+"/a", os.O_WRONLY|os.O_APPEND, func(f *os.File) error { _, err := f.WriteString("!"); return err }); err != nil {
				return err
			}
			if _, err := io.ReadAll(reader); err != nil {
				return err
			}
			if data, err := os.ReadFile(dir + "/a"); err != nil || string(data) != "aaa!" {
				return fmt.Errorf("opened again: got %q, %w", data, err)
			}
			return edit(dir+"/a", os.O_WRONLY|os.O_APPEND, func(f *os.File) error { _, err := f.WriteString("?"); return err })
		},
		files{"a": "aaa!?", "b": "bbb", "d/c": "ccc"},
	},
	"truncate while it is read": {
		func(dir string) error {
			reader, err := os.Open(dir + "/a")
			if err != nil {
				return err
			}
			defer reader.Close()
			return os.Truncate(dir+"/a", 2)
		},
		files{"a": "aa", "b": "bbb", "d/c": "ccc"},
	},
	"link while it is read": {
		func(dir string) error {
			reader, err := os.Open(dir + "/a")
			if err != nil {
				return err
			}
			defer reader.Close()
			if err := os.Link(dir+"/a", dir+"/a2"); err != nil {
				return err
			}
			return edit(dir+"/a2", os.O_WRONLY|os.O_APPEND, func(f *os.File) error { _, err := f.WriteString("!"); return err })
		},
		files{"a": "aaa!", "a2": "aaa!", "b": "bbb", "d/c": "ccc"},
	},
	"map and write": {
		func(dir string) error {
			// By another process: this one answers the page fault, and can't while its garbage
			// collector waits for the thread that has it.
			c := exec.Command(os.Args[0])
			c.Env = append(os.Environ(), mappedFile+"="+dir+"/a")
			if out, err := c.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
		files{"a": "Maa", "b": "bbb", "d/c": "ccc"},
	},
	"chmod": {
		func(dir string) error { return os.Chmod(dir+"/a", 0o700) },
		files{"a*": "aaa", "b": "bbb", "d/c": "ccc"},
	},
	"chmod through a descriptor": {
		func(dir string) error {
			return edit(dir+"/a", os.O_RDONLY, func(f *os.File) error { return f.Chmod(0o755) })
		},
		files{"a*": "aaa", "b": "bbb", "d/c": "ccc"},
	},
	"set times": {
		func(dir string) error { return os.Chtimes(dir+"/a", time.Unix(1, 0), time.Unix(2, 0)) },
		files{"a": "aaa", "b": "bbb", "d/c": "ccc"},
	},
	"rename over": {
		func(dir string) error {
			if err := os.WriteFile(dir+"/tmp", []byte("new"), 0o644); err != nil {
				return err
			}
			return os.Rename(dir+"/tmp", dir+"/a")
		},
		files{"a": "new", "b": "bbb", "d/c": "ccc"},
	},
	"rename input over input": {
		func(dir string) error { return os.Rename(dir+"/a", dir+"/b") },
		files{"b": "aaa", "d/c": "ccc"},
	},
	"rename, then write": {
		func(dir string) error {
			if err := os.Rename(dir+"/d", dir+"/e"); err != nil {
				return err
			}
			return os.WriteFile(dir+"/e/c", []byte("new"), 0o644)
		},
		files{"a": "aaa", "b": "bbb", "e/c": "new"},
	},
	"delete": {
		func(dir string) error { return errors.Join(os.Remove(dir+"/a"), os.RemoveAll(dir+"/d")) },
		files{"b": "bbb"},
	},
	"hard link, then write": {
		func(dir string) error {
			if err := os.Link(dir+"/a", dir+"/d/a2"); err != nil {
				return err
			}
			return os.WriteFile(dir+"/d/a2", []byte("new"), 0o644)
		},
		files{"a": "new", "b": "bbb", "d/c": "ccc", "d/a2": "new"},
	},
	"make things": {
		func(dir string) error {
			return errors.Join(
				os.MkdirAll(dir+"/x/y", 0o755), os.Symlink("../a", dir+"/x/l"),
				os.WriteFile(dir+"/x/y/z", []byte("zzz"), 0o755), os.Mkdir(dir+"/none", 0o755))
		},
		files{"a": "aaa", "b": "bbb", "d/c": "ccc", "x/l@": "../a", "x/y/z*": "zzz", "none/": ""},
	},
	"by a shell": {
		func(dir string) error {
			return shellIn(dir, "cat a b > ab; cp d/c d/e; mv b bb; sed -i s/a/A/ a; echo more >> d/c; rm bb").Run()
		},
		files{"a": "Aaa", "ab": "aaabbb", "d/c": "cccmore\n", "d/e": "ccc"},
	},
}

func edit(path string, flags int, do func(*os.File) error) error {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

// mappedFile is the variable by which a child of the test is told which file to map and
// write to.
const mappedFile = "CASD_TEST_MAPPED_FILE"

func mapAndWrite(path string) error {
	return edit(path, os.O_RDWR, func(f *os.File) error {
		data, err := syscall.Mmap(int(f.Fd()), 0, 3, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		if err != nil {
			return err
		}
		data[0] = 'M'
		return syscall.Munmap(data)
	})
}

func TestActionsNeverReachTheCache(t *testing.T) {
	contentModes(t, func(t *testing.T, mode lcpb.StageTreeRequest_StagingMode) {
		w := newWorld(t)
		root := w.putTree(files{"a": "aaa", "b": "bbb", "d/c": "ccc"})
		for name, action := range actions {
			t.Run(name, func(t *testing.T) {
				s := w.stage(root, mode)
				if err := action.do(s.path); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(read(t, s.path), action.after); diff != "" {
					t.Errorf("tree afterwards (-got +want):\n%s", diff)
				}
				captured := w.captureDirectory(s.path)
				s.end()
				w.checkCache()

				// What was captured is what was there, and it is at the remote.
				again := w.stage(captured, mode)
				if diff := cmp.Diff(read(t, again.path), action.after); diff != "" {
					t.Errorf("captured tree (-got +want):\n%s", diff)
				}
				again.end()
			})
		}
		w.checkCache()
	})
}
