package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// format is the value of -o.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatCSV   format = "csv"  // of report alone
	formatHTML  format = "html" // of report alone
)

var formats = []string{string(formatTable), string(formatJSON)}

func (f *format) Set(s string) error {
	if s == string(formatCSV) || s == string(formatHTML) {
		*f = format(s)
		return nil
	}
	if err := setWord(f, s, formats); err != nil {
		return fmt.Errorf("%w; of report also csv or html", err)
	}
	return nil
}

// completeFormats completes the formats that a command prints.
func completeFormats(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	words := slices.Clone(formats)
	if cmd.Name() == "report" {
		words = append(words, string(formatCSV), string(formatHTML))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// fits refuses a format that a command does not print.
func (f *format) fits(command string) error {
	if (*f == formatCSV || *f == formatHTML) && command != "report" {
		was := *f
		*f = formatTable
		return &usageError{fmt.Errorf("report alone prints %s: use table or json", was)}
	}
	return nil
}

func (f *format) String() string { return orDefault(string(*f), string(formatTable)) }
func (*format) Type() string     { return "format" }

// progressMode is the value of --progress.
type progressMode string

const (
	progressAuto   progressMode = "auto"
	progressAlways progressMode = "always"
	progressNever  progressMode = "never"
)

var progressModes = []string{string(progressAuto), string(progressAlways), string(progressNever)}

func (m *progressMode) Set(s string) error { return setWord(m, s, progressModes) }
func (m *progressMode) String() string     { return orDefault(string(*m), string(progressAuto)) }
func (*progressMode) Type() string         { return "when" }

// word is a flag's value that is one of a few.
type word struct {
	value   string
	allowed []string
}

func (w *word) Set(s string) error { return setWord(&w.value, s, w.allowed) }
func (w *word) String() string     { return w.value }
func (*word) Type() string         { return "word" }

// atMost is the value of --limit.
type atMost int

func (n *atMost) Set(s string) error {
	v, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return errors.New("use a number from 0 on; 0 is all")
	}
	*n = atMost(v)
	return nil
}

func (n *atMost) String() string { return strconv.Itoa(int(*n)) }
func (*atMost) Type() string     { return "int" }

func setWord[T ~string](dst *T, s string, allowed []string) error {
	if !slices.Contains(allowed, s) {
		return fmt.Errorf("use %s", strings.Join(allowed, " or "))
	}
	*dst = T(s)
	return nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func cutLine(s string) (first, rest string, found bool) { return strings.Cut(s, "\n") }

// exactly says which arguments a command takes, by their names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return &usageError{fmt.Errorf("%s is missing", names[len(args)])}
		case len(args) > len(names):
			return &usageError{fmt.Errorf("unexpected argument %q", args[len(names)])}
		}
		return noneEmpty(args, func(i int) string { return names[i] })
	}
}

// noneEmpty refuses empty arguments, as a shell makes of a variable that is not set.
func noneEmpty(args []string, name func(i int) string) error {
	for i, arg := range args {
		if arg == "" {
			return &usageError{fmt.Errorf("%s is empty: give one", name(i))}
		}
	}
	return nil
}

// fixed completes a flag from a fixed list.
func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// atLeastOne is for commands that take any number of one thing.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return &usageError{fmt.Errorf("%s is missing", name)}
		}
		return noneEmpty(args, func(int) string { return name })
	}
}
