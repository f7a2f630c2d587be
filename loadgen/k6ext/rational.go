package k6ext

import (
	"strconv"
	"strings"
)

// rational reads one end of a segment, such as 1/3 of 0:1/3.
func rational(segment string, end int) (numerator, denominator float64, ok bool) {
	parts := strings.Split(segment, ":")
	if end >= len(parts) {
		return 0, 1, false
	}
	above, below, fraction := strings.Cut(parts[end], "/")
	numerator, err := strconv.ParseFloat(above, 64)
	if err != nil {
		return 0, 1, false
	}
	if !fraction {
		return numerator, 1, true
	}
	denominator, err = strconv.ParseFloat(below, 64)
	return numerator, denominator, err == nil && denominator != 0
}
