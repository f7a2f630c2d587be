// Command weir-k6 is k6 with the module k6/x/reapi and the output reapi-report.
package main

import (
	"os"
	"runtime/debug"

	"go.k6.io/k6/v2/cmd"

	_ "github.com/weir-build/weir"
)

// gcPercent trades memory for time: a generator's heap is small and its garbage much, so
// that Go's default of 100 spends a third of the CPU time of an RPC on collecting it
// (BenchmarkClients, FindMissingBlobs of 100 digests: 190 µs, with 400 126 µs).
const gcPercent = 400

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	cmd.Execute()
}
