package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weir-build/weir/system/proto/admin"
)

type topFlags struct {
	server   serverFlags
	once     bool
	interval time.Duration
	limit    uint32
	format   string
}

func topCommand() *cobra.Command {
	var f topFlags
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch queues, workers and builds",
		Long: `Top shows what is queued and executing: queues, builds, what has waited longest and
why, and workers with what they run. On a terminal it keeps the screen up to date
until q is pressed; elsewhere it prints all of it each time. The same is a page at
/queue on the cluster's port of metrics.`,
		Example: `  weir top
  weir top --once --format json`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return runTop(c.Context(), c.OutOrStdout(), &f) },
	}
	f.server.add(c)
	c.Flags().BoolVar(&f.once, "once", false, "print it once and end")
	c.Flags().DurationVar(&f.interval, "interval", time.Second, "how often it is renewed, from 200ms to 1m")
	c.Flags().Uint32Var(&f.limit, "limit", 50, "how many of each kind to list, up to 1000")
	formatFlag(c, &f.format)
	return c
}

func runTop(ctx context.Context, out io.Writer, f *topFlags) error {
	if f.format == "json" && !f.once {
		return usageError{fmt.Errorf("--format json needs --once")}
	}
	if f.interval < 200*time.Millisecond || f.interval > time.Minute {
		return usageError{fmt.Errorf("--interval %v: want 200ms to 1m", f.interval)}
	}
	client, conn, err := f.server.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if f.once {
		state, err := client.GetState(ctx, &admin.GetStateRequest{InstanceName: f.server.remote.Instance, Limit: f.limit})
		switch {
		case err != nil:
			return f.server.explain(err)
		case f.format == "json":
			return printMessage(out, state)
		}
		return writeTop(out, f.server.remote.URL, state, screen{})
	}
	if terminal(out) {
		return liveTop(ctx, out.(*os.File), client, f)
	}
	err = watch(ctx, client, f, func(state *admin.State) error {
		if err := writeTop(out, f.server.remote.URL, state, screen{}); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out)
		return err
	})
	if ctx.Err() != nil {
		return nil
	}
	return f.server.explain(err)
}

// watch shows each state until ctx is done or the stream breaks.
func watch(ctx context.Context, client admin.AdminClient, f *topFlags, show func(*admin.State) error) error {
	stream, err := client.Watch(ctx, &admin.WatchRequest{InstanceName: f.server.remote.Instance, Limit: f.limit, Interval: durationpb.New(f.interval)})
	for err == nil {
		var state *admin.State
		if state, err = stream.Recv(); err == nil {
			err = show(state)
		}
	}
	return err
}

// What a terminal is told: another screen without a cursor, and back; to the upper
// left; the rest of the line, and of the screen, is empty.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	goHome      = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

// liveTop keeps a terminal up to date until ctx is done or q is pressed. It goes on
// when the server comes back that was gone.
func liveTop(ctx context.Context, out *os.File, client admin.AdminClient, f *topFlags) error {
	ctx, cancel := context.WithCancel(ctx)
	quit := keys(ctx, os.Stdin, cancel)
	fmt.Fprint(out, enterScreen)
	defer quit()
	defer fmt.Fprint(out, leaveScreen)
	defer cancel()
	shown := false
	for {
		err := watch(ctx, client, f, func(state *admin.State) error {
			shown = true
			return draw(out, f.server.remote.URL, state)
		})
		if ctx.Err() != nil {
			return nil
		}
		if !shown || status.Code(err) != codes.Unavailable {
			return f.server.explain(err)
		}
		fmt.Fprintf(out, "%s%s%s%s", goHome, printable(f.server.explain(err).Error()), clearLine, clearRest)
		select {
		case <-time.After(f.interval):
		case <-ctx.Done():
			return nil
		}
	}
}

// draw replaces what is on the screen, in one write and without wiping it first,
// which would flicker.
func draw(out *os.File, title string, state *admin.State) error {
	size := screen{width: 80, height: 24}
	if w, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil && w.Col > 0 && w.Row > 0 {
		size = screen{width: int(w.Col), height: int(w.Row)}
	}
	var text bytes.Buffer
	if err := writeTop(&text, title, state, size); err != nil {
		return err
	}
	lines := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	frame := append([]byte(goHome), bytes.ReplaceAll(lines, []byte("\n"), []byte(clearLine+"\r\n"))...)
	_, err := out.Write(append(frame, clearLine+clearRest...))
	return err
}

// keys reads keys from a terminal one by one, and calls pressed for q. What it
// returns ends that and gives the terminal back as it was; ctx must be done then.
func keys(ctx context.Context, in *os.File, pressed func()) (restore func()) {
	fd := int(in.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {} // no terminal: Ctrl-C still ends it
	}
	each := *before
	each.Lflag &^= unix.ICANON | unix.ECHO
	// A read ends after a tenth of a second, so that the loop can.
	each.Cc[unix.VMIN], each.Cc[unix.VTIME] = 0, 1
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &each); err != nil {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		key := make([]byte, 1)
		for ctx.Err() == nil {
			if n, err := unix.Read(fd, key); n == 1 && (key[0] == 'q' || key[0] == 'Q') {
				pressed()
			} else if err != nil && err != unix.EINTR {
				return
			}
		}
	}()
	return func() {
		<-done
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, before)
	}
}
