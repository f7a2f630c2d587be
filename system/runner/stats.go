package runner

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/executionstats"
	"github.com/weir-build/weir/system/remote"
	"github.com/weir-build/weir/traces/semconv"
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

// usageRecord returns the same as an entry that every printer of JSON knows, with
// the names and units of the trace's attributes. Who builds the action's trace
// takes it out (build.TakeUsage).
func usageRecord(u *syscall.Rusage) (*anypb.Any, error) {
	const kilo = 1024 // maxrss is in kB on Linux
	fields := make(map[string]*structpb.Value)
	for key, n := range map[string]int64{
		semconv.AttrUserTime: u.Utime.Nano(), semconv.AttrSystemTime: u.Stime.Nano(),
		semconv.AttrMaxRSS: u.Maxrss * kilo, semconv.AttrMajorFaults: u.Majflt,
		semconv.AttrBlockInput: u.Inblock, semconv.AttrBlockOutput: u.Oublock,
		semconv.AttrVoluntarySwitches: u.Nvcsw, semconv.AttrInvoluntarySwitches: u.Nivcsw,
	} {
		fields[key] = structpb.NewNumberValue(float64(n))
	}
	entry, err := anypb.New(&structpb.Struct{Fields: fields})
	if err != nil {
		return nil, fmt.Errorf("pack resource usage: %w", err)
	}
	return entry, nil
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
