package telemetry

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Observed returns a registrar that passes on to r what is registered, with every
// method traced and measured as by ServerHandler, which such a server goes without. It is
// for servers of many small calls: for a stats.Handler gRPC copies the headers of every
// call, and makes it a dozen messages of which one or two are read.
//
// A call is one once its method is entered: what is no call yet is gRPC's own affair, as
// a request that is too large, and the request of a call that isn't a stream has come by
// then. It ends when the method returns. Calls of methods that aren't registered are
// those of UnknownMethods.
func (t *Telemetry) Observed(r grpc.ServiceRegistrar) grpc.ServiceRegistrar {
	return &observed{r, t.server}
}

// UnknownMethods traces and measures the calls of methods that a server doesn't know,
// for grpc.UnknownServiceHandler beside Observed. They are answered as gRPC does.
func (t *Telemetry) UnknownMethods() grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		_, c := t.server.begin(stream.Context(), method)
		err := status.Errorf(codes.Unimplemented, "unknown method %s", method)
		c.end(codes.Unimplemented, err, time.Now())
		return err
	}
}

// observed is a registrar of methods that are observed.
type observed struct {
	grpc.ServiceRegistrar
	handler *serverHandler
}

func (o *observed) RegisterService(service *grpc.ServiceDesc, implementation any) {
	d := *service
	d.Methods, d.Streams = make([]grpc.MethodDesc, len(service.Methods)), make([]grpc.StreamDesc, len(service.Streams))
	for i, m := range service.Methods {
		d.Methods[i] = grpc.MethodDesc{MethodName: m.MethodName, Handler: o.call("/"+d.ServiceName+"/"+m.MethodName, m.Handler)}
	}
	for i, s := range service.Streams {
		d.Streams[i] = s
		d.Streams[i].Handler = o.stream("/"+d.ServiceName+"/"+s.StreamName, s.Handler)
	}
	o.ServiceRegistrar.RegisterService(&d, implementation)
}

func (o *observed) call(method string, next grpc.MethodHandler) grpc.MethodHandler {
	return func(implementation any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		ctx, c := o.handler.begin(ctx, method)
		c.method.active.Inc()
		reply, err := next(implementation, ctx, decode, interceptor)
		c.leave(err)
		return reply, err
	}
}

func (o *observed) stream(method string, next grpc.StreamHandler) grpc.StreamHandler {
	return func(implementation any, stream grpc.ServerStream) error {
		ctx, c := o.handler.begin(stream.Context(), method)
		c.method.active.Inc()
		err := next(implementation, &observedStream{stream, ctx})
		c.leave(err)
		return err
	}
}

// leave ends a call whose method returned err, with the code that gRPC makes of it.
func (c *serverCall) leave(err error) {
	c.method.active.Dec()
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	c.end(s.Code(), s.Err(), time.Now())
}

// observedStream is a stream with the context of its call.
type observedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *observedStream) Context() context.Context { return s.ctx }
