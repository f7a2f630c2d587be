package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weir-build/weir/system/proto/notes"
	"github.com/weir-build/weir/system/queue"
	"github.com/weir-build/weir/system/queue/journal"
)

func journalDumpCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "dump FILE…",
		Short: "Print each record",
		Long: `Dump prints a line for each record: where it is in its file, when it was, what
came in and what was decided. In JSON it is an object a line.`,
		Example: `  weir journal dump journal/00000007.journal
  weir journal dump --format json journal/ | jq 'select(.outputs[]? | startswith("leased"))'`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, a []string) error {
			to := dumper{out: c.OutOrStdout(), json: format == "json"}
			torn, err := readJournal(a, to.record)
			for _, t := range torn {
				to.torn(t)
			}
			return errors.Join(to.err, err)
		},
	}
	formatFlag(c, &format)
	return c
}

// dumper prints records.
type dumper struct {
	out   io.Writer
	json  bool
	path  string
	epoch int64
	err   error
}

type jsonRecord struct {
	File    string          `json:"file"`
	Offset  int64           `json:"offset"`
	Size    int             `json:"size,omitempty"`
	Kind    string          `json:"kind"`
	Time    string          `json:"time,omitempty"`
	Input   string          `json:"input,omitempty"`
	Outputs []string        `json:"outputs,omitempty"` // in words, as the input
	Note    json.RawMessage `json:"note,omitempty"`
	Hash    string          `json:"hash,omitempty"`
	Synced  int64           `json:"synced,omitempty"`
	Header  *jsonHeader     `json:"header,omitempty"`
}

type jsonHeader struct {
	Segment uint64       `json:"segment"`
	Format  int          `json:"format"`
	Core    uint64       `json:"core"`
	Config  queue.Config `json:"config"`
}

func (d *dumper) record(path string, r *journal.Record) error {
	if r.Kind == journal.HeaderKind || r.Kind == journal.ResumeKind {
		d.epoch = r.Header.Epoch
	}
	record := jsonRecord{File: path, Offset: r.Offset, Size: r.Size, Kind: r.Kind.String(), Note: noteJSON(r)}
	switch r.Kind {
	case journal.HeaderKind:
		record.Time = wallTime(d.epoch, 0)
		record.Header = &jsonHeader{r.Header.Sequence, journal.Format, r.Header.Core, r.Header.Config}
	case journal.StepKind:
		record.Input = r.Input.String()
		record.Outputs = words(r.Outputs)
	case journal.MarkKind:
		record.Hash = fmt.Sprintf("%016x", r.Hash)
	case journal.SyncKind:
		record.Synced = r.Synced
	}
	switch r.Kind {
	case journal.StepKind, journal.MarkKind, journal.NoteKind, journal.ResumeKind:
		record.Time = wallTime(d.epoch, r.Now)
	}
	d.print(&record)
	return d.err
}

func (d *dumper) print(r *jsonRecord) {
	if d.json {
		encoder := json.NewEncoder(d.out)
		encoder.SetEscapeHTML(false)
		d.err = errors.Join(d.err, encoder.Encode(r))
		return
	}
	if r.File != d.path {
		d.path = r.File
		fmt.Fprintf(d.out, "%s\n", r.File)
	}
	text := r.Kind
	switch {
	case r.Header != nil:
		text = fmt.Sprintf("segment %d, format %d, core %d, policy %v", r.Header.Segment, r.Header.Format, r.Header.Core, r.Header.Config.Policy)
	case r.Input != "":
		text = r.Input
	case r.Kind == journal.ImageKind.String():
		text = fmt.Sprintf("image, %d bytes", r.Size)
	case r.Hash != "":
		text += " " + r.Hash
	case r.Kind == journal.SyncKind.String():
		text = fmt.Sprintf("on disk up to %d", r.Synced)
	}
	if len(r.Outputs) > 0 {
		text += " → " + strings.Join(r.Outputs, "; ")
	}
	if len(r.Note) > 0 {
		text += " " + string(r.Note)
	}
	_, err := fmt.Fprintf(d.out, "%10d  %-27s  %s\n", r.Offset, r.Time, text)
	d.err = errors.Join(d.err, err)
}

func (d *dumper) torn(t *tornTail) {
	if d.json {
		d.print(&jsonRecord{File: t.File, Offset: t.Offset, Kind: "torn"})
		return
	}
	fmt.Fprintln(d.out, t)
}

// noteJSON returns a note of the execution-server as JSON, or how long it is if it
// is none.
func noteJSON(r *journal.Record) json.RawMessage {
	if r.Kind != journal.StepKind && r.Kind != journal.NoteKind || len(r.Note) == 0 {
		return nil
	}
	var note notes.Note
	if proto.Unmarshal(r.Note, &note) == nil {
		if text, err := protojson.Marshal(&note); err == nil {
			var compact bytes.Buffer
			if json.Compact(&compact, text) == nil { // protojson puts spaces in at random
				return compact.Bytes()
			}
		}
	}
	return json.RawMessage(fmt.Sprintf(`"%d bytes"`, len(r.Note)))
}
