package stack

import (
	"context"
	"net"

	"github.com/weir-build/weir/system/proxy"
	"github.com/weir-build/weir/system/telemetry"
)

// NewProxy returns a proxy-server that will serve on listeners, in the order of
// its configuration.
func NewProxy(c proxy.Config, t *telemetry.Telemetry, listeners ...net.Listener) (*Role, error) {
	invocations := telemetry.NewInvocations(t)
	server, err := proxy.New(c, proxy.Deps{
		Logger: t.Logger, Registerer: t.Registerer,
		ServerHandler: t.ServerHandler(), ClientHandler: t.ClientHandler(),
		Invocations: invocations,
	})
	if err != nil {
		return nil, err
	}
	run := func(ctx context.Context) error {
		// Root spans are written after the last call of their build.
		watching, halt := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		go func() { ended <- invocations.Run(watching) }()
		err := server.Serve(ctx, listeners...)
		halt()
		<-ended
		return err
	}
	addr := ""
	if len(listeners) > 0 {
		addr = listeners[0].Addr().String()
	}
	return &Role{Name: "proxy-server", Telemetry: t, Addr: addr, run: run}, nil
}
