package options

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// String sets a text.
func String(field *string) func(string) error {
	return func(v string) error { *field = v; return nil }
}

// Path sets a path, made absolute because another process will see it.
func Path(field *string) func(string) error {
	return func(v string) (err error) {
		*field, err = filepath.Abs(v)
		return err
	}
}

// True sets a flag.
func True(field *bool) func(string) error {
	return func(string) error { *field = true; return nil }
}

// Append adds to a list, for options that may be repeated.
func Append(field *[]string) func(string) error {
	return func(v string) error { *field = append(*field, v); return nil }
}

// Duration sets a time that is written as a number of some unit.
func Duration(unit time.Duration, field *time.Duration) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return fmt.Errorf("%.50q is not a number from 0 to %d", v, uint32(math.MaxUint32))
		}
		*field = time.Duration(n) * unit
		return nil
	}
}

// Int sets a number from least to most.
func Int(least, most int, field *int) func(string) error {
	return func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%.50q is not a number from %d to %d", v, least, most)
		}
		*field = n
		return nil
	}
}

// Size sets a number of bytes, or of bytes per second, as ParseSize reads it.
func Size(field *int64) func(string) error {
	return func(v string) (err error) {
		*field, err = ParseSize(v)
		return err
	}
}

// ParseSize reads a number of bytes, with suffix K, M, G or T of 1000, as BuildBox reads
// it, or Ki, Mi, Gi or Ti of 1024.
func ParseSize(v string) (int64, error) {
	number, unit := v, int64(1)
	base := int64(1000)
	if cut, binary := strings.CutSuffix(number, "i"); binary {
		number, base = cut, 1024
	}
	exponent := 0
	if number != "" {
		exponent = 1 + strings.IndexByte("KMGT", number[len(number)-1])
	}
	if exponent > 0 {
		number = number[:len(number)-1]
	}
	for range exponent {
		unit *= base
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit || base == 1024 && exponent == 0 {
		return 0, fmt.Errorf("size %.50q: want a number, with K, M, G, T, Ki, Mi, Gi or Ti after it or nothing", v)
	}
	return n * unit, nil
}

// LevelTrace is the log level below debug.
const LevelTrace = slog.LevelDebug - 4

// Logging returns the options about the log that all programs share; a directory for
// the log is theirs to open.
func Logging(level *slog.Level, directory *string) []Option {
	return []Option{
		{Name: "log-level", Value: "LEVEL", Help: "trace, debug, info, warning or error; default info", Set: logLevel(level)},
		{Name: "verbose", Help: "the same as --log-level=debug", Set: func(string) error { *level = slog.LevelDebug; return nil }},
		{Name: "log-directory", Value: "PATH", Help: "directory to log to instead of stderr", Set: String(directory)},
		{Name: "log-file", Value: "PATH", Help: "use --log-directory"},
	}
}

// OpenLog returns where a program logs: as a rule to otherwise, or to a file in a
// directory, named as BuildBox's are. The caller calls done when it is over.
func OpenLog(program, directory string, otherwise io.Writer) (log io.Writer, done func(), err error) {
	if directory == "" {
		return otherwise, func() {}, nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	name := fmt.Sprintf("%s.%s.%d.log.INFO.%s.%d", program, host, os.Getuid(), time.Now().Format("20060102.150405"), os.Getpid())
	file, err := os.OpenFile(filepath.Join(directory, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("option --log-directory: %w", err)
	}
	return file, func() { file.Close() }, nil
}

func logLevel(level *slog.Level) func(string) error {
	return func(v string) error {
		levels := map[string]slog.Level{
			"trace": LevelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo,
			"warning": slog.LevelWarn, "error": slog.LevelError,
		}
		found, ok := levels[strings.ToLower(v)]
		if !ok {
			return fmt.Errorf("%.50q is none of trace, debug, info, warning, error", v)
		}
		*level = found
		return nil
	}
}
