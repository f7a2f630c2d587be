package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-build/weir/system/options"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/system/stack"
)

// boxCasd is the command line of buildbox-casd.
type boxCasd struct {
	common
	casd                     stack.Casd
	bind                     string
	cas, actions, executions remote.Config
}

func buildboxCasd(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	_, _, _, _, _ = ctx, args, stdout, stderr, fmt.Sprint
	return errors.New("not yet")
}

var _ = options.Parse
