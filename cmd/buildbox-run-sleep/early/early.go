// Package early ends buildbox-run-sleep before it is initialized where it need not be: see
// system/runner/early.
package early

import (
	"os"

	"github.com/weir-build/weir/system/runner/early"
)

func init() {
	if code, done := early.Run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr, early.Sleep()); done {
		os.Exit(code)
	}
}
