package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// makeTarget runs a target whose sets are replaced, without installing anything.
func makeTarget(t *testing.T, ci, target string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", "-C", "../..", target, "INSTALL=:", "CI="+ci, "CEPH=ceph",
		"LINT_SET=echo lint was here; false", "VET_SET=echo vet was here; false", "BUILD_SET=false",
		"TEST_LOCAL=go test ./no/such/package", "TEST_RANDOM=echo random was here", "TEST_CEPH=kill -SEGV $$$$",
		"TEST_OPENSTACK=echo openstack was here")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// TestMakeRunsEverySet: neither vet, nor the build, nor a set that dies keeps the others from running.
func TestMakeRunsEverySet(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, c := range []struct {
		ci, target string
		ran        []string
	}{
		{"", "test", []string{"vet was here", "openstack was here"}},
		{"true", "test", []string{"vet was here", "random was here", "openstack was here"}},
		{"true", "ci", []string{"lint was here", "vet was here", "random was here", "openstack was here"}},
	} {
		out, err := makeTarget(t, c.ci, c.target)
		if err == nil {
			t.Errorf("CI=%s make %s: got success", c.ci, c.target)
		}
		for _, want := range append(c.ran, "FAIL\tthe set vet", "FAIL\tthe set build", "FAIL\tthe set local", "FAIL\tthe set ceph") {
			if !strings.Contains(out, want) {
				t.Errorf("CI=%s make %s: no %q in\n%s", c.ci, c.target, want, out)
			}
		}
		if strings.Contains(out, "FAIL\tthe set openstack") {
			t.Errorf("CI=%s make %s: the good set counts as failed\n%s", c.ci, c.target, out)
		}
	}
}
