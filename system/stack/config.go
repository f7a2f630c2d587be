package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/weir-build/weir/system/cas/lru"
	"github.com/weir-build/weir/system/options"
)

// Size is a number of bytes, written with a suffix K, M, G or T (powers of
// 1024) or without.
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

// A Watermark is a size, or a part of another written as a percentage.
type Watermark lru.Low

// UnmarshalText reads a watermark, such as 20G or 80%.
func (w *Watermark) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "%")
	if !ok {
		return (*Size)(&w.Bytes).UnmarshalText(text)
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 100 {
		return fmt.Errorf("%q: want from 1%% to 100%%, or a size", text)
	}
	w.Percent = n
	return nil
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
