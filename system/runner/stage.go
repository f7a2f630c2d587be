package runner

import (
	"context"
	"runtime"

	"github.com/weir-build/weir/system/proto/localcas"
)

// stage makes the input root appear.
func (r *Run) stage(ctx context.Context) (*tree, error) {
	if r.Options.DisableLocalCAS {
		runtime.SetDefaultGOMAXPROCS() // a worker gives us one processor, since most of the work is casd's
		return r.stageByItself(ctx)
	}
	return r.stageByCasd(ctx)
}

// capturer stores what is in the staged tree.
func (r *Run) capturer() capturer {
	if r.Options.DisableLocalCAS {
		return plainCapturer{client: r.Client, root: r.tree.root, command: r.Command}
	}
	return casdCapturer{
		casd:     localcas.NewLocalContentAddressableStorageClient(r.Client.Conn()),
		instance: r.Options.Remote.Instance, root: r.tree.path, command: r.Command,
	}
}
