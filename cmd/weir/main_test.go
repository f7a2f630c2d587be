package main

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main})
}

func TestScripts(t *testing.T) {
	damaged := writeDamaged(t, t.TempDir())
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(env *testscript.Env) error {
		env.Setenv("DAMAGED", damaged)
		return nil
	}})
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
