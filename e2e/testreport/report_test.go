package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// module is one with a package for each way in which tests end.
var module = map[string]string{
	"go.mod":            "module m\n\ngo 1.26\n",
	"good/a_test.go":    "package good\nimport \"testing\"\nfunc TestGood(t *testing.T) {}\n",
	"skips/a_test.go":   "package skips\nimport \"testing\"\nfunc TestSkips(t *testing.T) { t.Skip(\"no such tool\") }\n",
	"fails/a_test.go":   "package fails\nimport \"testing\"\nfunc TestFails(t *testing.T) { t.Error(\"not as it should be\") }\n",
	"panics/a_test.go":  "package panics\nimport \"testing\"\nfunc TestPanics(t *testing.T) { panic(\"lost its head\") }\n",
	"exits/a_test.go":   "package exits\nimport (\"os\"; \"testing\")\nfunc TestExits(t *testing.T) { println(\"last words\"); os.Exit(3) }\n",
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
		if strings.Count(out, want) != 1 {
			t.Errorf("got %q %d times, want it once in\n%s", want, strings.Count(out, want), out)
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
