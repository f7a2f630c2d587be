package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/loadgen/scenario"
	"github.com/weir-build/weir/loadgen/workload"
	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/lifecycle"
	"github.com/weir-build/weir/traces/semconv"
)

func traceTapeCommand() *cobra.Command {
	var from source
	c := &cobra.Command{
		Use:   "tape RUN",
		Short: "Make a scenario of recorded builds, to do them again",
		Long: `Tape prints a scenario whose builds are those of a run: the same actions, as many of
them from the cache, each taking as long and writing as much as it did. weir load sends
it to any cluster. RUN may be the record of another tool, by weir trace import.

Which action needed which is inferred from times: each waits for those that had ended when
it began. What the actions read isn't recorded: each has a small file of its own, so that
uploads and fetches of inputs are less than they were. Look-ups that Bazel answered from
its own memory left no trace.`,
		Example: `  weir trace tape runs/20261121T191500Z-1f3a > again.yaml
  weir load again.yaml --target grpc://10.0.0.5:8980`,
		Args: from.args(0),
		RunE: func(c *cobra.Command, a []string) error {
			from.take(a)
			return printTape(c.Context(), c.OutOrStdout(), &from)
		},
	}
	from.flags(c)
	return c
}

// tapeBuild is a build of a tape, with its begin.
type tapeBuild struct {
	start time.Time
	steps []analysis.Step
}

func printTape(ctx context.Context, out io.Writer, from *source) error {
	var builds []tapeBuild
	err := from.eachTree(ctx, func(tree *lifecycle.Tree) error {
		steps := analysis.Steps(tree, analysis.Actions(tree))
		if len(steps) > 0 {
			builds = append(builds, tapeBuild{startOf(tree, steps), steps})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(builds) == 0 {
		return errors.New("there is no build with actions in it")
	}
	slices.SortStableFunc(builds, func(a, b tapeBuild) int { return a.start.Compare(b.start) })
	data, err := yaml.Marshal(tapeOf(from.name(), builds))
	if err != nil {
		return err
	}
	if _, err := scenario.Parse("tape", data); err != nil {
		return fmt.Errorf("the builds are no scenario: %w", err)
	}
	_, err = out.Write(data)
	return err
}

// startOf is the begin of a build: that of its root span, if it has one.
func startOf(tree *lifecycle.Tree, steps []analysis.Step) time.Time {
	for _, root := range tree.Roots {
		if root.Span.Name == semconv.SpanInvocation {
			return root.Span.Start
		}
	}
	return steps[0].Start
}

// tapeOf is the scenario as YAML has it. Builds and actions are written in flow style, a
// line each.
func tapeOf(name string, builds []tapeBuild) *yaml.Node {
	jobs := 1
	var times, tape yaml.Node
	times.Kind, times.Style, tape.Kind = yaml.SequenceNode, yaml.FlowStyle, yaml.SequenceNode
	first, last := builds[0].start, time.Duration(0)
	for _, b := range builds {
		last = b.start.Sub(first)
		times.Content = append(times.Content, scalar(last.String()))
		spans := make([]workload.Span, len(b.steps))
		for i, s := range b.steps {
			spans[i] = workload.Span{Begin: s.Start.UnixNano(), End: s.End.UnixNano()}
		}
		jobs = max(jobs, workload.Peak(spans))
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i, after := range workload.Infer(spans) {
			list.Content = append(list.Content, stepNode(&b.steps[i], after))
		}
		tape.Content = append(tape.Content, list)
	}
	return mapping(
		"version", scalar("1"),
		"description", scalar(fmt.Sprintf("The %d builds of %s, done again.", len(builds), name)),
		"duration", scalar((last + time.Second).Round(time.Second).String()),
		"demand", mapping(
			"name", scalar("tape"),
			"arrivals", mapping("trace", &times),
			"jobs", scalar(fmt.Sprint(jobs)),
			"keep_going", scalar("true"),
			"download", scalar("minimal"),
			"tape", &tape,
		),
		"objectives", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{scalar("errors == 0"), scalar("integrity == 0")}},
	)
}

func stepNode(s *analysis.Step, waitsFor []int) *yaml.Node {
	n := mapping("class", scalar(cmp.Or(s.Kind, "action")))
	n.Style = yaml.FlowStyle
	add := func(key string, value *yaml.Node) { n.Content = append(n.Content, scalar(key), value) }
	if s.Hit {
		add("hit", scalar("true"))
	}
	if s.Run > 0 {
		add("duration", scalar(s.Run.Round(time.Microsecond).String()))
	}
	if s.OutputBytes > 0 {
		add("output", scalar(fmt.Sprint(s.OutputBytes)))
	}
	if s.Failed {
		add("fails", scalar("true"))
	}
	if len(waitsFor) > 0 {
		after := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, j := range slices.Sorted(slices.Values(waitsFor)) {
			after.Content = append(after.Content, scalar(fmt.Sprint(j)))
		}
		add("after", after)
	}
	return n
}

func scalar(value string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: value} }

func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i < len(pairs); i += 2 {
		n.Content = append(n.Content, scalar(pairs[i].(string)), pairs[i+1].(*yaml.Node))
	}
	return n
}
