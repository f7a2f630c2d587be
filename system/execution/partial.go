package execution

import (
	"bytes"
	"context"
	"fmt"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/proto/bots"
)

// maxPartialBytes bounds what a worker tells of an attempt under way: a dozen times,
// and a Digest or two. It comes in headers, of which gRPC advises 8 KiB for all of a
// call.
const maxPartialBytes = 4 << 10

// partials returns what a poll tells of attempts under way, by lease. What can't be
// used is nothing to fail a poll for.
func (s *Server) partials(ctx context.Context, bot *bots.BotSession) (told map[string][]byte) {
	for _, r := range bot.Leases {
		values := metadata.ValueFromIncomingContext(ctx, bots.PartialPrefix+r.Id+bots.PartialSuffix)
		if len(values) == 0 {
			continue
		}
		data, err := partialOf(values[0])
		if err != nil {
			s.logger.DebugContext(ctx, "what a worker tells of a lease is ignored", "worker.id", bot.BotId, "lease.id", r.Id, "err", err)
			continue
		}
		if told == nil {
			told = make(map[string][]byte)
		}
		told[r.Id] = data
	}
	return told
}

// partialOf returns an ExecutedActionMetadata as it goes into those that clients get:
// without what is known better here, and with times that every client can print.
func partialOf(value string) ([]byte, error) {
	if len(value) > maxPartialBytes {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(value), maxPartialBytes)
	}
	m := new(repb.ExecutedActionMetadata)
	if err := proto.Unmarshal([]byte(value), m); err != nil {
		return nil, err
	}
	for _, at := range timesOf(m) {
		if at == nil {
			continue
		}
		if err := at.CheckValid(); err != nil {
			return nil, err
		}
	}
	if d := m.VirtualExecutionDuration; d != nil {
		if err := d.CheckValid(); err != nil {
			return nil, err
		}
	}
	// Messages that follow one another merge, times too, field by field.
	m.Worker, m.QueuedTimestamp = "", nil
	return proto.Marshal(m)
}

// timesOf are the times of a worker's stages.
func timesOf(m *repb.ExecutedActionMetadata) []*timestamppb.Timestamp {
	return []*timestamppb.Timestamp{
		m.WorkerStartTimestamp, m.WorkerCompletedTimestamp,
		m.InputFetchStartTimestamp, m.InputFetchCompletedTimestamp,
		m.ExecutionStartTimestamp, m.ExecutionCompletedTimestamp,
		m.OutputUploadStartTimestamp, m.OutputUploadCompletedTimestamp,
	}
}

// partially takes what a worker tells of a lease; the lock is held. An attempt that was
// given up has nothing to tell any more.
func (s *Server) partially(l *lease, told []byte) {
	t := l.task
	if told == nil || int(l.attempt) != len(t.attempts) || bytes.Equal(told, t.partial) {
		return
	}
	t.partial = told
	s.shell.enterAll(t, repb.ExecutionStage_EXECUTING)
}
