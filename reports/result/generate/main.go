// Generate writes the JSON Schema of results.json, from the Go types and their comments.
//
//	go run ./reports/result/generate            rewrite the file
//	go run ./reports/result/generate -check     exit 1 if it is stale
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/weir-build/weir/reports/result"
)

const (
	module = "github.com/weir-build/weir"
	folder = "./reports/result"
	file   = "reports/result/result.schema.json"
)

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	want, err := schema()
	if err != nil {
		return err
	}
	if !check {
		return os.WriteFile(file, want, 0o644)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s is stale: make generate", file)
	}
	return nil
}

func schema() ([]byte, error) {
	r := jsonschema.Reflector{Mapper: special}
	if err := r.AddGoComments(module, folder); err != nil {
		return nil, err
	}
	s := r.Reflect(&result.Result{})
	s.ID = jsonschema.ID("https://" + module + "/" + file)
	s.Title = "Weir result"
	data, err := json.MarshalIndent(s, "", " ")
	return append(data, '\n'), err
}

// special are the types that write themselves.
func special(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[result.Sketch]():
		whole := func(of string) *jsonschema.Schema {
			return &jsonschema.Schema{Type: "integer", Minimum: "0", Description: of}
		}
		properties := jsonschema.NewProperties()
		for _, p := range []struct{ name, of string }{
			{"count", "How many were recorded."}, {"sum", "Exact."}, {"min", "Exact."}, {"max", "Exact."},
			{"p50", "The quantile, 1 % more or less."}, {"p90", ""}, {"p99", ""}, {"p999", ""},
		} {
			properties.Set(p.name, whole(p.of))
		}
		properties.Set("bins", &jsonschema.Schema{
			Type: "string", ContentEncoding: "base64",
			Description: "A DDSketch in DataDog's encoding without its mapping, which is logarithmic with a relative accuracy of 1 %.",
		})
		return &jsonschema.Schema{
			Type: "object", Properties: properties, Required: []string{"count"}, AdditionalProperties: jsonschema.FalseSchema,
			Description: "A distribution, of nanoseconds unless its name says otherwise.",
		}
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{Type: "integer", Description: "Nanoseconds."}
	}
	return nil
}
