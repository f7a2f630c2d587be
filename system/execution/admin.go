package execution

import (
	"cmp"
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weir-build/weir/system/proto/admin"
)

// maxToldDrained bounds the workers that an answer to Drain lists.
const maxToldDrained = 1000

// Drain drains workers, or undoes that.
func (s *Server) Drain(ctx context.Context, request *admin.DrainRequest) (*admin.DrainResponse, error) {
	at, err := s.instance(request.InstanceName)
	if err != nil {
		return nil, toStatus(err)
	}
	d := drain{instance: at}
	switch which := request.Which.(type) {
	case *admin.DrainRequest_Worker:
		d.worker = which.Worker
	case *admin.DrainRequest_Property:
		d.property = property{which.Property.GetKey(), which.Property.GetValue()}
	}
	if d.worker == "" && d.property.key == "" {
		return nil, toStatus(invalid("neither a worker nor a property is named"))
	}
	if n := len(d.property.key) + len(d.property.value); n > maxPlatformBytes {
		return nil, toStatus(invalid("the property has %d bytes, more than %d", n, maxPlatformBytes))
	}
	response := new(admin.DrainResponse)
	s.locked(func(now time.Time) {
		d.since = now
		var about []*session
		if about, err = s.drain(now, d, request.Undo); err != nil {
			return
		}
		response.Count = uint32(len(about))
		for _, session := range about[:min(len(about), maxToldDrained)] {
			response.Workers = append(response.Workers, session.message())
		}
	})
	if err != nil {
		return nil, toStatus(err)
	}
	if err := s.tell(); err != nil {
		return nil, err
	}
	s.logger.InfoContext(ctx, "drain", "which", d.about(), "instance", at.name, "undo", request.Undo, "workers", response.Count)
	return response, nil
}

func byBot(a, b *session) int { return cmp.Compare(a.botID, b.botID) }

// message is a worker as operators see it, without its leases. The lock is held.
func (session *session) message() *admin.Worker {
	return &admin.Worker{
		Name: session.botID, Properties: brief(platformText(session.offered)), Status: statusWord(session.status),
		Drained: session.drained, Connected: timestamppb.New(session.connected),
		Slots: uint32(session.slots), Busy: uint32(session.busy()),
	}
}
