package runner

import (
	"context"
	"io/fs"
	"os"
	"path"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/remote"
)

// plainCapturer stores outputs in a plain CAS.
type plainCapturer struct {
	client  *remote.Client
	root    *os.Root
	command *repb.Command
}

func (c plainCapturer) files(ctx context.Context, files []output, result *repb.ActionResult) error {
	for _, o := range files {
		node, err := c.file(ctx, o.path)
		if err != nil {
			return &captureError{o.name, err}
		}
		result.OutputFiles = append(result.OutputFiles, &repb.OutputFile{
			Path: o.name, Digest: node.Digest, IsExecutable: node.IsExecutable, NodeProperties: node.NodeProperties,
		})
	}
	return nil
}

func (c plainCapturer) directories(ctx context.Context, directories []output, result *repb.ActionResult) error {
	for _, o := range directories {
		captured, err := c.directory(ctx, o)
		if err != nil {
			return &captureError{o.name, err}
		}
		result.OutputDirectories = append(result.OutputDirectories, captured)
	}
	return nil
}

// directory stores a directory in the format that the Command asks for.
func (c plainCapturer) directory(ctx context.Context, o output) (*repb.OutputDirectory, error) {
	blobs := make(map[digest.Digest][]byte)
	tree := new(repb.Tree)
	rootDigest, err := c.walk(ctx, o.path, tree, blobs)
	if err != nil {
		return nil, err
	}
	// The root is the last that walk has added: none below can be the same.
	tree.Root, tree.Children = tree.Children[len(tree.Children)-1], tree.Children[:len(tree.Children)-1]
	captured := &repb.OutputDirectory{Path: o.name}
	format := c.command.OutputDirectoryFormat
	if format != repb.Command_DIRECTORY_ONLY {
		data, d, err := digest.OfMessage(tree)
		if err != nil {
			return nil, err
		}
		captured.TreeDigest = d.Proto()
		if format == repb.Command_TREE_ONLY {
			clear(blobs)
		}
		blobs[d] = data
	}
	if format != repb.Command_TREE_ONLY {
		captured.RootDirectoryDigest = rootDigest.Proto()
	}
	return captured, c.client.WriteBlobs(ctx, blobs)
}

// walk stores the files of a directory, and adds it and those below to the tree, once
// each, and to the blobs.
func (c plainCapturer) walk(ctx context.Context, dir string, tree *repb.Tree, blobs map[digest.Digest][]byte) (digest.Digest, error) {
	entries, err := fs.ReadDir(c.root.FS(), dir)
	if err != nil {
		return digest.Digest{}, err
	}
	info, err := c.root.Lstat(dir)
	if err != nil {
		return digest.Digest{}, err
	}
	message := &repb.Directory{NodeProperties: c.properties(info)}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		switch entry.Type() {
		case 0:
			node, err := c.file(ctx, name)
			if err != nil {
				return digest.Digest{}, err
			}
			node.Name = entry.Name()
			message.Files = append(message.Files, node)
		case fs.ModeDir:
			d, err := c.walk(ctx, name, tree, blobs)
			if err != nil {
				return d, err
			}
			message.Directories = append(message.Directories, &repb.DirectoryNode{Name: entry.Name(), Digest: d.Proto()})
		case fs.ModeSymlink:
			target, err := c.root.Readlink(name)
			if err != nil {
				return digest.Digest{}, err
			}
			info, err := c.root.Lstat(name)
			if err != nil {
				return digest.Digest{}, err
			}
			message.Symlinks = append(message.Symlinks, &repb.SymlinkNode{Name: entry.Name(), Target: target, NodeProperties: c.properties(info)})
		default:
			return digest.Digest{}, inputErrorf("%q is neither file, directory nor symbolic link but %v", name, entry.Type())
		}
	}
	data, d, err := digest.OfMessage(message)
	if err != nil {
		return d, err
	}
	if _, ok := blobs[d]; !ok {
		tree.Children, blobs[d] = append(tree.Children, message), data
	}
	return d, nil
}

// file stores a file, opened once: what is hashed is what is sent.
func (c plainCapturer) file(ctx context.Context, name string) (*repb.FileNode, error) {
	file, err := c.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, inputErrorf("%q is not a regular file", name)
	}
	d, err := uploadFile(ctx, c.client, file)
	if err != nil {
		return nil, err
	}
	return &repb.FileNode{Digest: d.Proto(), IsExecutable: info.Mode()&0o100 != 0, NodeProperties: c.properties(info)}, nil
}

// properties are those that the Command asks for, nil if it asks for none.
func (c plainCapturer) properties(info fs.FileInfo) *repb.NodeProperties {
	var p *repb.NodeProperties
	for _, name := range c.command.OutputNodeProperties {
		if p == nil && (name == "mtime" || name == "unix_mode") {
			p = new(repb.NodeProperties)
		}
		switch name {
		case "mtime":
			p.Mtime = timestamppb.New(info.ModTime())
		case "unix_mode":
			if info.Mode().Type() == fs.ModeSymlink {
				continue // whose mode means nothing
			}
			p.UnixMode = wrapperspb.UInt32(uint32(info.Mode().Perm()))
		}
	}
	return p
}
