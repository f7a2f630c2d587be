// Command weir-k6 is k6 with the module k6/x/reapi and the output reapi-report.
package main

import (
	"os"
	"runtime/debug"

	"go.k6.io/k6/v2/cmd"

	_ "github.com/weir-build/weir"
)

func main() {
	if os.Getenv("GOGC") == "" {
		followHeap(debug.SetGCPercent)
	}
	cmd.Execute()
}
