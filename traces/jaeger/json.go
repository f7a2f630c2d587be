package jaeger

import (
	"encoding/json"
	"fmt"
	"io"
)

// Answers may have hundreds of megabytes: they are read part by part, and what
// isn't known in them is passed over.

// members calls f with the name of each member of the object that comes next; f
// reads the value. The object may be null.
func members(d *json.Decoder, f func(name string) error) error {
	return inside(d, '{', func() error {
		name, err := d.Token()
		if err != nil {
			return err
		}
		return f(name.(string)) // the decoder lets nothing else pass
	})
}

// elements calls f before each element of the array that comes next; f reads it.
// The array may be null.
func elements(d *json.Decoder, f func() error) error { return inside(d, '[', f) }

func inside(d *json.Decoder, open json.Delim, f func() error) error {
	first, err := d.Token()
	if err != nil || first == nil {
		return err
	}
	if first != open {
		return fmt.Errorf("byte %d of the answer: got %v, want %v", d.InputOffset(), first, open)
	}
	for d.More() {
		if err := f(); err != nil {
			return err
		}
	}
	if _, err = d.Token(); err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// skip passes over a value.
func skip(d *json.Decoder) error { return d.Decode(new(json.RawMessage)) }
