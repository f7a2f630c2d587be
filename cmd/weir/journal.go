package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
	"github.com/weir-build/weir/system/segments"
)

func journalCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "journal",
		Short: "Read the journal of a scheduler",
		Long: `Journal reads what a scheduler has written down: every input of its queue and what
it decided on it. Name segments in their order, or the folder they are in. A tail
that a crash has torn is told and left out; damage in the middle is an error.`,
		Example: `  weir journal dump journal/
  weir journal replay journal/
  weir journal verify --policy fair journal/`,
	}
	c.AddCommand(journalDumpCommand(), journalReplayCommand(), journalVerifyCommand())
	return c
}

func journalReplayCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "replay FILE…",
		Short: "Rebuild the queue, as a restart does",
		Long: `Replay makes the queue of the records, taking what was decided for a fact, and says
what is open at the end. It fails if the queue comes to another state than the one
that was recorded.`,
		Example: `  weir journal replay journal/`,
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			var from recovered
			torn, err := readJournal(a, from.record)
			if err != nil {
				return err
			}
			if !from.Complete() {
				return fmt.Errorf("%s ends before its snapshot does: begin with the segment before", a[len(a)-1])
			}
			report := replayReport(&from, torn)
			if format == "json" {
				return printJSON(c.OutOrStdout(), report)
			}
			return report.print(c.OutOrStdout())
		},
	}
	formatFlag(c, &format)
	return c
}

func journalVerifyCommand() *cobra.Command {
	var format, policy string
	c := &cobra.Command{
		Use:   "verify FILE…",
		Short: "Decide again, and name the first decision that differs",
		Long: `Verify gives the inputs to the queue of this program and compares what it decides
with what was recorded. It stops at the first decision that differs and fails:
after that, the inputs are no longer those that would have come.

With --policy it asks the same of another policy than the one in force then.`,
		Example: `  weir journal verify journal/
  weir journal verify --policy "fair-priority ageing=30s" journal/`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			from := recovered{Recovery: journal.Recovery{Decide: true}}
			if c.Flags().Changed("policy") {
				p, err := queue.ParsePolicy(policy)
				if err != nil {
					return usageError{fmt.Errorf("--policy: %w", err)}
				}
				from.Policy = &p
			}
			torn, err := readJournal(a, from.record)
			differs := errors.Is(err, journal.ErrDiffers)
			if err != nil && !differs {
				return err
			}
			report := verifyReport(&from, torn)
			if format == "json" {
				err = printJSON(c.OutOrStdout(), report)
			} else {
				err = report.print(c.OutOrStdout())
			}
			if differs {
				err = errors.Join(err, fmt.Errorf("step %d would be decided differently", report.Steps))
			}
			return err
		},
	}
	c.Flags().StringVar(&policy, "policy", "", "decide by this policy (default: the recorded one)")
	formatFlag(c, &format)
	return c
}

// tornTail is where a file ends in half a record.
type tornTail struct {
	File   string `json:"file"`
	Offset int64  `json:"offset"`
}

func (t *tornTail) String() string {
	return fmt.Sprintf("%s is torn at offset %d: its writer died there, and nobody was told of what follows", t.File, t.Offset)
}

// readJournal reads segments, or all of a folder, in their order. What is torn in one
// that isn't the last is in the next.
func readJournal(paths []string, each func(path string, r *journal.Record) error) (torn []*tornTail, err error) {
	files, err := segmentFiles(paths)
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		err := readSegment(path, each)
		var tear *journal.TornError
		if errors.As(err, &tear) {
			torn = append(torn, &tornTail{path, tear.Offset})
		} else if err != nil {
			return torn, fmt.Errorf("%s: %w", path, err)
		}
	}
	return torn, nil
}

func segmentFiles(paths []string) (files []string, err error) {
	for _, path := range paths {
		there, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !there.IsDir() {
			files = append(files, path)
			continue
		}
		list, err := segments.List(path)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, fmt.Errorf("%s: there is no NNNNNNNN.journal in this folder", path)
		}
		for _, s := range list {
			files = append(files, s.Path)
		}
	}
	return files, nil
}

