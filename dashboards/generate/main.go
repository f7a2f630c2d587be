// Generate writes the dashboards' JSON from their Go source.
//
//	go run ./dashboards/generate              rewrite dashboards/json
//	go run ./dashboards/generate -check       exit 1 if a file there is stale
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weir-build/weir/dashboards"
)

// dir is where the files are, below the module's root.
const dir = "dashboards/json"

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	if !check {
		return dashboards.Write(dir)
	}
	for _, d := range dashboards.All() {
		want, err := d.JSON()
		if err != nil {
			return err
		}
		path := filepath.Join(dir, d.File())
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s is stale: run go run ./dashboards/generate", path)
		}
	}
	return nil
}
