// Command testreport runs sets of tests, each a shell command whose `go test` prints JSON, one after
// another and all of them, whatever fails. It ends with one report of what a person needs: the output of
// what failed, every skipped test with its reason, then once more each failed test with the lines that say
// what was wrong, since a log is often cut to its end, and Go's own summary, one line for each run of a
// package, and one for each set that broke outside of a test.
//
//	testreport [-strict] [-skip SET=WHY]... SET=COMMAND...
//
// With -strict a skip is a failure, since everything that a test needs is supposed to exist, and nothing
// but the report is printed. Without it each package's line also appears when the package is done.
// Exit code 1: something failed, or was interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
)

func main() {
	// An interrupt reaches the running set by itself; the report follows, and no further set.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if !run(ctx, os.Stdout, os.Args[1:]) {
		os.Exit(1)
	}
}

// run does what the arguments ask for, and tells whether all is well.
func run(ctx context.Context, out io.Writer, args []string) bool {
	r := newReport(out)
	flags := flag.NewFlagSet("testreport", flag.ExitOnError)
	flags.BoolVar(&r.strict, "strict", false, "skipped tests and sets are failures")
	flags.Func("skip", "SET=WHY: a set that cannot run here", func(arg string) error {
		name, why, err := named(arg)
		r.left = append(r.left, note{set: name, text: why})
		return err
	})
	if err := flags.Parse(args); err != nil {
		return false
	}
	for _, arg := range flags.Args() {
		name, command, err := named(arg)
		if err != nil {
			fmt.Fprintln(os.Stderr, "testreport:", err)
			return false
		}
		r.runSet(ctx, name, command)
	}
	return r.print()
}

func named(arg string) (name, rest string, err error) {
	name, rest, found := strings.Cut(arg, "=")
	if !found || name == "" || rest == "" {
		return "", "", fmt.Errorf("%q is not SET=TEXT", arg)
	}
	return name, rest, nil
}
