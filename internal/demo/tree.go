package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
)

// file is one file of the build; data is nil if only the server has it.
type file struct {
	digest     digest.Digest
	data       []byte
	executable bool
}

// fileSet is the files of a build by path: sources, and outputs as they come.
type fileSet struct {
	// mu guards files.
	mu    sync.Mutex
	files map[string]file
}

func newFileSet() *fileSet { return &fileSet{files: make(map[string]file)} }

func (s *fileSet) addData(path string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = file{digest: digest.Of(data), data: data}
}

// addOutputs takes in the files that a step made; all that it promised must be
// there.
func (s *fileSet) addOutputs(result *repb.ActionResult, promised []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, output := range result.OutputFiles {
		d, err := digest.FromProto(output.Digest)
		if err != nil {
			return err
		}
		s.files[output.Path] = file{digest: d, executable: output.IsExecutable}
	}
	for _, path := range promised {
		if _, ok := s.files[path]; !ok {
			return fmt.Errorf("output %s wasn't made", path)
		}
	}
	return nil
}

// tree returns the digest of a directory that holds the given files, and adds
// the blobs it consists of.
func (s *fileSet) tree(paths []string, blobs map[digest.Digest][]byte) (digest.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root := newFolder()
	for _, path := range paths {
		f, ok := s.files[path]
		if !ok {
			return digest.Digest{}, fmt.Errorf("input %s doesn't exist", path)
		}
		if f.data != nil {
			blobs[f.digest] = f.data
		}
		at := root
		parts := strings.Split(path, "/")
		for _, part := range parts[:len(parts)-1] {
			if at.folders[part] == nil {
				at.folders[part] = newFolder()
			}
			at = at.folders[part]
		}
		at.files[parts[len(parts)-1]] = f
	}
	return root.add(blobs)
}

type folder struct {
	files   map[string]file
	folders map[string]*folder
}

func newFolder() *folder { return &folder{make(map[string]file), make(map[string]*folder)} }

// add adds the Directory of a folder, and those below it, in REAPI's canonical
// form: sorted by name.
func (f *folder) add(blobs map[digest.Digest][]byte) (digest.Digest, error) {
	message := new(repb.Directory)
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		message.Files = append(message.Files, &repb.FileNode{
			Name: name, Digest: f.files[name].digest.Proto(), IsExecutable: f.files[name].executable,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(f.folders)) {
		d, err := f.folders[name].add(blobs)
		if err != nil {
			return digest.Digest{}, err
		}
		message.Directories = append(message.Directories, &repb.DirectoryNode{Name: name, Digest: d.Proto()})
	}
	return add(blobs, message)
}

func add(blobs map[digest.Digest][]byte, m proto.Message) (digest.Digest, error) {
	data, d, err := digest.OfMessage(m)
	blobs[d] = data
	return d, err
}
