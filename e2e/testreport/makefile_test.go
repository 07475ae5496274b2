package main

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ends are how some sets end; the others end well.
var ends = map[string]string{
	"LINT_SET":   "false",
	"VET_SET":    "false",
	"BUILD_SET":  "false",
	"TEST_LOCAL": "go test ./no/such/package",
	"TEST_CEPH":  "kill -SEGV $$$$",
}

// allSets are the variables of the Makefile that are a set's command.
func allSets(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, found := range regexp.MustCompile(`(?m)^(TEST_\w+|\w+_SET) *=`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, found[1])
	}
	if len(names) < 7 {
		t.Fatalf("found only the sets %q in the Makefile", names)
	}
	return names
}

// makeTest runs `make test` with sets that only say that they ran, and installs nothing.
func makeTest(t *testing.T, ci string, sets []string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", "-C", "../..", "test", "INSTALL=:", "CI="+ci, "CEPH=ceph")
	for _, name := range sets {
		end := ends[name]
		if end == "" {
			end = "true"
		}
		cmd.Args = append(cmd.Args, name+"=echo "+name+" ran; "+end)
	}
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// TestMakeRunsEverySet: neither vet, nor the build, nor a set that dies keeps the others from running.
func TestMakeRunsEverySet(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	sets := allSets(t)
	for _, ci := range []string{"", "true"} {
		out, err := makeTest(t, ci, sets)
		if err == nil {
			t.Errorf("CI=%s: got success", ci)
		}
		for _, name := range sets {
			ran := strings.Contains(out, name+" ran\n")
			if want := ci == "true" || name != "LINT_SET" && name != "TEST_RANDOM"; ran != want {
				t.Errorf("CI=%s: %s ran: %v, want %v in\n%s", ci, name, ran, want, out)
			}
			set := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(name, "TEST_"), "_SET"))
			if failed := strings.Contains(out, "FAIL\tthe set "+set+"\t"); failed != (ran && ends[name] != "") {
				t.Errorf("CI=%s: the end says that %s failed: %v\n%s", ci, set, failed, out)
			}
		}
	}
}
