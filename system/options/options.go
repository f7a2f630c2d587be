// Package options reads the command lines of BuildBox's programs, so that ours take
// their place: --key=value and --flag, in any order, and little else.
//
//	var config remote.Config
//	known := append(options.Remote("", &config),
//	    options.Option{Name: "verbose", Help: "say more", Set: func(string) error { … }})
//	err := options.Parse(os.Args[1:], known, nil)
//
// An option that BuildBox has and the program doesn't is an error that says what to do
// instead. Without effect are only those that mean nothing here and change no result; their
// help says so.
package options

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An Option is one option of a program.
type Option struct {
	Name string
	// Value stands for the value in the usage; empty if the option takes none.
	Value string
	Help  string
	// Set takes the value. nil if BuildBox has the option and the program doesn't:
	// then Help says what to do instead.
	Set func(value string) error
	// Optional lets the value be empty.
	Optional bool
	// Spaced lets the value be the next argument.
	Spaced bool
	// Late options are set after all others, wherever they stand: those that
	// overrule others.
	Late bool
}

// ErrDone is what a Set returns to end the reading: what follows doesn't matter.
var ErrDone = errors.New("nothing else is to be read")

// Parse reads a command line. Of options of the same name the first counts. An argument
// that is no option goes to positional, and is an error if that is nil.
func Parse(args []string, known []Option, positional func(string) error) error {
	byName := make(map[string]Option, len(known))
	for _, o := range known {
		if _, ok := byName[o.Name]; !ok {
			byName[o.Name] = o
		}
	}
	var late []func() error
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		rest, ok := strings.CutPrefix(arg, "--")
		switch {
		case (!ok || rest == "") && positional != nil && !strings.HasPrefix(arg, "-"):
			if err := positional(arg); err != nil {
				return err
			}
			continue
		case !ok || rest == "":
			return fmt.Errorf("unexpected argument %.200q: options are --key=value or --flag", arg)
		}
		name, value, given := strings.Cut(rest, "=")
		o, ok := byName[name]
		if ok && o.Spaced && !given && len(args) > 0 {
			value, given, args = args[0], true, args[1:]
		}
		switch {
		case !ok:
			return fmt.Errorf("unknown option --%.200s", name)
		case o.Set == nil:
			return fmt.Errorf("option --%s is not supported: %s", name, o.Help)
		case o.Value == "" && given:
			return fmt.Errorf("option --%s takes no value", name)
		case o.Value != "" && (!given || value == "" && !o.Optional):
			return fmt.Errorf("option --%s needs a value: --%s=%s", name, name, o.Value)
		}
		set := func() error {
			if err := o.Set(value); err != nil && !errors.Is(err, ErrDone) {
				return fmt.Errorf("option --%s: %w", name, err)
			} else if err != nil {
				return ErrDone
			}
			return nil
		}
		if o.Late {
			late = append(late, set)
		} else if err := set(); errors.Is(err, ErrDone) {
			return nil
		} else if err != nil {
			return err
		}
	}
	for _, set := range late {
		if err := set(); err != nil {
			return err
		}
	}
	return nil
}

// WriteUsage explains the options that are supported, below an introduction.
func WriteUsage(w io.Writer, introduction string, known []Option) error {
	var b strings.Builder
	b.WriteString(introduction)
	var written []string
	for _, o := range known {
		if o.Set == nil || slices.Contains(written, o.Name) {
			continue
		}
		written = append(written, o.Name)
		form := "--" + o.Name
		if o.Value != "" {
			form += "=" + o.Value
		}
		fmt.Fprintf(&b, "  %-34s %s\n", form, o.Help)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
