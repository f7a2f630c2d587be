#!/bin/sh
# Compiles what a simulation is made of for arm64, which can multiply and add in one step,
# and fails where the compiler made use of it: there results have another last digit than
# on amd64. An explicit float64(x*y) before the sum keeps it from doing so (Go
# specification, "Floating-point operators").
set -eu
packages="./internal/portmath ./loadgen/workload ./sim/des ./sim/model ./system/queue"
found=$(GOARCH=arm64 ${GO:-go} build -gcflags=-S $packages 2>&1 | grep -E '[[:space:]]FN?M(ADD|SUB)[DS][[:space:]]' || true)
if [ -n "$found" ]; then
	echo "a product is added without being rounded; write float64(x*y):"
	echo "$found" | sed -n 's/.*(\(.*:[0-9]*\)).*/\1/p' | sort -u
	exit 1
fi
