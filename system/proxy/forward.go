package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A front is what stands behind one listener.
type front struct {
	server  *Server
	routes  *routes
	auth    authenticator
	methods map[string]*method // by full name, of the services on offer
}

// serve is the handler of all methods but those of Capabilities and Health.
func (f *front) serve(_ any, in grpc.ServerStream) error {
	defer f.server.begin(in.Context())()
	return statusOf(f.handle(in))
}

func (f *front) handle(in grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(in)
	m, ok := f.methods[full]
	if !ok {
		return &unknownMethodError{full}
	}
	// Before the first message is read: who has no token costs no memory.
	id, err := f.authenticate(in.Context(), m)
	if err != nil {
		return err
	}
	first := new(frame)
	switch err := in.RecvMsg(first); {
	case errors.Is(err, io.EOF):
		return errClosed
	case err != nil:
		return err
	}
	defer first.free()
	instance, name, err := m.instanceOf(first.data)
	if err != nil {
		return err
	}
	to, err := f.admit(in.Context(), id, m, instance)
	if err != nil {
		return err
	}
	return f.relay(m, to, id, in, first, name)
}

// authenticate finds out who calls m.
func (f *front) authenticate(ctx context.Context, m *method) (*identity, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	id, err := f.auth.authenticate(md)
	if err != nil {
		f.server.refused(ctx, m, id, "", err)
	}
	return id, err
}

// admit returns the backend that serves m for the instance, if id may call it.
func (f *front) admit(ctx context.Context, id *identity, m *method, instance string) (*backend, error) {
	if err := id.permit(m, instance); err != nil {
		f.server.refused(ctx, m, id, instance, err)
		return nil, err
	}
	return f.routes.pick(instance, m.backend)
}

// relay passes a call on to a backend: both directions, headers, trailers and
// status. It returns when the backend has answered, which for an upload may be
// before the client has sent all of it.
func (f *front) relay(m *method, to *backend, id *identity, in grpc.ServerStream, first *frame, name string) error {
	ctx, cancel := context.WithCancelCause(outgoing(in.Context(), id))
	defer cancel(nil)
	ctx, stop, limited := limit(ctx, f.server.timeout(m))
	defer stop()
	out, err := to.conn().NewStream(ctx, m.desc(), m.full())
	if err != nil {
		return causeOf(ctx, err, limited)
	}
	// Here and below, the error of a send to the backend says only that the
	// stream is over. Why is what receiving from it says.
	if out.SendMsg(first) == nil && m.clientStreams {
		// It can't be waited for here: it may be waiting for a client that has
		// nothing to say until it hears from us. It ends with the stream, and
		// Serve waits for it.
		f.server.uploads.Go(func() {
			if err := upload(m, in, out, name); err != nil {
				cancel(err)
			}
		})
	}
	return causeOf(ctx, download(m, in, out), limited)
}

// limit returns a context that ends after most, and whether that is what limits
// it: zero is no limit, and a deadline of the client's may be sooner.
func limit(ctx context.Context, most time.Duration) (_ context.Context, stop context.CancelFunc, limited bool) {
	end := time.Now().Add(most)
	if deadline, ok := ctx.Deadline(); most == 0 || ok && deadline.Before(end) {
		return ctx, func() {}, false
	}
	ctx, stop = context.WithDeadline(ctx, end)
	return ctx, stop, true
}

// upload passes on what the client sends after its first message. An error is
// the client's; the backend's is download's to find.
func upload(m *method, in grpc.ServerStream, out grpc.ClientStream, name string) error {
	for {
		next := new(frame)
		switch err := in.RecvMsg(next); {
		case errors.Is(err, io.EOF):
			_ = out.CloseSend() // never fails
			return nil
		case err != nil:
			return err
		}
		err := sameName(m, next, name)
		if err == nil && out.SendMsg(next) != nil {
			next.free()
			return nil
		}
		next.free()
		if err != nil {
			return err
		}
	}
}

// sameName checks that a later message of a stream names what the first one
// named, or nothing. Only the first was authorised.
func sameName(m *method, next *frame, name string) error {
	later, _, err := field(next.data, m.field)
	if err == nil && later != "" && later != name {
		return &badRequestError{"a later message of the stream names something else than the first"}
	}
	return err
}

// download passes the backend's answer on to the client.
func download(m *method, in grpc.ServerStream, out grpc.ClientStream) error {
	if m.serverStreams {
		// Now and not with the first message, which may be minutes away. With
		// no headers the stream is over, and Recv says how.
		if header, err := out.Header(); err == nil && header != nil {
			if err := in.SendHeader(header); err != nil {
				return err
			}
		}
	}
	for {
		message := new(frame)
		err := out.RecvMsg(message)
		if !m.serverStreams {
			if header, headerErr := out.Header(); headerErr == nil && header != nil {
				if err := in.SetHeader(header); err != nil {
					message.free()
					return err
				}
			}
		}
		if err != nil {
			in.SetTrailer(out.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		err = in.SendMsg(message)
		message.free()
		if err != nil {
			return err
		}
		if !m.serverStreams {
			in.SetTrailer(out.Trailer())
			return nil
		}
	}
}

// causeOf returns why a call to a backend ended, given how it did: if the proxy
// itself ended it, the proxy's reason. The end of a limited time is told by the
// code alone, since the backend keeps the time too and may be first to notice.
func causeOf(ctx context.Context, err error, limited bool) error {
	switch code := status.Code(err); {
	case limited && code == codes.DeadlineExceeded:
		return errBackendTimeout
	case code == codes.Canceled:
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			return cause
		}
	}
	return err
}

// refused counts and logs a refused call. The token itself is never at hand
// here, and kid and customer come from it unverified if err says so.
func (s *Server) refused(ctx context.Context, m *method, id *identity, instance string, err error) {
	var why reason
	if !errors.As(err, &why) {
		return
	}
	s.failures.WithLabelValues(string(why)).Inc()
	if !s.deps.Logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	if id == nil {
		id = &identity{}
	}
	const most = 100 // bytes of a name that a stranger chose
	s.deps.Logger.DebugContext(ctx, "call refused", "reason", string(why), "rpc.method", m.full()[1:],
		"customer", clip(id.customer, most), "kid", clip(id.key, most), "instance", clip(instance, most))
}

func clip(s string, most int) string { return s[:min(len(s), most)] }
