package stack

import (
	"context"
	"os"
	"slices"

	"github.com/weir-build/weir/system/runner"
	"github.com/weir-build/weir/system/telemetry"
)

// runnerArgs lets actions run where the cluster's folder is one that only root can
// enter: as root, which a runner wouldn't do by itself.
func (u *Up) runnerArgs(t *telemetry.Telemetry) ([]string, error) {
	if os.Geteuid() != 0 || u.cluster.Runner == InternalSleep {
		return nil, nil
	}
	barrier, ok := runner.DefaultUser().Enters(u.cluster.Dir)
	if ok {
		return nil, nil
	}
	path, err := FindRunner(u.cluster.Runner)
	if err != nil {
		return nil, err
	}
	capabilities, err := runner.CapabilitiesOf(context.Background(), path)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(capabilities, runner.RunAsCapability) {
		return nil, nil // somebody else's runner has ways of its own
	}
	t.Logger.Warn("actions run as root: only root can enter the folder their inputs are in", "folder", barrier)
	return []string{"--run-as=0"}, nil
}
