package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/system/proto/admin"
)

// drainPoll is how often it is looked whether drained workers still hold leases.
const drainPoll = 500 * time.Millisecond

type drainFlags struct {
	server     serverFlags
	worker     string
	property   string
	undo, wait bool
	format     string
}

func drainCommand() *cobra.Command {
	var f drainFlags
	c := &cobra.Command{
		Use:   "drain",
		Short: "Let workers finish what they have, and get no more",
		Long: `Drain lets a worker, or all that have a property, keep the actions they run and get
no new ones, until it is undone. It holds for workers that connect later too; a
scheduler that restarts may have forgotten it. With --wait the command ends when the
last of their actions has.`,
		Example: `  weir drain --worker builder-7 --wait
  weir drain --property OSFamily=linux
  weir drain --property OSFamily=linux --undo`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runDrain(c.Context(), c.OutOrStdout(), &f) },
	}
	f.server.add(c)
	c.Flags().StringVar(&f.worker, "worker", "", "the worker of this name")
	c.Flags().StringVar(&f.property, "property", "", "all workers that have this, key=value")
	c.Flags().BoolVar(&f.undo, "undo", false, "let them get actions again")
	c.Flags().BoolVar(&f.wait, "wait", false, "wait until they run nothing any more")
	formatFlag(c, &f.format)
	return c
}

// request is what the flags ask for.
func (f *drainFlags) request() (*admin.DrainRequest, error) {
	request := &admin.DrainRequest{InstanceName: f.server.remote.Instance, Undo: f.undo}
	key, value, ok := strings.Cut(f.property, "=")
	switch {
	case (f.worker == "") == (f.property == ""):
		return nil, fmt.Errorf("want either --worker NAME or --property KEY=VALUE")
	case f.undo && f.wait:
		return nil, fmt.Errorf("--undo --wait: there is nothing to wait for")
	case f.worker != "":
		request.Which = &admin.DrainRequest_Worker{Worker: f.worker}
	case !ok || key == "":
		return nil, fmt.Errorf("--property %q: want KEY=VALUE", f.property)
	default:
		request.Which = &admin.DrainRequest_Property{Property: &admin.Property{Key: key, Value: value}}
	}
	return request, nil
}

func runDrain(ctx context.Context, out io.Writer, f *drainFlags) error {
	request, err := f.request()
	if err != nil {
		return usageError{err}
	}
	client, conn, err := f.server.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	response, err := client.Drain(ctx, request)
	if err != nil {
		return f.server.explain(err)
	}
	for f.wait && executing(response) > 0 {
		select {
		case <-time.After(drainPoll):
		case <-ctx.Done():
			return fmt.Errorf("%d actions are still under way; the workers stay drained", executing(response))
		}
		// To drain what is drained changes nothing, and tells how far it is.
		if response, err = client.Drain(ctx, request); err != nil {
			return f.server.explain(err)
		}
	}
	if f.format == "json" {
		return printMessage(out, response)
	}
	return printDrained(out, f, response)
}

// executing is how many actions the workers of an answer run.
func executing(r *admin.DrainResponse) int {
	n := 0
	for _, w := range r.Workers {
		n += int(w.Busy)
	}
	return n
}

func printDrained(out io.Writer, f *drainFlags, r *admin.DrainResponse) error {
	did := "drained"
	if f.undo {
		did = "no longer drained"
	}
	switch {
	case r.Count > 0:
	case f.worker != "":
		fmt.Fprintf(out, "%s has left.\n", printable(f.worker))
	case f.undo:
		fmt.Fprintf(out, "No worker with %s is connected.\n", printable(f.property))
	default:
		fmt.Fprintf(out, "No worker with %s is connected. Those that come will be drained.\n", printable(f.property))
	}
	for _, w := range r.Workers {
		state := did
		if f.undo && w.Drained {
			state = "still drained, by another rule"
		}
		fmt.Fprintf(out, "%s: %s, %d of %d slots taken\n", printable(w.Name), state, w.Busy, w.Slots)
	}
	if more := int(r.Count) - len(r.Workers); more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	return nil
}
