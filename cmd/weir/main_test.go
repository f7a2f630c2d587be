package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"weir": main, "buildbox-worker": main, "buildbox-casd": main, "proxy-server": main, "storage-server": main, "execution-server": main,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", Setup: setup, Cmds: map[string]func(*testscript.TestScript, bool, []string){"record": record},
	})
}

// setup puts recorded builds where the scripts find them.
func setup(env *testscript.Env) error {
	return errors.Join(recordRuns(env), writeBuilds(env), writeDamaged(env), writeJournals(env))
}

// record writes a real record of another tool to a file, `record NAME FILE`: they
// are kept as text.
func record(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: record NAME FILE")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "traces", "foreign", "testdata", args[0]+".b64"))
	ts.Check(err)
	data, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text)))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), data, 0o666))
}

// Every command teaches: it says what it does and shows an example.
func TestEveryCommandHasAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || c.HasParent() && c.Example == "" {
			t.Errorf("%s has no short description or no example", c.CommandPath())
		}
		if c.Runnable() && !strings.Contains(c.Example, "weir "+strings.TrimPrefix(c.CommandPath(), "weir ")) {
			t.Errorf("the example of %s doesn't show it:\n%s", c.CommandPath(), c.Example)
		}
		for _, child := range c.Commands() {
			walk(child)
		}
	}
	walk(rootCommand())
}
