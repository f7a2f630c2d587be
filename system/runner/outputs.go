package runner

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
)

//lint:file-ignore SA1019 the deprecated fields are those of clients older than REAPI 2.1

// kind is what an output was declared as.
type kind int

const (
	anyOutput       kind = iota // output_paths
	fileOutput                  // output_files
	directoryOutput             // output_directories
)

// output is a path where the command may leave something.
type output struct {
	name string // as in the Command: below the working directory
	path string // the same below the input root, clean
	kind kind
}

// outputs returns what a command declares: output_paths, or if there are none
// what clients older than REAPI 2.1 send.
func outputs(c *repb.Command) ([]output, error) {
	var all []output
	add := func(kind kind, names []string) error {
		for _, name := range names {
			if strings.HasSuffix(name, "/") {
				return inputErrorf("output %.200q of the command ends in a slash", name)
			}
			p, err := within(c.WorkingDirectory, name)
			if err != nil {
				return inputErrorf("output %.200q of the command %s", name, err)
			}
			all = append(all, output{name: name, path: p, kind: kind})
		}
		return nil
	}
	if len(c.OutputPaths) > 0 {
		return all, add(anyOutput, c.OutputPaths)
	}
	err := add(fileOutput, c.OutputFiles)
	if err == nil {
		err = add(directoryOutput, c.OutputDirectories)
	}
	return all, err
}

// within returns the clean form of a path below a working directory, relative
// to the input root. It may leave the one but not the other.
func within(workingDirectory, name string) (string, error) {
	if strings.HasPrefix(name, "/") || strings.HasPrefix(workingDirectory, "/") {
		return "", errors.New("is absolute")
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("holds a NUL byte")
	}
	p := path.Join(workingDirectory, name)
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", errors.New("lies outside the input root")
	}
	if p == "" {
		p = "."
	}
	return p, nil
}

// found sorts the outputs that the command made by how they are captured.
type found struct {
	files, directories []output
	result             *repb.ActionResult // with the symlinks
}

// find looks for outputs. What isn't there, isn't of the kind declared, or lies
// behind a link that leads out of the input root was not produced.
func (t *tree) find(declared []output) (found, error) {
	f := found{result: &repb.ActionResult{}}
	for _, o := range declared {
		info, err := t.root.Lstat(o.path)
		if err != nil {
			if notProduced(err) {
				continue
			}
			return f, &captureError{o.name, err}
		}
		switch mode := info.Mode(); {
		case mode.IsRegular() && o.kind != directoryOutput:
			f.files = append(f.files, o)
		case mode.IsDir() && o.kind != fileOutput:
			f.directories = append(f.directories, o)
		case mode.Type() == fs.ModeSymlink:
			if err := t.addLink(f.result, o); err != nil {
				return f, err
			}
		case o.kind == anyOutput:
			return f, inputErrorf("output %q is neither file, directory nor symbolic link but %v", o.name, mode)
		}
	}
	return f, nil
}

// addLink records a symbolic link. Fields of REAPI 2.0 take only those that
// lead, inside the input root, to what was declared.
func (t *tree) addLink(result *repb.ActionResult, o output) error {
	target, err := t.root.Readlink(o.path)
	if err != nil {
		return &captureError{o.name, err}
	}
	link := &repb.OutputSymlink{Path: o.name, Target: target}
	if o.kind == anyOutput {
		result.OutputSymlinks = append(result.OutputSymlinks, link)
		return nil
	}
	info, err := t.root.Stat(o.path)
	switch {
	case err != nil && notProduced(err):
	case err != nil:
		return &captureError{o.name, err}
	case o.kind == fileOutput && info.Mode().IsRegular():
		result.OutputFileSymlinks = append(result.OutputFileSymlinks, link)
	case o.kind == directoryOutput && info.IsDir():
		result.OutputDirectorySymlinks = append(result.OutputDirectorySymlinks, link)
	}
	return nil
}

// notProduced tells an output that isn't there from one that can't be read. An
// error of os.Root that holds no errno says that the path leaves the root.
func notProduced(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return true
	}
	return errno == syscall.ENOENT || errno == syscall.ENOTDIR || errno == syscall.ELOOP
}
