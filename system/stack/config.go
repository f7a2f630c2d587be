package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/system/options"
)

// Size is a number of bytes, as options.ParseSize reads it, also with a B behind.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := options.ParseSize(strings.TrimSuffix(strings.TrimSpace(string(text)), "B"))
	if err != nil {
		return err
	}
	*s = Size(n)
	return nil
}

// Mark is a size, or a share of one that is given elsewhere: 10G or 80%.
type Mark struct {
	size    Size
	percent int64 // if not 0, size is not set
}

// UnmarshalText reads a mark.
func (m *Mark) UnmarshalText(text []byte) error {
	word, share := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	if !share {
		m.percent = 0
		return m.size.UnmarshalText(text)
	}
	percent, err := strconv.ParseInt(word, 10, 64)
	if err != nil || percent < 1 || percent > 100 {
		return fmt.Errorf("share %q: want a whole number from 1%% to 100%%", text)
	}
	*m = Mark{percent: percent}
	return nil
}

// of returns the mark in bytes, for the size it may be a share of.
func (m Mark) of(whole Size) int64 {
	if m.percent > 0 {
		return int64(float64(whole) / 100 * float64(m.percent))
	}
	return int64(m.size)
}

// Decode reads a YAML configuration; a key it doesn't know is an error that
// names key and line.
func Decode(data []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
