// Generate writes traces/SCHEMA.md, the vocabulary of traces/semconv as a
// document.
//
//	go run ./traces/semconv/generate            rewrite the document
//	go run ./traces/semconv/generate -check     exit 1 if it is stale
package main

import (
	"flag"
	"fmt"
	"os"
)

// path is where the document is, below the module's root.
const path = "traces/SCHEMA.md"

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if err := run(path, *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(path string, check bool) error {
	vocabulary := whole()
	content := vocabulary.document()
	if !check {
		return os.WriteFile(path, []byte(content), 0o644)
	}
	current, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if string(current) != content {
		return fmt.Errorf("%s is stale: run make generate", path)
	}
	return nil
}
