package runner

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/weir-build/weir/system/runner/early"
)

// Capabilities of programs of ours beside BuildBox's: --run-as, and PoolArg.
const (
	RunAsCapability = early.RunAs
	PoolCapability  = early.Pool
)

// askLimit bounds the answer to --capabilities, which takes milliseconds.
const askLimit = 30 * time.Second

// CapabilitiesOf asks a runner program, ours or another, for its capabilities.
func CapabilitiesOf(ctx context.Context, path string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--capabilities").Output()
	if err != nil {
		return nil, fmt.Errorf("ask runner %s for its capabilities: %w", path, err)
	}
	return strings.Fields(string(out)), nil
}
