package main

import (
	"fmt"
	"regexp"
	"strings"
)

const (
	longest = 30  // lines of one failure in the digest
	widest  = 400 // bytes of one of its lines
)

var (
	located = regexp.MustCompile(`^\s+[\w.-]+\.go:\d+: `)
	crash   = regexp.MustCompile(`^(panic|fatal error): |^WARNING: DATA RACE`)
	frame   = regexp.MustCompile(`^\s*(=== |--- (FAIL|PASS|SKIP): )|^(FAIL|PASS)$|^\s*$`)
)

// printDigest writes each failure once more with the lines that say what was wrong, and nothing beside them.
func (r *report) printDigest() {
	for _, t := range r.failed {
		r.printTold("FAIL", t)
	}
	for _, t := range r.skipped {
		if r.strict && mayskip[t.name] == "" {
			r.printTold("SKIP", t)
		}
	}
	for _, s := range r.sets {
		fmt.Fprintf(r.w, "FAIL: the set %s\n", s.set)
		r.printLines(s.said)
	}
}

func (r *report) printTold(how string, t test) {
	told := telling(strings.Split(strings.Join(r.output[t], ""), "\n"))
	if t.name == "" && len(told) == 0 { // a package that failed by its tests
		return
	}
	fmt.Fprintf(r.w, "%s: %s %s\n", how, t.pkg.path, t.name)
	r.printLines(told)
}

// telling are the lines of a test's output that say what was wrong: what it logged at a line of a file, and
// a crash with what follows; of an output without any, all that is no frame of the test itself.
func telling(lines []string) []string {
	var told, rest []string
	logged, crashed := false, false
	for _, line := range lines {
		logged = located.MatchString(line) || logged && strings.HasPrefix(line, "        ")
		crashed = crashed || crash.MatchString(line)
		switch {
		case frame.MatchString(line):
		case logged || crashed:
			told = append(told, line)
		default:
			rest = append(rest, line)
		}
	}
	if len(told) == 0 {
		return rest
	}
	return told
}

// printLines writes the first and the last of the lines, each cut to what a person reads.
func (r *report) printLines(lines []string) {
	for i, line := range lines {
		line = strings.TrimRight(line, "\n")
		switch left := len(lines) - longest; {
		case left > 0 && i == longest/2:
			fmt.Fprintf(r.w, "    (%d lines left out)\n", left)
		case left > 0 && i > longest/2 && i < longest/2+left:
		case len(line) > widest:
			fmt.Fprintf(r.w, "    %s...\n", strings.ToValidUTF8(line[:widest], ""))
		default:
			fmt.Fprintf(r.w, "    %s\n", line)
		}
	}
}
