package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is a mistake in how a command was called.
type usageError struct{ error }

// args makes wrong arguments a usageError, which says what is wanted instead.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		err := check(c, args)
		switch {
		case err == nil:
			return nil
		case strings.HasPrefix(err.Error(), "unknown command "): // as cobra calls an argument of what takes none
			err = fmt.Errorf("argument %q: %s takes none", args[0], c.CommandPath())
		case strings.Contains(err.Error(), " arg(s), "): // as cobra counts them
			err = fmt.Errorf("%w: want %s", err, c.UseLine())
		}
		return usageError{err}
	}
}

// flagError is a usageError that says which flag there is instead of one that there isn't,
// and what a flag takes.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		if near := nearFlag(c, unknown.GetSpecifiedName()); near != "" {
			err = fmt.Errorf("%w; did you mean --%s?", err, near)
		}
	case errors.As(err, &invalid):
		if want := wanted[invalid.GetFlag().Value.Type()]; want != "" {
			err = fmt.Errorf("--%s %q: want %s", invalid.GetFlag().Name, invalid.GetValue(), want)
		}
	}
	return usageError{err}
}

// wanted is what a flag of a type takes. Other types say so themselves.
var wanted = map[string]string{
	"int": "a whole number", "uint64": "a whole number that isn't negative", "float64": "a number",
	"duration": "a time with its unit, such as 90s or 5m", "bool": "true or false", "time": "a time of more than none, such as 90s or 5m",
}

// durationFlag adds --duration, for which builds begin: without it as long as the scenario says.
func durationFlag(c *cobra.Command, to *time.Duration, of string) {
	c.Flags().Var((*someTime)(to), "duration", "how long "+of+" begin, instead of the scenario's")
}

// someTime is a flag that takes what is longer than no time.
type someTime time.Duration

func (s *someTime) Type() string { return "time" }

func (s *someTime) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Set reads a time.
func (s *someTime) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("want more than none")
	}
	*s = someTime(d)
	return err
}

// nearFlag returns the flag whose name is nearest to what was said, if one is near. What is
// near cobra knows of commands.
func nearFlag(c *cobra.Command, name string) string {
	var names cobra.Command
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	names.SuggestionsMinimumDistance = 2 // letters
	for _, near := range names.SuggestionsFor(name) {
		return near
	}
	return ""
}

// unknownCommand returns an error for a command that a group of them doesn't have: cobra shows
// the group's help and takes that for success.
func unknownCommand(root *cobra.Command, arguments []string) error {
	c, rest, err := root.Find(arguments)
	if err != nil || c == root || c.Runnable() || !c.HasSubCommands() || len(rest) == 0 || rest[0] == "help" || strings.HasPrefix(rest[0], "-") {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", rest[0], c.CommandPath())
	c.SuggestionsMinimumDistance = 2 // letters
	if near := c.SuggestionsFor(rest[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError{errors.New(text)}
}

// foundByCobra makes a usageError of the mistakes for which cobra has no hook.
func foundByCobra(err error) error {
	if err != nil && (strings.HasPrefix(err.Error(), "unknown command ") || strings.HasPrefix(err.Error(), "required flag(s) ")) {
		return usageError{errors.New(strings.TrimSpace(err.Error()))}
	}
	return err
}
