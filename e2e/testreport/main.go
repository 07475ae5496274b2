// Command testreport reads `go test -json` on standard input and prints what a person needs: the output
// of what failed, then every skipped test with its reason, then Go's own summary, one line a package. A
// skip fails its package here, unless it is on the list below: where this runs, everything that a test
// needs is supposed to exist.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// mayskip names tests that may skip even here, each with the reason why it is no loss.
var mayskip = map[string]string{}

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !r.print() {
		os.Exit(1)
	}
}

// event is one line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
}

type test struct{ pkg, name string }

type report struct {
	w       io.Writer
	output  map[test][]string // of tests still running, and of failed ones
	failed  []test
	skipped []test
	summary map[string]string // package → its closing line
	broken  map[string]bool   // packages that failed
	passed  int
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[test][]string{}, summary: map[string]string{}, broken: map[string]bool{}}
}

// read takes in all events. Lines that are no events (the compiler's) are passed on as they are.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(r.w, lines.Text())
			continue
		}
		r.take(e)
	}
	return lines.Err()
}

func (r *report) take(e event) {
	t := test{cmp.Or(e.Package, e.ImportPath), e.Test}
	switch e.Action {
	case "output":
		if e.Test == "" && isSummary(e.Output) {
			r.summary[t.pkg] = strings.TrimRight(e.Output, "\n")
			return
		}
		r.output[t] = append(r.output[t], e.Output)
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "pass":
		r.passed++
		delete(r.output, t)
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, t)
		}
	case "fail", "build-fail":
		r.failed = append(r.failed, t)
		r.broken[t.pkg] = true
	}
}

func isSummary(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}

// print writes the report and tells whether all is well.
func (r *report) print() bool {
	for _, t := range r.failed {
		if t.name != "" || len(r.output[t]) > 0 {
			fmt.Fprintf(r.w, "=== FAIL %s %s\n%s\n", t.pkg, t.name, strings.Join(r.output[t], ""))
		}
	}
	for _, t := range r.skipped {
		if why := mayskip[t.name]; why != "" {
			continue
		}
		fmt.Fprintf(r.w, "=== SKIP %s %s: a skip is a failure in CI\n%s\n", t.pkg, t.name, strings.Join(r.output[t], ""))
		r.broken[t.pkg] = true
	}
	fmt.Fprintf(r.w, "%d passed, %d failed, %d skipped\n", r.passed, len(r.failed), len(r.skipped))

	pkgs := make([]string, 0, len(r.summary))
	for pkg := range r.summary {
		pkgs = append(pkgs, pkg)
	}
	for pkg := range r.broken {
		if r.summary[pkg] == "" {
			pkgs = append(pkgs, pkg)
		}
	}
	slices.Sort(pkgs)
	for _, pkg := range slices.Compact(pkgs) {
		fmt.Fprintln(r.w, r.line(pkg))
	}
	return len(r.broken) == 0
}

// line is the package's closing line; where only a skip failed it, the line says so.
func (r *report) line(pkg string) string {
	s := r.summary[pkg]
	switch {
	case s == "":
		return "FAIL\t" + pkg
	case r.broken[pkg] && strings.HasPrefix(s, "ok"):
		return strings.Replace(s, "ok  ", "FAIL", 1) + "\t[skipped tests]"
	}
	return s
}
