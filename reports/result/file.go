package result

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// maxFile bounds what Read takes. A result with every bound met has some 30 MB.
const maxFile = 256 << 20

// Read reads results.json. An unknown schema is an error, an unknown key isn't: newer
// minor versions may add some.
func Read(from io.Reader) (*Result, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("not results.json: %w", err)
	}
	if head.Schema != Schema {
		return nil, fmt.Errorf("schema is %.50q, want %q", head.Schema, Schema)
	}
	r := new(Result)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	if err := r.Timeline.validate(); err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	return r, nil
}

// validate refuses what would take for ever to add up.
func (t *Timeline) validate() error {
	if len(t.Intervals) == 0 {
		return nil
	}
	if t.Width < time.Second || t.Width > maxWidth || len(t.Intervals) > maxIntervals {
		return fmt.Errorf("%d intervals of %v: want at most %d, each from a second to %v", len(t.Intervals), t.Width, maxIntervals, maxWidth)
	}
	for i := range t.Intervals {
		at := t.Intervals[i].Start
		if year := at.Year(); year < 1970 || year > 2200 {
			return fmt.Errorf("interval %d begins in the year %d", i, year)
		}
		if i > 0 && at.Before(t.Intervals[i-1].Start) {
			return fmt.Errorf("interval %d begins before the one before", i)
		}
	}
	return nil
}

// Write writes results.json, one line for each entry of a list.
func (r *Result) Write(to io.Writer) error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		return err
	}
	_, err := to.Write(out.Bytes())
	return err
}
