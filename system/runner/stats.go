package runner

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/executionstats"
	"github.com/weir-build/weir/system/remote"
)

// uploadStats stores what a command cost and returns the entry of
// auxiliary_metadata that leads there: not the message but the digest of a blob
// that holds it, because JSON printers fail on an Any of unknown type
// (buildbox-common issue 81).
func uploadStats(ctx context.Context, client *remote.Client, usage *syscall.Rusage) (*anypb.Any, error) {
	packed, err := anypb.New(&executionstats.ExecutionStatistics{CommandRusage: resourceUsage(usage)})
	if err != nil {
		return nil, fmt.Errorf("pack execution statistics: %w", err)
	}
	data, d, err := digest.OfMessage(packed)
	if err != nil {
		return nil, err
	}
	if err := client.WriteBlob(ctx, d, data); err != nil {
		return nil, fmt.Errorf("upload execution statistics: %w", err)
	}
	return anypb.New(d.Proto())
}

func resourceUsage(u *syscall.Rusage) *executionstats.ExecutionStatistics_ProcessResourceUsage {
	return &executionstats.ExecutionStatistics_ProcessResourceUsage{
		Utime:   durationpb.New(time.Duration(u.Utime.Nano())),
		Stime:   durationpb.New(time.Duration(u.Stime.Nano())),
		Maxrss:  u.Maxrss, // kB on Linux, as in the message
		Minflt:  u.Minflt,
		Majflt:  u.Majflt,
		Inblock: u.Inblock,
		Oublock: u.Oublock,
		Nvcsw:   u.Nvcsw,
		Nivcsw:  u.Nivcsw,
	}
}
