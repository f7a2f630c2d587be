package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/system/digest"
	"github.com/weir-build/weir/system/proto/admin"
)

func queueCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "queue",
		Short: "Ask a scheduler why something waits",
		Long: `Queue asks the scheduler of a running cluster. What each reason means, and what to
do about it, is in docs/queue.md.`,
		Example: `  weir queue explain 0b6d4f2e-0d7e-4f6c-8f0e-5a4f7d1c9b32`,
	}
	c.AddCommand(explainCommand())
	return c
}

func explainCommand() *cobra.Command {
	var (
		server serverFlags
		format string
	)
	c := &cobra.Command{
		Use:   "explain OPERATION",
		Short: "Say why an operation waits",
		Long: `Explain says why an operation waits, or what became of it: which property no worker
has, how many workers are busy and how many tasks come before, whose turn it is, who
is drained, which equal action does the work. OPERATION is its name or its id, as
weir top shows it.`,
		Example: `  weir queue explain 0b6d4f2e-0d7e-4f6c-8f0e-5a4f7d1c9b32 --server grpc://127.0.0.1:8980`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			client, conn, err := server.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			name := args[0]
			if !strings.Contains(name, "/") {
				name = digest.OperationName(server.remote.Instance, name)
			}
			e, err := client.Explain(c.Context(), &admin.ExplainRequest{Name: name})
			if err != nil {
				return server.explain(err)
			}
			if format == "json" {
				return printMessage(c.OutOrStdout(), e)
			}
			return printExplanation(c.OutOrStdout(), e)
		},
	}
	server.add(c)
	formatFlag(c, &format)
	return c
}

func printExplanation(w io.Writer, e *admin.Explanation) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Name, e.State)
	if e.Reason != "" {
		fmt.Fprintf(&b, ", %s", e.Reason)
	}
	fmt.Fprintf(&b, "\n%s\n", e.Text)
	row := func(name, format string, a ...any) { fmt.Fprintf(&b, "  %-10s %s\n", name, fmt.Sprintf(format, a...)) }
	if e.Capacity != nil {
		platform := e.Platform
		if platform == "" {
			platform = "(no properties)"
		}
		row("platform", "%s", platform)
		row("workers", "%s", capacityText(e.Capacity))
		row("tasks", "%d queued, %d pausing, %d executing", e.Capacity.Queued, e.Capacity.Resting, e.Capacity.Executing)
	}
	for _, branch := range e.Branches {
		if branch.Waiting == 1 {
			continue // nobody to share with
		}
		text := fmt.Sprintf("%d of %d before it, by %s", branch.Before, branch.Waiting, branch.Rule)
		if branch.Share > 0 {
			text += fmt.Sprintf(", share %.0f%%", 100*branch.Share)
		}
		if branch.Name != "" {
			text = branch.Name + ": " + text
		}
		row(branch.By, "%s", text)
	}
	for i, a := range e.Attempts {
		ending := a.Ending
		if ending == "" {
			ending = "under way"
		}
		row("attempt "+fmt.Sprint(i+1), "on %s, leased %s: %s", a.Worker, a.Leased.AsTime().Local().Format(time.TimeOnly), ending)
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n"))
	return err
}

func capacityText(c *admin.Capacity) string {
	text := fmt.Sprintf("%d, %d of %d slots taken", c.Workers, c.Busy, c.Slots)
	if c.Drained > 0 {
		text += fmt.Sprintf(", %d drained", c.Drained)
	}
	if c.Leaving > 0 {
		text += fmt.Sprintf(", %d leaving", c.Leaving)
	}
	return text
}
