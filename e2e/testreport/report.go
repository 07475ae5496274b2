package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// mayskip names tests that may skip even where a skip is a failure, each with the reason why it is no loss.
var mayskip = map[string]string{}

// pkg is one run of a package: two sets may hold the same one, and a set may run it several times.
type pkg struct {
	set, path string
	nth       int // how many of its runs in the set had ended before
}

type test struct {
	pkg  pkg
	name string // "" is the package itself: what it prints outside of its tests
}

// note says something of a set.
type note struct {
	set, text string
	said      []string // the last that it printed outside of its tests
}

type report struct {
	w      io.Writer
	strict bool
	set    string   // that runs
	said   []string // by that set outside of its tests: the last lines

	begun   map[pkg]bool      // runs of packages without an end yet
	ended   map[pkg]int       // how many runs have ended, by the first run
	output  map[test][]string // of tests still running, of failed and of skipped ones
	running map[test]bool
	failed  []test
	skipped []test
	summary map[pkg]string // its closing line
	order   []pkg          // as they ended
	broken  map[pkg]bool
	sets    []note // broken outside of a test
	left    []note // not run
	passed  int
}

func newReport(w io.Writer) *report {
	return &report{
		w: w, begun: map[pkg]bool{}, ended: map[pkg]int{}, output: map[test][]string{}, running: map[test]bool{},
		summary: map[pkg]string{}, broken: map[pkg]bool{},
	}
}

// now is the run of the package that is under way, or the next one.
func (r *report) now(path string) pkg {
	return pkg{r.set, path, r.ended[pkg{set: r.set, path: path}]}
}

// begin notes that a package is run. A run of it that is still under way was killed, and came to no end.
func (r *report) begin(path string) {
	if p := r.now(path); r.begun[p] {
		r.fail(test{pkg: p})
		r.over(p)
	}
	r.begun[r.now(path)] = true
}

// over notes that a run of a package has ended.
func (r *report) over(p pkg) {
	delete(r.begun, p)
	r.ended[pkg{set: p.set, path: p.path}]++
}

func (r *report) take(e event) {
	path := cmp.Or(e.Package, e.ImportPath)
	if e.Action == "start" {
		r.begin(path)
	}
	t := test{r.now(path), e.Test}
	switch e.Action {
	case "run":
		r.running[t] = true
	case "output":
		if e.Test == "" && isSummary(e.Output) {
			r.close(t.pkg, strings.TrimRight(e.Output, "\n"))
			return
		}
		r.output[t] = append(r.output[t], e.Output)
	case "build-output":
		r.output[t] = append(r.output[t], e.Output)
	case "pass", "skip", "fail", "build-fail":
		r.end(t, e.Action)
		if e.Package != "" && e.Test == "" { // what only failed to build has its run yet to come
			r.over(t.pkg)
		}
	}
}

func isSummary(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}

// close notes a package's closing line.
func (r *report) close(p pkg, line string) {
	r.summary[p] = line
	r.order = append(r.order, p)
	if !r.strict {
		fmt.Fprintln(r.w, line)
	}
}

func (r *report) end(t test, action string) {
	delete(r.running, t)
	switch {
	case action == "fail" || action == "build-fail":
		r.fail(t)
		return
	case action == "skip" && t.name != "":
		r.skipped = append(r.skipped, t)
		return
	case t.name != "":
		r.passed++
	}
	delete(r.output, t)
}

// fail notes a test that failed. With its package go the tests that a panic or an exit left without an end.
func (r *report) fail(t test) {
	delete(r.running, t)
	r.broken[t.pkg] = true
	if t.name == "" {
		r.failRunning(func(open test) bool { return open.pkg == t.pkg })
	}
	r.failed = append(r.failed, t)
}

// closeOpen fails what was still running when its set ended.
func (r *report) closeOpen() { r.failRunning(func(test) bool { return true }) }

func (r *report) failRunning(which func(test) bool) {
	var open []test
	for t := range r.running {
		if which(t) {
			open = append(open, t)
			delete(r.running, t)
		}
	}
	slices.SortFunc(open, func(a, b test) int { return strings.Compare(a.name, b.name) })
	for _, t := range open {
		r.broken[t.pkg] = true
		r.output[t] = append(r.output[t], "(it came to no end)\n")
	}
	r.failed = append(r.failed, open...)
}

// print writes the report and tells whether all is well.
func (r *report) print() bool {
	for _, t := range r.failed {
		if t.name != "" || len(r.output[t]) > 0 {
			fmt.Fprintf(r.w, "=== FAIL %s %s\n%s\n", t.pkg.path, t.name, strings.Join(r.output[t], ""))
		}
	}
	r.printSkipped()
	r.printDigest()
	fmt.Fprintf(r.w, "%d passed, %d failed, %d skipped\n", r.passed, len(r.tests()), len(r.skipped))
	for _, s := range r.left {
		fmt.Fprintf(r.w, "not run: the set %s: %s\n", s.set, s.text)
	}
	for _, p := range r.packages() {
		fmt.Fprintln(r.w, r.line(p))
	}
	for _, s := range r.sets {
		fmt.Fprintf(r.w, "FAIL\tthe set %s\t[%s]\n", s.set, s.text)
	}
	return len(r.broken) == 0 && len(r.sets) == 0 && (!r.strict || len(r.left) == 0)
}

// tests are the failed ones without the packages that failed by them.
func (r *report) tests() []test {
	return slices.DeleteFunc(slices.Clone(r.failed), func(t test) bool { return t.name == "" })
}

func (r *report) printSkipped() {
	for _, t := range r.skipped {
		switch {
		case mayskip[t.name] != "":
		case r.strict:
			fmt.Fprintf(r.w, "=== SKIP %s %s: a skip is a failure in CI\n%s\n", t.pkg.path, t.name, strings.Join(r.output[t], ""))
			r.broken[t.pkg] = true
		default:
			fmt.Fprintf(r.w, "=== SKIP %s %s\n%s", t.pkg.path, t.name, strings.Join(r.output[t], ""))
		}
	}
}

// packages are those to sum up: where their lines were printed as they ended, only the failed ones.
func (r *report) packages() []pkg {
	ps := slices.Clone(r.order)
	for p := range r.broken {
		if r.summary[p] == "" && !strings.Contains(p.path, " [") { // a package built for its test is named by its own line
			ps = append(ps, p)
		}
	}
	if !r.strict {
		ps = slices.DeleteFunc(ps, func(p pkg) bool { return !r.broken[p] })
	}
	slices.SortFunc(ps, func(a, b pkg) int {
		return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.set, b.set), cmp.Compare(a.nth, b.nth))
	})
	return slices.Compact(ps)
}

// line is the closing line of a package's run; where only a skip failed it, the line says so.
func (r *report) line(p pkg) string {
	s := r.summary[p]
	switch {
	case s == "":
		return "FAIL\t" + p.path
	case r.broken[p] && strings.HasPrefix(s, "ok") && slices.ContainsFunc(r.failed, func(t test) bool { return t.pkg == p }):
		return strings.Replace(s, "ok  ", "FAIL", 1) + "\t[failed tests]"
	case r.broken[p] && strings.HasPrefix(s, "ok"):
		return strings.Replace(s, "ok  ", "FAIL", 1) + "\t[skipped tests]"
	}
	return s
}
