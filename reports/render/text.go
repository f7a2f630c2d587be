package render

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-build/weir/reports/result"
)

// none stands for what is unknown or wasn't measured.
const none = "–"

// duration has three digits.
func duration(d time.Duration) string { return brief(result.Round(d)) }

// brief cuts the zeros of 1m0s and 1h0m0s.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// quantile and mean have none where nothing was recorded.
func quantile(s *result.Sketch, q float64) string {
	if s.Count() == 0 {
		return none
	}
	return duration(s.Quantile(q))
}

func mean(s *result.Sketch) string {
	if s.Count() == 0 {
		return none
	}
	return duration(s.Mean())
}

func longest(s *result.Sketch) string {
	if s.Count() == 0 {
		return none
	}
	return duration(s.Max())
}

// count groups digits: 12,345.
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}

// some is a count with its noun: 1 action, 2 actions.
func some(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}

// size is decimal, as size classes are.
func size(n int64) string {
	if n == 0 {
		return "0"
	}
	x, units := float64(n), []string{"B", "kB", "MB", "GB", "TB", "PB"}
	for (x >= 999.5 || x <= -999.5) && len(units) > 1 {
		x, units = x/1000, units[1:]
	}
	return number(x) + " " + units[0]
}

// number has three digits and no exponent.
func number(x float64) string {
	switch abs := max(x, -x); {
	case abs >= 99.95:
		return count(int64(min(max(x, -1e18), 1e18) + 0.5))
	case abs >= 9.995:
		return trim(strconv.FormatFloat(x, 'f', 1, 64))
	case abs >= 0.0995 || abs < 1e-9:
		return trim(strconv.FormatFloat(x, 'f', 2, 64))
	}
	return strconv.FormatFloat(x, 'g', 2, 64)
}

func trim(decimal string) string {
	return strings.TrimSuffix(strings.TrimRight(decimal, "0"), ".")
}

// rate is a count for each second.
func rate(n int64, seconds float64) string {
	if seconds <= 0 {
		return none
	}
	return number(float64(n)/seconds) + "/s"
}

// percent is a share from 0 to 1.
func percent(share float64) string { return number(share*100) + " %" }

// ratio is in thousandths, as result.Builds.Slowdown.
func ratio(milli time.Duration) string { return number(float64(milli)/1000) + "×" }

func instant(t time.Time) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// since is a moment of the run.
func since(start, t time.Time) string {
	if start.IsZero() || t.IsZero() {
		return none
	}
	d := t.Sub(start)
	if d < 0 {
		return "−" + duration(-d)
	}
	return "+" + duration(d)
}

// cut bounds a text to n bytes and takes out what isn't text. Bytes that are escaped on
// the page count as what they become there, so that no text makes that large.
func cut(text string, n int) string {
	var out strings.Builder
	for _, c := range text {
		switch {
		case c == '\n' || c == '\t' || c == '\r':
			c = ' '
		case c < ' ' || c == 0x7f || c == utf8.RuneError:
			continue
		case c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069:
			continue // they turn round the text behind them
		}
		if strings.ContainsRune("\"'&<>+", c) {
			n -= len("&#34;")
		} else {
			n -= utf8.RuneLen(c)
		}
		if n < 0 {
			out.WriteRune('…')
			break
		}
		out.WriteRune(c)
	}
	return out.String()
}

// head returns the first n of a list, and how many there are beside.
func head[T any](list []T, n int) (first []T, left int) {
	first = list[:min(len(list), n)]
	return first, len(list) - len(first)
}

// leftOut says that a list was cut, and "" if it wasn't.
func leftOut(left int) string {
	if left == 0 {
		return ""
	}
	return fmt.Sprintf("%s more left out here; results.json has all.", count(int64(left)))
}
