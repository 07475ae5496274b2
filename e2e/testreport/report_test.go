package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// module is one with a package for each way in which tests end.
var module = map[string]string{
	"go.mod":           "module m\n\ngo 1.26\n",
	"good/a_test.go":   "package good\nimport \"testing\"\nfunc TestGood(t *testing.T) {}\n",
	"skips/a_test.go":  "package skips\nimport \"testing\"\nfunc TestSkips(t *testing.T) { t.Skip(\"no such tool\") }\n",
	"fails/a_test.go":  "package fails\nimport \"testing\"\nfunc TestFails(t *testing.T) { t.Error(\"not as it should be\") }\n",
	"panics/a_test.go": "package panics\nimport \"testing\"\nfunc TestPanics(t *testing.T) { panic(\"lost its head\") }\n",
	"exits/a_test.go":  "package exits\nimport (\"os\"; \"testing\")\nfunc TestExits(t *testing.T) { println(\"last words\"); os.Exit(3) }\n",
	"turns/a_test.go": `package turns
import ("os"; "testing")
func TestTurns(t *testing.T) { t.Run("second", func(t *testing.T) {
if os.Getenv("TURN") == "2" { println("beside"); t.Error("not in turn\nbut second") } }) }
func TestOther(t *testing.T) { t.Log("only told") }
`,
	"nobuild/a_test.go": "package nobuild\nimport \"testing\"\nfunc TestNoBuild(t *testing.T) { undefined() }\n",
}

// runReport runs testreport on that module, as the current directory.
func runReport(t *testing.T, args ...string) (ok bool, out string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range module {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
	var buf bytes.Buffer
	ok = run(t.Context(), &buf, args)
	return ok, buf.String()
}

func TestEverySetRunsAndTheEndSaysWhatFailed(t *testing.T) {
	ok, out := runReport(t, "-strict",
		"broken=go test -json ./fails ./panics ./exits ./nobuild ./good",
		"lab=echo 'the lab says'; exit 4",
		"nosuch=go test -json ./nosuch",
		"skips=go test -json ./skips",
		"good=go test -json ./good")
	if ok {
		t.Error("got success")
	}
	for _, want := range []string{"not as it should be", "panic: lost its head", "last words", "undefined: undefined", "the lab says", "no such tool"} {
		if strings.Count(out, want) != 2 {
			t.Errorf("got %q %d times, want it where it was said, and at the end, in\n%s", want, strings.Count(out, want), out)
		}
	}
	_, end, _ := strings.Cut(out, "2 passed, 3 failed, 1 skipped\n")
	end = regexp.MustCompile(`\t([\d.]+s|\(cached\))`).ReplaceAllString(end, "\tTIME")
	want := `FAIL	./nosuch [setup failed]
FAIL	m/exits	TIME
FAIL	m/fails	TIME
ok  	m/good	TIME
ok  	m/good	TIME
FAIL	m/nobuild [build failed]
FAIL	m/panics	TIME
FAIL	m/skips	TIME	[skipped tests]
FAIL	the set lab	[exit status 4]
`
	if end != want {
		t.Errorf("it ends with\n%s\nwant\n%s", end, want)
	}
}

// TestEachRunOfAPackageHasItsLine: a set runs the same package on one server after another.
func TestEachRunOfAPackageHasItsLine(t *testing.T) {
	ok, out := runReport(t, "-strict",
		"servers=go test -json -count=1 ./fails || true; TURN=2 go test -json -count=1 ./turns || true; TURN=1 go test -json -count=1 ./turns")
	if ok {
		t.Error("got success")
	}
	_, end, _ := strings.Cut(out, "4 passed, 3 failed, 0 skipped\n")
	end = regexp.MustCompile(`\t[\d.]+s`).ReplaceAllString(end, "\tTIME")
	if want := "FAIL\tm/fails\tTIME\nFAIL\tm/turns\tTIME\nok  \tm/turns\tTIME\n"; end != want {
		t.Errorf("it ends with\n%s\nwant\n%s", end, want)
	}
}

// TestTheEndTellsWhatWasWrong: a log that is cut to its end still has each failure with its own lines.
func TestTheEndTellsWhatWasWrong(t *testing.T) {
	_, out := runReport(t, "-strict", "one=TURN=2 go test -json -count=1 ./turns")
	_, end, _ := strings.Cut(out, "\nFAIL: ")
	end, _, _ = strings.Cut(end, "1 passed")
	want := `m/turns TestTurns/second
        a_test.go:4: not in turn
            but second
FAIL: m/turns TestTurns
`
	if end != want {
		t.Errorf("the end says\n%s\nwant\n%s", end, want)
	}
}

// TestARunThatWasKilledIsNotTheNextOne: `go test` may die between two events.
func TestARunThatWasKilledIsNotTheNextOne(t *testing.T) {
	var buf bytes.Buffer
	cut := `echo '{"Action":"start","Package":"m"}'; echo '{"Action":"run","Package":"m","Test":"TestCut"}'; `
	whole := cut + `echo '{"Action":"pass","Package":"m","Test":"TestCut"}'; echo '{"Action":"output","Package":"m","Output":"ok  \tm\t1s\n"}'; echo '{"Action":"pass","Package":"m"}'; `
	if ok := run(t.Context(), &buf, []string{"-strict", "one=" + cut + whole}); ok {
		t.Error("got success")
	}
	if _, end, _ := strings.Cut(buf.String(), "1 passed, 1 failed, 0 skipped\n"); end != "FAIL\tm\nok  \tm\t1s\n" {
		t.Errorf("got\n%s", &buf)
	}
}

func TestLongFailuresAreCutInTheMiddle(t *testing.T) {
	var buf bytes.Buffer
	r := newReport(&buf)
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("line %d of %s", i, strings.Repeat("x", 1000)))
	}
	r.printLines(lines)
	out := buf.String()
	for _, want := range []string{"line 0 ", "line 14 ", "(70 lines left out)", "line 85 ", "line 99 "} {
		if !strings.Contains(out, want) {
			t.Errorf("got no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "line 15 ") || strings.Contains(out, "line 84 ") || len(out) > (longest+1)*(widest+20) {
		t.Errorf("got %d bytes\n%.1000s", len(out), out)
	}
}

func TestWhereSkippingIsAllowedTheEndNamesFailuresOnly(t *testing.T) {
	ok, out := runReport(t, "-skip", "ceph=no headers", "one=go test -json ./good ./skips")
	if !ok {
		t.Errorf("got failure\n%s", out)
	}
	if _, end, _ := strings.Cut(out, "1 passed, 0 failed, 1 skipped\n"); end != "not run: the set ceph: no headers\n" {
		t.Errorf("it ends with\n%q", end)
	}
	if !strings.Contains(out, "ok  \tm/good\t") || !strings.Contains(out, "no such tool") {
		t.Errorf("got\n%s\nwant each package's line and why a test was skipped", out)
	}
	if ok, _ := runReport(t, "-strict", "-skip", "ceph=no headers", "one=go test -json ./good"); ok {
		t.Error("strict: got success for a set that did not run")
	}
}

func TestAnInterruptLeavesOutTheSetsToCome(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var buf bytes.Buffer
	if ok := run(ctx, &buf, []string{"one=echo ran"}); ok || strings.Contains(buf.String(), "ran\n") || !strings.Contains(buf.String(), "interrupted") {
		t.Errorf("got %v\n%s", ok, &buf)
	}
}
