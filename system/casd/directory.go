package casd

import (
	"fmt"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/digest"
)

// maxNameBytes is NAME_MAX of every Linux file system.
const maxNameBytes = 255

// Modes of staged files that have no unix_mode of their own.
const (
	plainMode      = 0o644
	executableMode = 0o755
	directoryMode  = 0o755
)

// arbitraryTime is the modification time of a staged file that has none of its
// own: 2011-11-11 11:11:11 UTC, BuildStream's, so that tools that compare times
// see what they see there.
var arbitraryTime = time.Date(2011, 11, 11, 11, 11, 11, 0, time.UTC)

// A directory is a decoded and checked REAPI Directory.
type directory struct {
	files []fileNode
	dirs  []directoryNode
	links []linkNode
	mode  uint32
	mtime time.Time
}

type fileNode struct {
	name string
	blob digest.Digest
	mode uint32
	// mtime is set, and dated true, if the node says so; else arbitraryTime.
	mtime time.Time
	dated bool
	// bare says that no property but is_executable was asked for, so that a link
	// to the cache's own file would do.
	bare bool
}

type directoryNode struct {
	name string
	blob digest.Digest
}

type linkNode struct {
	name   string
	target string
	mtime  time.Time
}

// A badTreeError says what is wrong with a Directory that a client uploaded.
type badTreeError struct {
	Directory digest.Digest
	Node      string // quoted name of the node, empty if the whole message is meant
	Reason    string
}

func (e *badTreeError) Error() string {
	if e.Node == "" {
		return fmt.Sprintf("directory %v: %s", e.Directory, e.Reason)
	}
	return fmt.Sprintf("directory %v: node %s: %s", e.Directory, e.Node, e.Reason)
}

// decodeDirectory reads a Directory. What passes can be made on a file system
// without leaving the folder it is made in. Order isn't checked: some clients
// are sloppy with it and nothing here depends on it.
func decodeDirectory(d digest.Digest, data []byte) (*directory, error) {
	var message repb.Directory
	if err := proto.Unmarshal(data, &message); err != nil {
		return nil, &badTreeError{Directory: d, Reason: "it is not a Directory message: " + err.Error()}
	}
	decoded := &directory{
		files: make([]fileNode, 0, len(message.Files)),
		dirs:  make([]directoryNode, 0, len(message.Directories)),
		links: make([]linkNode, 0, len(message.Symlinks)),
	}
	decoded.mode, decoded.mtime, _ = properties(message.NodeProperties, directoryMode)
	seen := make(map[string]bool, len(message.Files)+len(message.Directories)+len(message.Symlinks))
	check := func(name string) error {
		reason := badName(name)
		if reason == "" && seen[name] {
			reason = "there are two of this name"
		}
		if reason != "" {
			return &badTreeError{d, quoted(name), reason}
		}
		seen[name] = true
		return nil
	}
	for _, node := range message.Files {
		if err := check(node.Name); err != nil {
			return nil, err
		}
		blob, err := digest.FromProto(node.Digest)
		if err != nil {
			return nil, &badTreeError{d, quoted(node.Name), err.Error()}
		}
		file := fileNode{name: node.Name, blob: blob}
		mode := uint32(plainMode)
		if node.IsExecutable {
			mode = executableMode
		}
		file.mode, file.mtime, file.dated = properties(node.NodeProperties, mode)
		file.bare = !file.dated && node.NodeProperties.GetUnixMode() == nil
		decoded.files = append(decoded.files, file)
	}
	for _, node := range message.Directories {
		if err := check(node.Name); err != nil {
			return nil, err
		}
		blob, err := digest.FromProto(node.Digest)
		if err != nil {
			return nil, &badTreeError{d, quoted(node.Name), err.Error()}
		}
		decoded.dirs = append(decoded.dirs, directoryNode{node.Name, blob})
	}
	for _, node := range message.Symlinks {
		if err := check(node.Name); err != nil {
			return nil, err
		}
		if node.Target == "" || strings.ContainsRune(node.Target, 0) {
			return nil, &badTreeError{d, quoted(node.Name), "the target of a symbolic link is not empty and holds no NUL"}
		}
		link := linkNode{name: node.Name, target: node.Target}
		_, link.mtime, _ = properties(node.NodeProperties, 0)
		decoded.links = append(decoded.links, link)
	}
	return decoded, nil
}

// properties returns the mode and time of a node. Of unix_mode only the
// permissions count: a set-user-id file that casd makes would be casd's.
func properties(p *repb.NodeProperties, mode uint32) (uint32, time.Time, bool) {
	if p.GetUnixMode() != nil {
		mode = p.UnixMode.Value & 0o777
	}
	if p.GetMtime() != nil && p.Mtime.IsValid() {
		return mode, p.Mtime.AsTime(), true
	}
	return mode, arbitraryTime, false
}

// badName says why name can't be that of a directory entry, or nothing.
func badName(name string) string {
	switch {
	case name == "":
		return "the name is empty"
	case name == "." || name == "..":
		return "the name has a meaning of its own"
	case strings.ContainsAny(name, "/\x00"):
		return "the name holds a slash or NUL"
	case len(name) > maxNameBytes:
		return "the name is longer than 255 bytes"
	}
	return ""
}

// quoted bounds what an error repeats of a name.
func quoted(name string) string {
	if len(name) > maxNameBytes {
		name = name[:maxNameBytes] + "…"
	}
	return fmt.Sprintf("%q", name)
}
