package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Size is a number of bytes, written with a suffix K, M, G or T (powers of
// 1024) or without.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	word := strings.TrimSuffix(strings.TrimSpace(string(text)), "B")
	shift := 0
	if n := len(word); n > 0 {
		if i := strings.IndexByte("KMGT", word[n-1]); i >= 0 {
			shift, word = 10*(i+1), word[:n-1]
		}
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return fmt.Errorf("size %q: want a number, with K, M, G or T after it or nothing", text)
	}
	*s = Size(n << shift)
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
