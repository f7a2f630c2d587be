#!/bin/sh
# Runs every fuzz target of the module for FUZZ_RUNS inputs each. By count and not
# by time: when the time of a run is up while an input is being tried, go test
# reports "context deadline exceeded" as if the target had failed. Inputs
# that are merely new are hardly minimized: that took up to a minute for one of them.
set -eu
runs=${FUZZ_RUNS:-20000}
grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do
	package=./$(dirname "${file#./}")
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r target; do
		echo "fuzz $package $target with $runs inputs"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${runs}x" -fuzzminimizetime 10x "$package" </dev/null
	done
done