func readSegment(path string, each func(path string, r *journal.Record) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := journal.NewReader(file)
	var r journal.Record
	for {
		err := reader.Next(&r)
		if err == nil {
			err = each(path, &r)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// wallTime is when a queue's time was.
func wallTime(epoch int64, now queue.Time) string {
	return time.Unix(0, epoch+int64(now)).UTC().Format("2006-01-02T15:04:05.000000Z")
}

// recovered is a journal that was read into a queue.
type recovered struct {
	journal.Recovery
	segments int
	records  int
	first    *differs
}

func (r *recovered) record(path string, rec *journal.Record) error {
	r.records++
	if rec.Kind == journal.HeaderKind {
		r.segments++
	}
	err := r.Apply(rec)
	if d := r.First; d != nil && r.first == nil {
		r.first = &differs{path, d.Offset, wallTime(r.Header.Epoch, d.Now), d.Input.String(), words(d.Recorded), words(d.Own)}
	}
	return err
}

func words(out []queue.Output) []string {
	texts := []string{}
	for _, o := range out {
		texts = append(texts, o.String())
	}
	return texts
}

// differs is a step that has other outputs here.
type differs struct {
	File     string   `json:"file"`
	Offset   int64    `json:"offset"`
	Time     string   `json:"time"`
	Input    string   `json:"input"`
	Recorded []string `json:"recorded"`
	Here     []string `json:"here"`
}

func (d *differs) print(w io.Writer) error {
	or := func(texts []string) string {
		if len(texts) == 0 {
			return "nothing"
		}
		return strings.Join(texts, "; ")
	}
	_, err := fmt.Fprintf(w, "%s, offset %d, %s\n  input     %s\n  recorded  %s\n  here      %s\n",
		d.File, d.Offset, d.Time, d.Input, or(d.Recorded), or(d.Here))
	return err
}

type replayed struct {
	Segments   int         `json:"segments"`
	Records    int         `json:"records"`
	Steps      int         `json:"steps"`
	Core       uint64      `json:"core"`
	Policy     string      `json:"policy"`
	Time       string      `json:"time"`
	Tasks      int         `json:"tasks"`
	Operations int         `json:"operations"`
	Workers    int         `json:"workers"`
	Hash       string      `json:"hash"`
	Differing  int         `json:"differing"`
	First      *differs    `json:"first,omitempty"`
	Torn       []*tornTail `json:"torn,omitempty"`
}

func replayReport(r *recovered, torn []*tornTail) *replayed {
	report := &replayed{
		Segments: r.segments, Records: r.records, Steps: r.Counts[journal.StepKind],
		Core: r.Header.Core, Policy: r.Header.Config.Policy.String(), Time: wallTime(r.Header.Epoch, r.Now),
		Hash: fmt.Sprintf("%016x", r.Queue.Hash()), Differing: r.Differing, First: r.first, Torn: torn,
	}
	report.Tasks, report.Operations, report.Workers = r.Queue.Open()
	return report
}

func (r *replayed) print(w io.Writer) error {
	fmt.Fprintf(w, "%d segments, %d records, %d steps, by core %d under %s\n", r.Segments, r.Records, r.Steps, r.Core, r.Policy)
	fmt.Fprintf(w, "open at %s: %d tasks, %d operations, %d workers\n", r.Time, r.Tasks, r.Operations, r.Workers)
	if r.First != nil {
		fmt.Fprintf(w, "%d steps have other outputs here, first\n", r.Differing)
		if err := r.First.print(w); err != nil {
			return err
		}
	}
	for _, t := range r.Torn {
		fmt.Fprintln(w, t)
	}
	_, err := fmt.Fprintf(w, "hash %s\n", r.Hash)
	return err
}

type verified struct {
	Steps  int         `json:"steps"`
	Core   uint64      `json:"core"`
	Here   uint64      `json:"core_here"`
	Policy string      `json:"policy"`
	First  *differs    `json:"first,omitempty"`
	Torn   []*tornTail `json:"torn,omitempty"`
}

func verifyReport(r *recovered, torn []*tornTail) *verified {
	policy := r.Header.Config.Policy
	if r.Policy != nil {
		policy = *r.Policy
	}
	return &verified{r.Counts[journal.StepKind], r.Header.Core, queue.Version, policy.String(), r.first, torn}
}

func (v *verified) print(w io.Writer) error {
	if v.Core != v.Here {
		fmt.Fprintf(w, "written by core %d, decided again by core %d\n", v.Core, v.Here)
	}
	for _, t := range v.Torn {
		fmt.Fprintln(w, t)
	}
	if v.First != nil {
		return v.First.print(w)
	}
	_, err := fmt.Fprintf(w, "%d steps, all decided as recorded, under %s\n", v.Steps, v.Policy)
	return err
}
